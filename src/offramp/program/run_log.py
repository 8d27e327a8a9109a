"""What one run of a program requested and received.

A run has a beginning and an end. What it has in flight when the program returns is waited for, since it was sent and
will be billed; when the run is cancelled, it is cancelled too. After that the log is over, and a thread or task that
the program left behind cannot send anything more.

Invariant: the log is only changed on the event loop of the caller.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import dspy

from offramp.calls.failures import ProgramError
from offramp.errors import JobError
from offramp.records import CallReply, CallRequest, Purpose

_Error = TypeVar("_Error", bound=Exception)


class Abandoned(Exception):
    """The program itself gave up a request before it was answered: what it would have cost is not known."""


class NoRequest(Exception):
    """A run that asked no model through offramp: its answer may come from one that nobody counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request of a run and the reply to it; a refusal that took time or money has a reply without text.

    Attributes:
        began, ended: by `time.perf_counter`, waiting for a place included.
        predictor: that asked; None where it was none that the module names.
        adapter: class of the adapter that the module set in place of the candidate's; None where it set none.
        step: of a form of several requests; those of one step ran side by side.
    """

    request: CallRequest
    reply: CallReply
    began: float = 0.0
    ended: float = 0.0
    predictor: str | None = None
    adapter: str | None = None
    step: int = 0

    @property
    def cost_usd(self) -> float | None:
        """At the price of the model that replied, at the tier that served it; None where that is not known."""
        price = self.request.price_served(self.reply.service_tier)
        return None if price is None else price.reply_usd(self.reply.usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check of the user's own said of one answer; `step` as in `Exchange`, `began` by `time.perf_counter`."""

    path: str
    answer: Mapping[str, Any]
    accepted: bool
    objection: str
    step: int
    began: float
    seconds: float


def virtual_cost(exchanges: Sequence[Exchange]) -> float | None:
    """What replies cost together; None where the price of one is not known."""
    costs = [exchange.cost_usd for exchange in exchanges]
    return None if any(cost is None for cost in costs) else sum((cost for cost in costs if cost is not None), 0.0)


def mean_logprob(exchanges: Sequence[Exchange]) -> float | None:
    """Of the replies, mean of their means; None where one has none."""
    known = [exchange.reply.logprob for exchange in exchanges]
    found = [value for value in known if value is not None]
    return sum(found) / len(found) if found and len(found) == len(known) else None


@dataclass(slots=True, kw_only=True)
class RunLog:
    """What one run of a program requested and received; filled while it runs.

    Attributes:
        exchanges: every reply in the order of arrival, with its request; refusals that took time or money among them.
        infrastructure_error: the first thing that failed outside of the program; None when nothing did.
        program_error: the first request that was refused, or answer that could not be read; None when there was none.
        unreadable: whether `program_error` is an answer that could not be read.
        over: whether the run has ended.
        given_up: whether it was ended from outside, and `infrastructure_error` says why.
        strict: whether models that nobody declared are refused.
        task: that runs it. report: a file for what its processes are refused; None without any.
        predictors: names of the predictors by the identity of each, and of its signature where no other has that.
        adapter: the candidate's.
        step: of a form of several requests, counted as it goes on.
        confidence: in the answer, where a form knows it; else None.
        checks: what a form's check of the user's own said, in order.
        send: what its requests go through in place of the caller; None for the caller.
    """

    purpose: Purpose
    replicate: int
    send: Callable[[CallRequest], Awaitable[CallReply]] | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    infrastructure_error: BaseException | None = None
    program_error: str | None = None
    unreadable: bool = False
    over: bool = False
    given_up: bool = False
    strict: bool = False
    task: asyncio.Task[Any] | None = None
    report: str | None = None
    predictors: Mapping[int, str] = field(default_factory=dict)
    adapter: Any = None
    step: int = 0
    checks: list[Checked] = field(default_factory=list)
    confidence: float | None = None
    _asked: Counter[str] = field(default_factory=Counter, init=False)
    _flights: dict[asyncio.Future[None], asyncio.Task[Any] | None] = field(default_factory=dict, init=False)

    @property
    def replies(self) -> list[CallReply]:
        """Every reply, in the order of arrival."""
        return [exchange.reply for exchange in self.exchanges]

    @property
    def asked(self) -> int:
        """How many requests it has begun."""
        return self._asked.total()

    def repeats(self, request_hash: str) -> int:
        """How often this run has asked for just this before; counts this time."""
        self._asked[request_hash] += 1
        return self._asked[request_hash] - 1

    def note_reply(self, request: CallRequest, reply: CallReply, began: float) -> None:
        """A reply, just now."""
        found = dspy.settings.adapter
        adapter = None if found is self.adapter else type(found or dspy.ChatAdapter()).__name__
        self.exchanges.append(
            Exchange(
                request=request, reply=reply, began=began, ended=time.perf_counter(), predictor=self._predictor(),
                adapter=adapter, step=self.step,
            )
        )  # fmt: skip

    def _predictor(self) -> str | None:
        """The predictor that asks here. dspy.BestOfN and the like run copies, which have the same signature."""
        asking = next((m for m in reversed(dspy.settings.caller_modules or ()) if isinstance(m, dspy.Predict)), None)
        return self.predictors.get(id(asking)) or self.predictors.get(id(getattr(asking, "signature", None)))

    def note_program_error(self, error: ProgramError, request: CallRequest, began: float) -> None:
        """A refused request. A production run would wait and pay for it too, if the provider counted it."""
        self.program_error = self.program_error or str(error)
        if error.latency_s is not None:
            self.note_reply(request, error.reply(), began)

    def note_unreadable(self, text: str) -> None:
        """An answer that could not be read, in words."""
        self.unreadable = self.unreadable or self.program_error is None
        self.program_error = self.program_error or text

    def note_infrastructure_error(self, error: BaseException) -> None:
        """Something that failed outside of the program."""
        if isinstance(error, asyncio.CancelledError):
            error = Abandoned("the program gave up a request before it was answered (a time limit of its own?)")
        self.infrastructure_error = self.infrastructure_error or error

    def give_up(self, error: Exception) -> None:
        """Ends the run from another thread, also where it waits for something that does not come."""
        self.note_infrastructure_error(error)
        if self.task is not None:
            self.task.get_loop().call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self.over and not self.given_up and self.task is not None:
            self.given_up = True
            self.task.cancel()

    def noted(self, error: _Error) -> _Error:
        """The error, noted as a failure."""
        self.note_infrastructure_error(error)
        return error

    def refuse_when_over(self) -> None:
        """Raises JobError when the run has ended."""
        if self.over:
            raise JobError("a program sends requests after its run has ended")

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """One request under way."""
        self.refuse_when_over()
        flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flights[flight] = asyncio.current_task()
        try:
            yield
        finally:
            del self._flights[flight]
            flight.set_result(None)

    async def finish(self) -> None:
        """Ends the run; returns when nothing is in flight."""
        self.over = True
        if self._flights:
            await asyncio.wait(list(self._flights))

    async def cancel(self) -> None:
        """Ends the run and cancels what is in flight."""
        for task in set(self._flights.values()) - {None, asyncio.current_task()}:
            task.cancel()  # type: ignore[union-attr]
        await self.finish()
