"""Asking the ledger before the model, and the model only once.

A request whose answer the ledger has costs nothing, has the latency and tokens of its physical request, and counts as
cached. Equal requests under way at the same time share one physical request. A replicate is another request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from offramp.calls._base import Sender
from offramp.calls._worker import Worker
from offramp.calls.failures import CallError, Refused
from offramp.errors import JobError
from offramp.records import CallReply, CallRequest
from offramp.store.ledger import Ledger

_Flight = asyncio.Future[CallReply | None]


class LedgerRing:
    """Answers from the ledger where it can.

    Args:
        inner: who sends what the ledger does not have.
        on_cached: told of every answer that was not sent for.
    """

    def __init__(self, inner: Sender, ledger: Ledger, worker: Worker, on_cached: Callable[[], None]) -> None:
        self._inner, self._ledger, self._worker, self._on_cached = inner, ledger, worker, on_cached
        self._flights: dict[tuple[int, str], _Flight] = {}

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The kept answer, the answer of an equal request under way, or a fresh one."""
        key = (id(asyncio.get_running_loop()), request.hash)
        while (flight := self._flights.get(key)) is not None:
            shared = await asyncio.shield(flight)
            if shared is not None:  # None: whoever sent it went away; look again
                self._on_cached()
                return replace(shared, cached=True, queue_s=0.0)
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._lead(flight, request, attempt)
        finally:
            self._flights.pop(key, None)
            if not flight.done():
                flight.set_result(None)

    async def _lead(self, flight: _Flight, request: CallRequest, attempt: int) -> CallReply:
        try:
            reply = await self._known(request) or await self._inner.send(request, attempt)
        except (CallError, JobError) as error:
            flight.set_exception(error)
            flight.exception()  # seen here, so that nobody warns when no one shares the flight
            raise
        flight.set_result(reply)
        return reply

    async def _known(self, request: CallRequest) -> CallReply | None:
        reply = await self._worker.run(self._ledger.find, request.hash)
        if reply is not None:
            self._on_cached()
            return reply
        refusal = await self._worker.run(self._ledger.find_refusal, request.hash)
        if refusal is not None:
            self._on_cached()
            text = (refusal.error or "refused").removeprefix("Refused: ")
            raise Refused(text, usage=refusal.usage, latency_s=refusal.latency_s, cached=True)
        return None
