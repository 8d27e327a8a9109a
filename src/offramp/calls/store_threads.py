"""Storage work off the event loop, so that a slow disk never lengthens a measured latency.

Invariant: work that was handed over runs to its end even when the task that waits is cancelled; then `undo` gets the
result (a reservation to release) before the cancellation goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class StoreThreads:
    """A few threads for storage calls."""

    def __init__(self, threads: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="offramp-store")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(...)` in a thread."""
        return await self._finished(partial(function, *args, **kwargs), None)

    async def run_or_undo(self, function: Callable[[], T], undo: Callable[[T], Any]) -> T:
        """As `run`; when cancelled meanwhile, `undo` takes back what `function` did."""
        return await self._finished(function, undo)

    async def _finished(self, function: Callable[[], T], undo: Callable[[T], Any] | None) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._pool, function)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _outlast(future)
            if undo is not None and future.exception() is None:
                await _outlast(asyncio.get_running_loop().run_in_executor(self._pool, undo, future.result()))
            raise

    def close(self) -> None:
        """Wait for what is under way and end the threads."""
        self._pool.shutdown(wait=True)


async def _outlast(future: asyncio.Future[Any]) -> None:
    """Wait for the end of `future`, also when cancelled; its exception counts as seen."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()
