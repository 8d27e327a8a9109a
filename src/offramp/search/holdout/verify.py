"""Verifying a study: its whole front, the recommended candidate and the incumbent, on the holdout and in a probe.

It has a budget of its own, stated before the first call: what was given, or 1.5 times what the numbers of the search
predict, judge included, plus the reservation of the last request. Results that the study has on the holdout are not
run again; a probe is always new.

Invariant: nothing that the search found changes; a candidate's holdout numbers appear when they are complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from offramp.calls.failures import ModelNotFound
from offramp.calls.transports import Transport
from offramp.errors import CapReached, UsageError, problem
from offramp.ids import derived_seed
from offramp.job.clock import Clock, Timing
from offramp.job.loaded import LoadedStudy
from offramp.job.session import Caps, Session, open_session
from offramp.records import Candidate, Purpose, Split
from offramp.search.holdout.probe import WARM_UP, probe
from offramp.search.holdout.reserve import need_of, runs_lacking, runs_of
from offramp.search.judging import Judges, Judging
from offramp.search.outcome import parked_model, reason_of
from offramp.store.aggregates import AggregateStore, aggregate_of
from offramp.store.budget import read_budget
from offramp.store.candidates import CandidateStore
from offramp.store.engine import Store
from offramp.store.ledger import Effort, StudyEffort
from offramp.store.results import ProbeStore, ResultStore
from offramp.store.studies import ParkedModel, StudyStore
from offramp.study.domain.members import Member
from offramp.study.queries.spending import verify_budget
from offramp.study.queries.study_rows import read_report
from offramp.study.shown import ShownStudy, run_words
from offramp.study.study_report import StudyReport

SAFETY = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """What a verification may use. None: as the estimate says (money, calls), or no cap (minutes).

    Attributes:
        probe: timed runs of each candidate; 0 for none. probe_concurrency: of them at the same time.
        concurrency: examples at the same time on the holdout.
        also: candidates that are verified beside the front, such as the members of a cascade.
    """

    usd: float | None = None
    calls: int | None = None
    minutes: float | None = None
    probe: int = 20
    probe_concurrency: int = 1
    concurrency: int = 4
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a verification will do, and the budget it will do it from.

    Attributes:
        members: who is verified, the most important first.
        runs: on the holdout that are still to be made at most, and timed runs, all members together.
        expected_usd: by the search's own numbers; None where a price is not known, or a judge was never asked.
        cap_usd, cap_calls: of the budget; None for no cap of that kind.
    """

    members: tuple[Member, ...]
    runs: int
    expected_usd: float | None
    cap_usd: float | None
    cap_calls: int | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Verified(ShownStudy):
    """What a verification has done.

    Attributes:
        report: the study as it stands now.
        stopped: the word for what ended it early (`budget_usd`, `budget_calls`, `minutes`, ...); None when complete.
        calls: physical requests; spent_usd: physical money of this verification.
    """

    report: StudyReport
    plan: Plan
    stopped: str | None
    calls: int
    cached_calls: int
    failed_calls: int
    spent_usd: float
    elapsed_s: float

    @property
    def shown_run(self) -> str:
        """What this verification did, in a few words."""
        return run_words(self.calls, self.cached_calls, self.failed_calls, self.spent_usd, self.elapsed_s)


Progress = Callable[[str, int, int], None]
"""Called with the phase (`holdout` or `probe`), runs done and runs in all."""


class Verification:
    """One verification of a stored study. `run` does it all, under the study's lease."""

    def __init__(
        self, opened: LoadedStudy, options: VerifyOptions, store: Store, *, progress: Progress | None = None,
        transport: Transport | None = None, timing: Timing | None = None,
    ) -> None:  # fmt: skip
        self._row, self._job, self._options, self._store = opened.row, opened.job, options, store
        self._progress, self._transport = progress, transport
        self._results, self._aggregates = ResultStore(store, self._job.space.store_text), AggregateStore(store)
        self._done, self._parked = 0, list[ParkedModel]()
        self.clock = Clock(minutes=options.minutes, timing=timing or Timing())
        self.plan = self._planned()

    async def run(self) -> Verified:
        """Scores and times.

        Raises:
            FatalCallError, Interrupted, TooManyFailures: it cannot go on; what was measured is kept. A model that no
                longer answers ends it only where no member runs on another.
        """
        caps = Caps(
            budget=verify_budget(self._row.name), usd=self.plan.cap_usd, calls=self.plan.cap_calls, extra=True
        )  # fmt: skip
        async with open_session(
            self._job, store=self._store, study=self._row.name, clock=self.clock, caps=caps,
            concurrency=self._options.concurrency,
            in_flight=max(self._options.concurrency, self._options.probe_concurrency),
            seed=derived_seed(self._row.seed, "verify"), transport=self._transport,
        ) as session:  # fmt: skip
            stopped: str | None = None
            try:
                await self._measure(session)
            except CapReached as cap:
                stopped = reason_of(cap)
            stats = session.stats()
            return Verified(
                report=read_report(self._store, self._row.name),
                plan=self.plan,
                stopped=stopped,
                calls=stats.calls,
                cached_calls=stats.cached_calls,
                failed_calls=stats.failed_calls,
                spent_usd=session.spent_usd(),
                elapsed_s=self.clock.elapsed_s,
            )

    async def _measure(self, session: Session) -> None:
        names = [member.candidate for member in self.plan.members]
        session.results.load(Split.HOLDOUT, names)
        rows = {row.id: row.candidate for row in CandidateStore(self._store).all(self._row.name, only=names)}
        holdout, width = self._job.task.splits.holdout, self._options.probe_concurrency
        for name in names:
            with self._parking():
                await self._evaluate(session, rows[name])
        while self._options.probe and (
            left := [rows[name] for name in names if not self._is_parked(rows[name].params)]
        ):
            with self._parking():
                runs = await probe(
                    session.evaluator, left, holdout, runs=self._options.probe, concurrency=width,
                    check=self._check_probe,
                )  # fmt: skip
                ProbeStore(self._store).put(self._row.name, runs, concurrency=width)
                break

    async def _evaluate(self, session: Session, candidate: Candidate) -> None:
        if self._is_parked(candidate.params):
            return
        await session.evaluator.evaluate(
            candidate, self._job.task.splits.holdout, split=Split.HOLDOUT, on_result=lambda _: self._tell("holdout", 1)
        )  # fmt: skip
        results = session.results.of(Split.HOLDOUT, candidate.id)
        self._aggregates.put(self._row.name, Split.HOLDOUT, candidate.id, aggregate_of(results.values()))

    @contextmanager
    def _parking(self) -> Iterator[None]:
        """A model that no longer answers is noted in the study's record, and the others are verified.

        Raises:
            ModelNotFound: there is no other, or it is not the model of a candidate.
        """
        try:
            yield
        except ModelNotFound as error:
            parked, studies = parked_model(error, self._job), StudyStore(self._store)
            studies.update(self._row.name, details=studies.get(self._row.name).details.with_parked(parked))
            if any(one.model == parked.model for one in self._parked):
                raise
            self._parked.append(parked)
            if all(self._is_parked(member.params) for member in self.plan.members):
                raise

    def _is_parked(self, params: Mapping[str, Any]) -> bool:
        """Whether a candidate with these params uses a model that no longer answers."""
        return any(one.is_used(params) for one in self._parked)

    # ------------------------------------------------------------------------------------------------ plan

    def _planned(self) -> Plan:
        report = read_report(self._store, self._row.name)
        members = report.standing
        front = {member.candidate for member in members}
        members += tuple(m for m in report.members if m.candidate in self._options.also and m.candidate not in front)
        if not members:
            raise UsageError(problem(self._row.name, "no candidate has a full evaluation yet", do="Run the job first."))
        self._check_models(members)
        todo = {member.candidate: self._todo(member) for member in members}
        timed, graded = self._options.probe + WARM_UP if self._options.probe else 0, sum(todo.values())
        effort = StudyEffort().read(self._store, self._row.name).by_purpose
        judging = Judges(self._job).take(effort.get(Purpose.JUDGE, Effort()))
        parts = [None if m.cost_usd is None else m.cost_usd * (todo[m.candidate] + timed) for m in members]
        known = [part for part in [*parts, judging.usd * graded if judging.measured else None] if part is not None]
        expected = math.fsum(known) if len(known) > len(members) else None
        per_run = {m.candidate: self._job.requests_per_run(str(m.params.get("form"))) for m in members}
        calls = sum((todo[name] + timed) * n for name, n in per_run.items()) + graded * judging.calls
        given = self._options.usd is not None or self._options.calls is not None
        stated = given or expected is None
        return Plan(
            members=members,
            runs=graded + timed * len(members),
            expected_usd=expected,
            cap_usd=self._options.usd if stated else SAFETY * (expected or 0.0) + self._reserve_usd(members, judging),
            cap_calls=self._options.calls if given or expected is not None else math.ceil(SAFETY * calls),
        )

    def _reserve_usd(self, members: Sequence[Member], judging: Judging) -> float:
        """What the last request has to find in the budget."""
        names = [member.candidate for member in members]
        results = self._results.some(self._row.name, Split.SEARCH, names)
        rows = CandidateStore(self._store).all(self._row.name, only=names)
        needs = [need_of(self._job, runs_of(row.candidate, results.get(row.id, {}).values())) for row in rows]
        state = read_budget(self._store, self._row.name)
        surplus = 1.0 if state is None else state.surplus
        return surplus * max(judging.bound_usd, *(need.bound_usd for need in needs))

    def _todo(self, member: Member) -> int:
        """Runs on the holdout that it still takes at most."""
        study, name = self._row.name, member.candidate
        there, runs = self._results.get(study, Split.HOLDOUT, name), self._job.space.replicates
        if runs > 1 and not any(r.replicates for r in self._results.get(study, Split.SEARCH, name).values()):
            runs = 1
        return runs_lacking(self._job.task.splits.holdout, there, runs)

    def _check_models(self, members: Sequence[Member]) -> None:
        """Refuses a model that has changed: its numbers would mix with those of the former model in one candidate."""
        kept = self._row.details.models
        for name in {str(member.params["model"]) for member in members}:
            now = self._job.models[name].identity
            if name in kept and kept[name] != now:
                do = "Run the job again."
                raise UsageError(
                    problem(self._row.name, f"model {name!r} is not the one that it ran on", got=list(now), do=do)
                )

    def _check_probe(self) -> None:
        self.clock.check()
        self._tell("probe", self._options.probe_concurrency)

    def _tell(self, phase: str, more: int) -> None:
        self._done = min(self._done + more, self.plan.runs)
        if self._progress is not None:
            self._progress(phase, self._done, self.plan.runs)
