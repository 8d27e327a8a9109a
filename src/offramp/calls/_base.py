"""The seam: whatever can send a request.

Contract: `send` returns a reply that was received (or kept from an earlier call, then `cached`), or raises one of
`calls/failures.py`, or a `JobError` when the job itself cannot go on. It never changes the request. `attempt` is the
1-based number of the try; parts that do not retry pass it on. Cancelling a send is safe at any await.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from offramp.records import CallReply, CallRequest, Model

Sleep = Callable[[float], Awaitable[object]]
"""Waits for so many seconds; tests pass one that moves their clock."""

Clock = Callable[[], float]
"""Seconds that only ever grow."""

real_sleep: Sleep = asyncio.sleep
real_clock: Clock = time.monotonic


@runtime_checkable
class Preparing(Protocol):
    """A transport that has slow things to do before the first request to a model."""

    async def prepare(self, model: Model) -> None:
        """Get ready; cheap when it is. Its time belongs to no request."""
        ...


class Sender(Protocol):
    """Sends one request."""

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The reply to `request`, or one of `calls/failures.py`."""
        ...
