"""A request without ledger and budget, for apps that run a promoted program: place, time-out, retries, and no record.

Invariant: nothing of the request or the answer is kept.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace

from offramp.calls._base import Preparing, Sender, Sleep, real_sleep
from offramp.calls.deadline import DeadlineRing, current_deadline
from offramp.calls.estimate import completed_usage
from offramp.calls.failures import TimedOut
from offramp.calls.retries import RetryRing
from offramp.calls.transports.local import LocalServers
from offramp.calls.transports.routes import RouteTransport
from offramp.records import CallReply, CallRequest


class _Attempt:
    """One attempt within its time."""

    def __init__(self, inner: Sender, timeout_s: float) -> None:
        self._inner, self._timeout_s = inner, timeout_s

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The reply. Raises TimedOut and whatever the transport does."""
        deadline = current_deadline()
        if isinstance(self._inner, Preparing):
            with deadline.paused():
                await self._inner.prepare(request.model)
        deadline.check()
        limit_s, begun = min(self._timeout_s, deadline.left_s), time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                reply = await self._inner.send(request, attempt)
        except TimeoutError:
            raise TimedOut(f"no reply within {limit_s:.3g} s", latency_s=time.perf_counter() - begun) from None
        usage, _ = completed_usage(request, reply)
        return replace(reply, usage=usage, attempt=attempt)


def direct_sender(
    *, timeout_s: float, deadline_s: float, attempts: int, servers: LocalServers | None,
    transport: Sender | None = None, sleep: Sleep = real_sleep,
) -> Sender:  # fmt: skip
    """The chain put together.

    Args:
        servers: where local models are served; None where there are none.
        transport: what sends in the end; LiteLLM and llama.cpp by route when None.
        sleep: replaced in tests.
    """
    end: Sender = transport if transport is not None else RouteTransport(servers, timeout_s=timeout_s)
    retries = RetryRing(_Attempt(end, timeout_s), attempts=attempts, rng=random.Random(), sleep=sleep)
    return DeadlineRing(retries, deadline_s)
