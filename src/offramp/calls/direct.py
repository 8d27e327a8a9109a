"""A request without ledger and budget, for apps that run a promoted program: time limits and retries, and no record.

Invariant: nothing of the request or the answer is stored.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

from offramp.calls.estimate import completed_usage
from offramp.calls.failures import ModelNotFound
from offramp.calls.missing_model import missing_model
from offramp.calls.retries import Deadline, RetryPolicy, Sleep, real_sleep
from offramp.calls.transports import Preparing, Transport
from offramp.calls.transports.local import LocalServers
from offramp.calls.transports.routes import RouteTransport
from offramp.calls.transports.traced import traced
from offramp.records import CallReply, CallRequest


class DirectSender:
    """Sends requests, with retries.

    Args:
        timeout_s: of one attempt.
        deadline_s: of all attempts of a request.
        attempts: at most so many.
        servers: where local models are served; None where there are none.
        transport: what sends in the end; LiteLLM and llama.cpp by route when None.
        sleep: replaced in tests.
    """

    def __init__(
        self, *, timeout_s: float, deadline_s: float, attempts: int, servers: LocalServers | None,
        transport: Transport | None = None, sleep: Sleep = real_sleep,
    ) -> None:  # fmt: skip
        self._timeout_s = timeout_s
        self._transport: Transport = traced(
            transport if transport is not None else RouteTransport(servers, timeout_s=timeout_s)
        )
        self._policy = RetryPolicy(attempts=attempts, deadline_s=deadline_s, rng=random.Random(), sleep=sleep)

    async def send(self, request: CallRequest) -> CallReply:
        """The answer. Raises a CallError when there is none after all attempts."""
        try:
            return await self._policy.run(partial(self._attempt, request))
        except ModelNotFound as error:
            raise missing_model(error, request.model, request.purpose) from error

    async def _attempt(self, request: CallRequest, number: int, deadline: Deadline) -> CallReply:
        if isinstance(self._transport, Preparing):
            with deadline.paused():
                await self._transport.prepare(request.model)
        async with deadline.attempt(self._timeout_s):
            reply = await self._transport.send(request, number)
        usage, _ = completed_usage(request, reply)
        return replace(reply, usage=usage, attempt=number)
