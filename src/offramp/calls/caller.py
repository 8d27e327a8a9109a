"""The chain put together: ledger, deadline, retries, booking (place, money, record), transport."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from offramp.calls._base import Clock, Sender, Sleep, real_clock, real_sleep
from offramp.calls._worker import Worker
from offramp.calls.booking import Booking
from offramp.calls.deadline import DeadlineRing
from offramp.calls.ledger_ring import LedgerRing
from offramp.calls.limiter import Limiter
from offramp.calls.retries import RetryRing
from offramp.calls.tally import CallStats, Tally
from offramp.calls.transports.local import LocalServers
from offramp.calls.transports.routes import RouteTransport
from offramp.records import CallReply, CallRequest, Purpose
from offramp.store.budget import Budget
from offramp.store.engine import Store
from offramp.store.ledger import Ledger

if TYPE_CHECKING:
    from offramp.space.model import CallsPart


class Caller:
    """Sends requests for one study; the only way to a model. Several event loops may use it, one after another."""

    def __init__(
        self, outer: Sender, transport: Sender, budget: Budget, worker: Worker, tally: Tally, *, fresh: Sender
    ) -> None:
        self._outer, self._transport, self._budget, self._fresh = outer, transport, budget, fresh
        self._worker, self._tally = worker, tally

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The answer to `request`; a probe's is never from the ledger, since it is there to be timed.

        Raises:
            ProgramFault: the program's own fault, a real zero.
            InfrastructureFailure: no answer after all attempts.
            FatalCallError: no request of this kind can work.
            BudgetExceeded: a cap is reached.
            StorageFullError, JobError: the storage failed.
        """
        asked = self._fresh if request.purpose is Purpose.PROBE else self._outer
        return await asked.send(request, attempt)

    def stats(self) -> CallStats:
        """Counts of this caller and money of its budget."""
        state = self._budget.state()
        return self._tally.stats(spent_usd=state.spent_usd, reserved_usd=state.reserved_usd)

    async def aclose(self) -> None:
        """Close connections and threads; the store stays open."""
        if (close := getattr(self._transport, "aclose", None)) is not None:
            await close()
        self._worker.close()


def open_caller(
    *,
    store: Store,
    study: str,
    store_text: bool,
    budget: Budget,
    concurrency: int,
    calls: CallsPart,
    servers: LocalServers | None,
    rng: random.Random,
    transport: Sender | None = None,
    local_slots: int = 1,
    sleep: Sleep = real_sleep,
    clock: Clock = real_clock,
) -> Caller:
    """Put the chain together, and settle what dead processes of this budget had reserved.

    Args:
        servers: where local models are served; None where there are none.
        rng: jitter of retries.
        transport: what sends in the end; LiteLLM and llama.cpp by route when None.
        local_slots: requests that the local server works on at the same time.
        sleep, clock: replaced in tests.
    """
    budget.recover()
    worker, tally = Worker(), Tally()
    ledger = Ledger(store, study, store_text)
    end: Sender = transport if transport is not None else RouteTransport(servers, timeout_s=calls.timeout_s)
    booking = Booking(
        end,
        store=store,
        ledger=ledger,
        budget=budget,
        limiter=Limiter(concurrency, local_slots=local_slots, clock=clock, sleep=sleep),
        worker=worker,
        tally=tally,
        timeout_s=calls.timeout_s,
        sleep=sleep,
    )
    retries = RetryRing(booking, attempts=calls.attempts, rng=rng, sleep=sleep)
    deadline = DeadlineRing(retries, calls.deadline_s, clock)
    outer = LedgerRing(deadline, ledger, worker, tally.add_cached)
    return Caller(outer, end, budget, worker, tally, fresh=deadline)
