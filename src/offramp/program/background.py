"""An event loop in its own thread: an app's programs run on it, whether or not the app has a loop.

Invariant: one loop a process; a forked child starts its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Background:
    """The loop. Started when first used; ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result, waited for in the calling thread."""
        return asyncio.run_coroutine_threadsafe(work, self._running()).result()

    async def awaited(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result, awaited on the caller's own loop; cancelled when the caller is."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._running()))

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=self._loop.run_forever, name="offramp", daemon=True).start()
            return self._loop


BACKGROUND = Background()
