"""The only way to a model: ledger, deadline and retries, slot, budget, transport.

A request whose answer the ledger has costs nothing, keeps the latency and tokens of its physical request, and counts as
cached. Equal requests under way at the same time share one physical request; a replicate is another request. What has
to be sent gets a deadline and its retries, and every attempt a slot in the limiter and a reservation in the budget.

Invariant: bill and record of an attempt are written in one transaction, on every exit, cancellation included.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from offramp.calls.attempts import Bill, CallCounter, CallStats, bill_of_failure, bill_of_reply
from offramp.calls.batches.collector import BatchTransport, Collector
from offramp.calls.estimate import completed_usage, worst_usd
from offramp.calls.failures import (
    CallError,
    InvalidRequest,
    ModelNotFound,
    QuotaExhausted,
    Refused,
    RequestRejected,
    Unauthorized,
)
from offramp.calls.limiter import Limiter, begun
from offramp.calls.missing_model import missing_model
from offramp.calls.retries import Clock, Deadline, RetryPolicy, Sleep, real_clock, real_sleep
from offramp.calls.transports import Preparing, Transport
from offramp.calls.transports.local import LocalServers
from offramp.calls.transports.routes import RouteTransport
from offramp.calls.transports.traced import traced
from offramp.errors import JobError, ModelError, problem
from offramp.records import STANDARD_TIERS, CallReply, CallRequest, HeaderNotice, Model, Purpose
from offramp.store.batches import BatchLines, forget_lines
from offramp.store.budget import Budget, BudgetExceeded, Reservation, Settlement
from offramp.store.engine import Store
from offramp.store.header_notices import HeaderNoticeStore
from offramp.store.ledger import CallAttempt, CallStatus, Ledger

if TYPE_CHECKING:
    import sqlalchemy as sa

    from offramp.space.model import CallsPart

_log = logging.getLogger("offramp")
_ROOM_S = 0.05
_ROOM_LONGEST_S = 1.0
_SETTLED = Reservation(id="", nano=0, calls=0, asked_nano=0)


class Caller:
    """Sends requests for one study. Several event loops may use it, one after another. Made by `open_caller`."""

    def __init__(
        self, transport: Transport, *, store: Store, ledger: Ledger, budget: Budget, limiter: Limiter,
        retries: RetryPolicy, timeout_s: float, on_attempt: Callable[[CallAttempt], None] | None = None,
        batches: Collector | None = None, check: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._batches, self._check = batches, check
        self._transport, self._store, self._ledger, self._budget = transport, store, ledger, budget
        self._limiter, self._retries, self._timeout_s, self._on_attempt = limiter, retries, timeout_s, on_attempt
        self._counter = CallCounter()
        self._prepare = transport.prepare if isinstance(transport, Preparing) else None
        self._flights: dict[tuple[int, str], asyncio.Future[CallReply | None]] = {}
        self._answering: set[str] = set()
        self._notices: dict[str, HeaderNotice] = {}
        self._tiers_said: set[tuple[str, str, str]] = set()
        self._in_flight: Counter[str] = Counter()
        self._waiting: list[asyncio.Event] = []
        self._gone: dict[str, ModelNotFound] = {}
        self._asking: Counter[str] = Counter()
        self._refused: dict[str, CallError] = {}
        self._doubted = ledger.models_not_found()
        self._alone: defaultdict[tuple[int, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def send(self, request: CallRequest) -> CallReply:
        """The answer to `request`; a probe's is never from the ledger, since it is there to be timed.

        Raises:
            ProgramError: the program's own error, a real zero.
            InfrastructureError: no answer after all attempts.
            FatalCallError: no request of this kind can work. What the provider rejects of a model that answers other
                requests of the study is an InfrastructureError (RequestRejected) instead. A model that it does not have
                (ModelNotFound) is not asked again.
            ModelError: money has a cap and the model no price.
            BudgetExceeded: a cap has no room, and no request in flight could leave any.
            StorageFullError, JobError: the storage failed.
        """
        name = request.model.name
        self._asking[name] += 1
        try:
            return await (self._ask(request) if request.purpose is Purpose.PROBE else self._shared(request))
        except (Unauthorized, QuotaExhausted) as error:  # those that wait beside it need not hear the same
            self._refused.setdefault(name, error)
            raise
        finally:
            self._asking[name] -= 1
            if not self._asking[name]:
                self._refused.pop(name, None)

    async def _shared(self, request: CallRequest) -> CallReply:
        """The answer that an equal request under way gets, or the ledger has; else the model's."""
        loop = asyncio.get_running_loop()
        key = (id(loop), request.hash)
        while (flight := self._flights.get(key)) is not None:
            shared = await asyncio.shield(flight)
            if shared is not None:  # None: its sender was cancelled; look again
                self._counter.add_cached()
                return replace(shared, cached=True, queue_s=0.0)
        flight = self._flights[key] = loop.create_future()
        try:
            with nullcontext() if self._batches is None else self._batches.busy():
                found = await self._recorded(request)
            reply = found or await self._ask(request)
            flight.set_result(reply)
        except (CallError, JobError) as error:
            flight.set_exception(error)
            flight.exception()  # seen here, so that asyncio does not warn when nobody shares the flight
            raise
        finally:
            self._flights.pop(key, None)
            if not flight.done():
                flight.set_result(None)
        return reply

    def ask_directly(self) -> None:
        """From here on nothing new goes into a batch."""
        if self._batches is not None:
            self._batches.on = False

    def stats(self) -> CallStats:
        """Counts of this caller and money of its budget, as this process knows it."""
        state = self._budget.seen
        return self._counter.stats(spent_usd=state.spent_usd, reserved_usd=state.reserved_usd)

    async def aclose(self) -> None:
        """Close connections; the store stays open. Batches stay out."""
        if self._batches is not None:
            await self._batches.aclose()
        if (close := getattr(self._transport, "aclose", None)) is not None:
            await close()

    async def _ask(self, request: CallRequest) -> CallReply:
        """The model's answer, after as many attempts as it takes.

        A model that an earlier run did not find is asked one question at a time until it answers.
        """
        name = request.model.name
        doubted = name in self._doubted and name not in self._answering
        async with self._alone[id(asyncio.get_running_loop()), name] if doubted else nullcontext():
            try:
                return await self._retries.run(partial(self._attempt, request))
            except ModelNotFound as error:
                if error is self._gone.get(name):
                    raise
                found = missing_model(error, request.model, request.purpose)
                raise self._gone.setdefault(name, found) from error
            except InvalidRequest as error:
                if await self._answers(name):
                    raise RequestRejected(str(error), latency_s=error.latency_s) from error
                raise

    async def _answers(self, model: str) -> bool:
        """Whether a model has answered any request of the study; those in flight are waited for before it is a no."""
        if model not in self._answering and await asyncio.to_thread(self._ledger.has_answer_of, model):
            self._answering.add(model)
        while model not in self._answering and self._in_flight[model]:
            self._waiting.append(ended := asyncio.Event())
            await ended.wait()
        return model in self._answering

    async def _recorded(self, request: CallRequest) -> CallReply | None:
        """The ledger's answer; None where it has none. Raises Refused when that was the answer."""
        found = await self._store.groups.do(self._ledger.find_many, request.hash, reads=True)
        if found is None:
            return None
        self._counter.add_cached()
        if isinstance(found, CallReply):
            return found
        text = (found.error or "refused").removeprefix("Refused: ")
        latency_s, tier = found.latency_s or 0.0, found.service_tier  # as `Ledger` reads a reply
        raise Refused(text, usage=found.usage, latency_s=latency_s, service_tier=tier, cached=True)

    async def _attempt(self, request: CallRequest, number: int, deadline: Deadline) -> CallReply:
        """One physical attempt: a slot, money reserved, the request, bill and record."""
        price = request.price
        if self._budget.capped_usd and (price is None or not price.known):
            tier = request.params.get("service_tier")
            at = "" if tier is None else f" at service_tier {tier!r}"
            what = f"price unknown{at} under a cap in USD"
            where = f"models.{request.model.name}"
            raise ModelError(problem(where, what, do="Give its price in the space file."))
        if self._prepare is not None:
            with deadline.paused():
                await self._prepare(request.model)
        if self._batches is not None and self._batches.takes(request, number):
            with deadline.paused():
                return await self._by_batch(replace(request, batched=True), number, self._batches)
        async with self._limiter.slot(request.model, deadline) as slot:
            if (gone := self._gone.get(request.model.name) or self._refused.get(request.model.name)) is not None:
                raise gone
            if not begun.get():
                self._check()
            reservation = await self._reserve(request, deadline)
            row = self._row(request, number, slot.queue_s)
            began = time.perf_counter()
            self._in_flight[request.model.name] += 1
            try:
                async with deadline.attempt(self._timeout_s):
                    reply = await self._transport.send(request, number)
                self._answering.add(request.model.name)
            except BaseException as error:
                bill = bill_of_failure(row, request, error, time.perf_counter() - began)
                await self._book(reservation, bill)
                self._say_tier(request, bill.attempt.service_tier)
                raise
            finally:
                self._in_flight[request.model.name] -= 1
                while self._waiting:
                    self._waiting.pop().set()
        usage, estimated = completed_usage(request, reply)
        reply = replace(reply, usage=usage, queue_s=slot.queue_s, attempt=number, cached=False)
        await self._book(reservation, bill_of_reply(row, request, reply, estimated=estimated))
        self._say_tier(request, reply.service_tier)
        if reply.notice is not None:
            await self._keep(request.model, reply.notice)
        return reply

    async def _by_batch(self, request: CallRequest, number: int, batches: Collector) -> CallReply:
        """One attempt in a batch. Where the job stops before it has come back, it stays out, and nothing is booked."""
        name, row = request.model.name, self._row(request, number, 0.0)
        if (gone := self._gone.get(name)) is not None:
            raise gone
        self._in_flight[name] += 1
        try:
            landed = await batches.ask(request)
            if isinstance(landed.outcome, CallReply):
                self._answering.add(name)
        finally:
            self._in_flight[name] -= 1
            while self._waiting:
                self._waiting.pop().set()
        if isinstance(landed.outcome, CallError):
            bill = bill_of_failure(row, request, landed.outcome, 0.0)
            bill = bill if landed.left else replace(bill, usd=None)
        else:
            usage, estimated = completed_usage(request, landed.outcome)
            reply = replace(landed.outcome, usage=usage, attempt=number)
            bill = bill_of_reply(row, request, reply, estimated=estimated)
        with batches.busy():
            await self._book(landed.line.reservation, bill, landed.line.id)
        if isinstance(landed.outcome, CallError):
            raise landed.outcome
        return reply

    def _say_tier(self, request: CallRequest, served: str | None) -> None:
        """Log, once, that a model is served at another tier, and billed at its price."""
        asked = str(request.params.get("service_tier") or "default").lower()
        known = (request.model.name, asked, served or "")
        standard = asked in STANDARD_TIERS and served in STANDARD_TIERS
        if served is None or served == asked or standard or known in self._tiers_said:
            return
        self._tiers_said.add(known)
        price = request.model.price
        priced = price is not None and price.for_tier(served) is not None
        how = "billed at its price" if priced else "its price is not known, so that it is billed as asked for"
        _log.warning("%s: service_tier %r was asked for and %r served: %s", request.model.name, asked, served, how)

    async def _keep(self, model: Model, notice: HeaderNotice) -> None:
        """Store what a reply's headers said about the end of its model, and log it the first time."""
        if self._notices.get(model.name) == notice:
            return
        self._notices[model.name] = notice
        if not await asyncio.to_thread(HeaderNoticeStore(self._store).record, model, notice):
            return
        ends = (
            f"ends on {notice.sunset}" if notice.sunset else f"is deprecated since {notice.since or 'a day not named'}"
        )
        _log.warning("%s %s, a header of its reply says; see `offramp watch`", model.name, ends)

    async def _reserve(self, request: CallRequest, deadline: Deadline) -> Reservation:
        """Reserve the worst case; while only requests in flight stand in the way, wait for them to be settled."""
        usd, pause, waited = worst_usd(request, self._timeout_s), _ROOM_S, 0.0
        while True:
            try:
                return await self._store.groups.do(self._budget.reserve_many, (usd, 1), undo=self._budget.release_many)
            except BudgetExceeded as error:
                if not error.may_free_up or waited > self._timeout_s:
                    raise
            with deadline.paused():
                await self._retries.sleep(pause)
            waited, pause = waited + pause, min(_ROOM_LONGEST_S, pause * 1.5)

    def _row(self, request: CallRequest, number: int, queue_s: float) -> CallAttempt:
        """The ledger's row of an attempt that begins now."""
        return CallAttempt(
            request_hash=request.hash,
            study=self._ledger.study,
            purpose=request.purpose,
            model=request.model.name,
            provider=request.model.provider,
            replicate=request.replicate,
            attempt=number,
            status=CallStatus.OK,
            queue_s=queue_s,
            started_at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            request_json={"messages": [dict(m) for m in request.messages], "params": dict(request.params)},
        )

    async def _book(self, reservation: Reservation | None, bill: Bill, line: str | None = None) -> None:
        """Record and bill; `line`: of the batch that it came in. No reservation: it was settled before."""
        self._counter.add(bill)
        await self._store.groups.do(self._write, (reservation or _SETTLED, bill, line))
        if self._on_attempt is not None:
            self._on_attempt(bill.attempt)

    def _write(
        self, conn: sa.Connection, booked: Sequence[tuple[Reservation, Bill, str | None]]
    ) -> Sequence[Callable[[], bool]]:
        self._ledger.record_many(conn, [bill.attempt for _, bill, _ in booked])
        if lines := [line for _, _, line in booked if line is not None]:
            forget_lines(conn, lines)
        return self._budget.settle_many(conn, [Settlement(held, bill.usd, bill.assumed) for held, bill, _ in booked])


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
    transport: Transport | None = None,
    local_slots: int = 1,
    on_attempt: Callable[[CallAttempt], None] | None = None,
    sleep: Sleep = real_sleep,
    clock: Clock = real_clock,
    batch: bool | None = None,
    timed: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Caller:
    """A caller for one study; settles what dead processes of its budget had reserved.

    Args:
        servers: where local models are served; None where there are none.
        rng: jitter of retries.
        transport: what sends in the end; LiteLLM and llama.cpp by route when None.
        local_slots: requests that the local server works on at the same time.
        on_attempt: called with the record of each attempt, once it is in the ledger.
        sleep, clock: replaced in tests.
        batch: whether the search's requests go into batches; False waits for those that are out, None for none.
        timed: whether answers are needed with their latency.
        check: raises a JobError where the job has to stop; who waits for a batch asks it, and a run before its first
            request.
    """
    budget.recover()
    sender, batches = transport or RouteTransport(servers, timeout_s=calls.timeout_s), None
    if batch is not None and (batch or BatchLines(store, study).out()):
        if not isinstance(sender, BatchTransport):
            do = "Leave `calls.batch` out."
            raise JobError(problem("calls.batch", "this transport has no batch interface", do=do))
        batches = Collector(
            sender, store=store, study=study, budget=budget, timeout_s=calls.timeout_s, on=batch, check=check,
            sleep=sleep,
        )  # fmt: skip
    return Caller(
        traced(sender),
        batches=batches,
        check=check,
        store=store,
        ledger=Ledger(store, study, store_text, calls.stored_answer_chars, timed=timed),
        budget=budget,
        limiter=Limiter(concurrency, local_slots=local_slots, clock=clock, sleep=sleep),
        retries=RetryPolicy(attempts=calls.attempts, deadline_s=calls.deadline_s, rng=rng, sleep=sleep, clock=clock),
        timeout_s=calls.timeout_s,
        on_attempt=on_attempt,
    )
