"""The one composition of what runs candidates: lease, budget, signals, embedded servers, caller and evaluator.

Whoever runs a candidate of a job opens a session: optimize, verify and check, and also what only repeats recorded runs
(a promotion's capture, the demos that a page shows). The last kind has no caps: its answers come from the ledger alone,
and it writes nothing, so a storage that was opened for reading will do.

Invariant: on every way out, what was opened is closed: connections, threads, servers, signal handlers, then the lease.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from offramp.calls.attempts import CallStats
from offramp.calls.caller import Caller, open_caller
from offramp.calls.recorded import RecordedAnswers
from offramp.calls.transports import Transport
from offramp.errors import JobError, in_a_run
from offramp.evaluate.evaluator import Evaluator, EvaluatorSettings
from offramp.evaluate.results import StudyResults
from offramp.evaluate.tool_results import StudyToolResults
from offramp.garbage import collected_rarely
from offramp.job.batching import needs_latency
from offramp.job.clock import STOP, Clock, Interrupted
from offramp.job.judges import naming_judges
from offramp.job.resolved import ResolvedJob
from offramp.models.server import LocalServers
from offramp.program.engine import Send
from offramp.records import Model
from offramp.store.budget import Budget
from offramp.store.engine import Store
from offramp.store.ledger import CallAttempt, Ledger
from offramp.store.owners import current_owner
from offramp.store.studies import StudyStore

RENEW_S = 20
"""Seconds between renewals of a lease: a third of what it lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What a session may spend, and where that is booked. None: no cap of that kind.

    Attributes:
        budget: its name in the storage.
        extra: whether the caps come on top of what was spent there before; else that counts towards them.
    """

    budget: str
    usd: float | None = None
    calls: int | None = None
    extra: bool = False


class Session:
    """What runs candidates, for as long as it is open.

    Attributes:
        evaluator: runs candidates on examples.
        sender: answers single requests, from a model or from the ledger alone. send: the same for programs and judges.
        clock: time of the run, and whether a person asked it to stop.
        results: of the study; empty until `load` reads what the storage has.
        tool_results: what the tools of the module gave in the study.
    """

    def __init__(
        self, *, evaluator: Evaluator, sender: Caller | RecordedAnswers, send: Send, clock: Clock,
        results: StudyResults, budget: Budget | None, spent_before_usd: float, tool_results: StudyToolResults,
    ) -> None:  # fmt: skip
        self.tool_results = tool_results
        self.evaluator, self.sender, self.send = evaluator, sender, send
        self.clock, self._budget = clock, budget
        self.results, self._spent_before_usd = results, spent_before_usd

    @property
    def caller(self) -> Caller:
        """The way to the models. Raises JobError where the session may not make a call."""
        if not isinstance(self.sender, Caller):
            raise JobError("a session without caps repeats recorded runs; it has no way to a model")
        return self.sender

    @property
    def recorded(self) -> RecordedAnswers:
        """The ledger's answers. Raises JobError where the session asks models."""
        if not isinstance(self.sender, RecordedAnswers):
            raise JobError("a session with caps asks models; it does not repeat recorded runs")
        return self.sender

    @property
    def budget(self) -> Budget:
        """Money and calls under the caps. Raises JobError where the session may not make a call."""
        if self._budget is None:
            raise JobError("a session without caps has no budget")
        return self._budget

    def stats(self) -> CallStats:
        """What the session's calls came to so far."""
        return self.caller.stats()

    def has_asked(self) -> bool:
        """Whether a model was asked, or answers of the ledger were used in its place; never without caps."""
        stats = self.sender.stats() if isinstance(self.sender, Caller) else None
        return stats is not None and stats.calls + stats.cached_calls > 0

    def spent_usd(self) -> float:
        """Money booked since the session was opened, for requests that a killed run had sent too."""
        return max(0.0, self.budget.seen.spent_usd - self._spent_before_usd)


@asynccontextmanager
async def open_session(
    job: ResolvedJob, *, store: Store, study: str, caps: Caps | None = None, clock: Clock | None = None,
    concurrency: int = 1, in_flight: int | None = None, seed: int = 0, lease: bool = True,
    store_text: bool | None = None, models: Mapping[str, Model] | None = None,
    on_attempt: Callable[[CallAttempt], None] | None = None, transport: Transport | None = None,
    batch: bool | None = None,
) -> AsyncIterator[Session]:  # fmt: skip
    """Opens what runs candidates of a job. To be entered on the event loop that they run on.

    Args:
        study: the name that results and calls are kept under.
        caps: None for runs that repeat recorded ones: no call is made, nothing is written, and there is no lease.
        clock: of the run, begun; one without a cap for None.
        concurrency: examples at the same time. in_flight: requests at the same time; as many for None.
        seed: of the retries' jitter.
        lease: whether the study is held, so that no other process works on it.
        store_text: whether texts are kept; as the space file says for None.
        models: models beside those of the job, by name.
        on_attempt: called with the record of each attempt, once it is in the ledger.
        transport: what sends requests; LiteLLM and llama.cpp by route for None.
        batch: whether requests of programs and judges go into batches; False only waits for those that are out, None
            knows of none.

    Raises:
        JobError: another process works on the study; or in place of a UsageError, once a model was asked.
        Interrupted: a person asked twice to stop; what was in flight was cut off.
    """
    clock = clock or Clock()
    text = job.space.store_text if store_text is None else store_text
    async with AsyncExitStack() as stack:
        stack.enter_context(collected_rarely())
        budget, spent_before_usd = None, 0.0
        sender: Caller | RecordedAnswers
        if caps is None:
            sender = RecordedAnswers(Ledger(store, study))
        else:
            if lease:
                await stack.enter_async_context(_held_lease(store, study, clock.interrupt))
            stack.enter_context(_stopping_on_signals(clock))
            budget = _open_budget(store, caps)
            spent_before_usd = budget.seen.spent_usd
            servers = await stack.enter_async_context(LocalServers())
            sender = open_caller(
                store=store, study=study, store_text=text, budget=budget, concurrency=in_flight or concurrency,
                calls=job.space.calls, servers=servers, rng=random.Random(seed), transport=transport,
                on_attempt=on_attempt, sleep=clock.timing.sleep, clock=clock.timing.now, batch=batch,
                timed=needs_latency(job.space), check=clock.check,
            )  # fmt: skip
            stack.push_async_callback(sender.aclose)
        results = StudyResults(store, study, store_text=text, most_chars=job.space.calls.stored_answer_chars)
        settings = EvaluatorSettings(
            concurrency=concurrency, max_failed_share=job.space.calls.max_failed_share, balance_by=job.balance_by,
            bootstrap_min_score=job.space.demos.min_score, replicates=job.space.replicates,
        )  # fmt: skip
        tool_results = StudyToolResults(
            store, study, effects=job.space.task.tools_with_effects, stored=text and caps is not None,
            repeats=caps is None,
        )  # fmt: skip
        send = naming_judges(sender.send, job.loaded)
        evaluator = Evaluator(
            task=job.task, models={**job.models, **(models or {})}, send=send, results=results,
            settings=settings, factory=job.factory, check=clock.check, within=clock.within,
            tool_results=tool_results,
        )  # fmt: skip
        session = Session(
            evaluator=evaluator, sender=sender, send=send, clock=clock, results=results, budget=budget,
            spent_before_usd=spent_before_usd, tool_results=tool_results,
        )  # fmt: skip
        with in_a_run(session.has_asked):
            yield session


def _open_budget(store: Store, caps: Caps) -> Budget:
    if not caps.extra:
        return Budget(store, caps.budget, caps.usd, caps.calls)
    before = Budget(store, caps.budget).state()
    usd = None if caps.usd is None else before.spent_usd + caps.usd
    return Budget(store, caps.budget, usd, None if caps.calls is None else before.calls + caps.calls)


_handled: set[signal.Signals] = set()
"""Signals that stop a run of this process."""


def _leave_signals() -> None:
    """In a forked child, whose signals are its own: a pool ends it with SIGTERM, and the run goes on."""
    if _handled:
        signal.set_wakeup_fd(-1)
    for name in _handled:
        signal.signal(name, signal.default_int_handler if name is signal.SIGINT else signal.SIG_DFL)
    _handled.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_signals)


@contextmanager
def _stopping_on_signals(clock: Clock) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) stops the run after the requests in flight, the second at once.

    Raises:
        Interrupted: it was stopped at once.
    """
    loop, task, cut_off = asyncio.get_running_loop(), asyncio.current_task(), False

    def stop() -> None:
        nonlocal cut_off
        if clock.interrupted and task is not None:
            cut_off = True
            task.cancel()
        clock.interrupt()

    handled: list[signal.Signals] = []
    with suppress(NotImplementedError, ValueError, RuntimeError):  # another thread, or a platform without them
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop)
            handled.append(name)
            _handled.add(name)
    if (button := STOP.get()) is not None:
        button.asked = partial(loop.call_soon_threadsafe, stop)
        if button.pressed:
            stop()
    try:
        yield
    except asyncio.CancelledError:
        if cut_off:
            raise Interrupted("stopped at once; run the same command again to continue where it stopped.") from None
        raise
    finally:
        if button is not None:
            button.asked = None
        for name in handled:
            loop.remove_signal_handler(name)
            _handled.discard(name)


@asynccontextmanager
async def _held_lease(store: Store, study: str, lost: Callable[[], None]) -> AsyncIterator[None]:
    """The lease of a study, renewed until the block ends; `lost` is called where another process may hold it now."""
    studies = StudyStore(store)
    lease = studies.acquire_lease(study, current_owner())

    async def renew() -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                studies.renew(lease)
            except JobError:
                lost()
                return

    renewal = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewal.cancel()
        with suppress(JobError):  # a storage that fails keeps the lease until this process is gone
            studies.release(lease)
