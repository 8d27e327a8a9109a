"""One physical attempt: a place, money set aside, the request, the bill, the record.

What is booked for an attempt that came back without a bill: nothing where it certainly was not billed (never left, 4xx,
429, 5xx); the prompt's upper estimate, marked as assumed, for time-outs, broken connections and replies that cannot be
read. A bill above the reservation is booked as it is, and the budget reserves more from then on.

Invariant: bill and record are written in one transaction, on every exit, cancellation included.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import dataclass, replace

from offramp.calls._base import Preparing, Sender, Sleep, real_sleep
from offramp.calls._worker import Worker
from offramp.calls.deadline import current_deadline
from offramp.calls.estimate import completed_usage, input_usd, worst_usd
from offramp.calls.failures import CallError, TimedOut, certainly_unbilled, never_left
from offramp.calls.limiter import Limiter
from offramp.calls.scrub import scrubbed
from offramp.calls.tally import Tally
from offramp.errors import ModelError, problem
from offramp.records import CallReply, CallRequest, Usage
from offramp.store.budget import Budget, BudgetExceeded, Reservation
from offramp.store.engine import Store
from offramp.store.ledger import CallAttempt, CallStatus, Ledger

_ROOM_S = 0.05
_ROOM_LONGEST_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bill:
    """What to book. `usd` None: the request never left."""

    attempt: CallAttempt
    usd: float | None
    assumed: bool = False


class Booking:
    """Sends one attempt, with a place and under the budget's caps."""

    def __init__(
        self,
        inner: Sender,
        *,
        store: Store,
        ledger: Ledger,
        budget: Budget,
        limiter: Limiter,
        worker: Worker,
        tally: Tally,
        timeout_s: float,
        sleep: Sleep = real_sleep,
    ) -> None:
        self._inner, self._store, self._ledger, self._budget = inner, store, ledger, budget
        self._limiter, self._worker, self._tally = limiter, worker, tally
        self._timeout_s, self._sleep = timeout_s, sleep

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """One attempt.

        Raises:
            BudgetExceeded: a cap has no room, and no request in flight could leave any.
            ModelError: money has a cap and the model no price.
        """
        self._check_price(request)
        await self._prepare(request)
        async with self._limiter.place(request.model) as place:
            reservation = await self._reserve(request)
            blank = self._blank(request, attempt, place.queue_s)
            begun = time.perf_counter()
            try:
                reply = await self._timed(request, attempt)
            except BaseException as error:
                await self._book(reservation, _failed(blank, request, error, time.perf_counter() - begun))
                raise
            usage, estimated = completed_usage(request, reply)
            reply = replace(reply, usage=usage, queue_s=place.queue_s, attempt=attempt, cached=False)
            await self._book(reservation, _answered(blank, request, reply, estimated))
            return reply

    def _check_price(self, request: CallRequest) -> None:
        price = request.model.price
        if self._budget.capped_usd and (price is None or not price.known):
            where = f"models.{request.model.name}"
            raise ModelError(problem(where, "price unknown under a cap in USD", do="Give its price in the space file."))

    async def _prepare(self, request: CallRequest) -> None:
        if isinstance(self._inner, Preparing):
            with current_deadline().paused():
                await self._inner.prepare(request.model)

    async def _reserve(self, request: CallRequest) -> Reservation:
        """Reserve the worst case; while only requests in flight stand in the way, wait for them to be settled."""
        usd, pause, waited = worst_usd(request, self._timeout_s), _ROOM_S, 0.0
        while True:
            try:
                return await self._worker.run_or_undo(lambda: self._budget.reserve(usd), self._budget.release)
            except BudgetExceeded as error:
                if not error.may_free_up or waited > self._timeout_s:
                    raise
            with current_deadline().paused():
                await self._sleep(pause)
            waited, pause = waited + pause, min(_ROOM_LONGEST_S, pause * 1.5)

    async def _timed(self, request: CallRequest, attempt: int) -> CallReply:
        deadline = current_deadline()
        deadline.check()
        limit_s = min(self._timeout_s, deadline.left_s)
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                return await self._inner.send(request, attempt)
        except TimeoutError:
            raise TimedOut(f"no reply within {limit_s:.3g} s", latency_s=time.perf_counter() - begun) from None

    async def _book(self, reservation: Reservation, bill: _Bill) -> None:
        self._tally.add(bill.attempt, bill.usd)
        await self._worker.run(self._write, reservation, bill)

    def _write(self, reservation: Reservation, bill: _Bill) -> None:
        with self._store.transaction() as conn:
            self._ledger.record(bill.attempt, within=conn)
            if bill.usd is None:
                self._budget.release(reservation, within=conn)
            else:
                self._budget.settle(reservation, bill.usd, assumed=bill.assumed, within=conn)

    def _blank(self, request: CallRequest, attempt: int, queue_s: float) -> CallAttempt:
        return CallAttempt(
            request_hash=request.hash,
            study=self._ledger.study,
            purpose=request.purpose,
            model=request.model.name,
            provider=request.model.provider,
            replicate=request.replicate,
            attempt=attempt,
            status=CallStatus.OK,
            queue_s=queue_s,
            started_at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            request_json={"messages": [dict(m) for m in request.messages], "params": dict(request.params)},
        )


def _answered(blank: CallAttempt, request: CallRequest, reply: CallReply, estimated: bool) -> _Bill:
    note = "estimated usage: the reply named no tokens, they are an upper estimate from its length"
    attempt = replace(
        blank,
        usage=reply.usage,
        latency_s=reply.latency_s,
        reply_text=reply.text,
        finish_reason=reply.finish_reason,
        error=note if estimated else None,
    )
    return _Bill(attempt=attempt, usd=_usd(request, reply.usage) or 0.0, assumed=estimated)


def _failed(blank: CallAttempt, request: CallRequest, error: BaseException, elapsed_s: float) -> _Bill:
    if not isinstance(error, CallError):
        cancelled = isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit)
        status = CallStatus.CANCELLED if cancelled else CallStatus.CRASHED
        attempt = replace(blank, status=status, latency_s=elapsed_s, error=_text(error))
        return _Bill(attempt=attempt, usd=input_usd(request), assumed=True)
    latency_s = elapsed_s if error.latency_s is None and not never_left(error) else error.latency_s
    attempt = replace(blank, status=error.status, latency_s=latency_s, error=_text(error), usage=error.usage or Usage())
    if error.usage is not None:
        return _Bill(attempt=attempt, usd=_usd(request, error.usage) or 0.0)
    if certainly_unbilled(error):
        return _Bill(attempt=attempt, usd=None if never_left(error) else 0.0)
    return _Bill(attempt=attempt, usd=input_usd(request), assumed=True)


def _usd(request: CallRequest, usage: Usage) -> float | None:
    return None if request.model.price is None else request.model.price.cost_usd(usage)


def _text(error: BaseException) -> str:
    return scrubbed(f"{type(error).__name__}: {error}")
