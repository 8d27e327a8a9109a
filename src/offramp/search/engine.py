"""The job: incumbent first, then ask, evaluate, tell until a limit; then the verdict on the holdout.

A job is a function of its space, seed and the models' answers. Everything it learns is stored as it is learnt; a run of
the same job continues the study wherever it stopped, whether that was a cap, an error or kill -9.

Invariant: every way out tells the trial, settles or keeps the purse, releases the lease, and says why the job ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace

from offramp.calls.caller import Caller, open_caller
from offramp.calls.failures import FatalCallError
from offramp.errors import JobError, OfframpError
from offramp.evaluate.evaluator import Evaluator, EvaluatorSettings, TooManyFailures
from offramp.ids import derived_seed
from offramp.models.server import LocalServers
from offramp.records import Candidate, Evaluation, Result, Scalar, Split
from offramp.search.limits import Clock, Interrupted, TimeIsUp, search_share
from offramp.search.objectives import Objective, objectives_json, utility, values_of, violations, with_scales
from offramp.search.optuna_study import Asked, OptunaStudy
from offramp.search.policy import Block, BlockPolicy, FullEvaluation
from offramp.search.prepare import Prepared
from offramp.search.progress import Progress
from offramp.search.report import Member, Money, StudyReport, build_report, summary_text
from offramp.space.dimensions import Dimension, assignments, cardinality, choose, values_in
from offramp.store.engine import Store
from offramp.store.owners import current_owner
from offramp.store.purse import BudgetExceeded, Purse
from offramp.store.results import ResultStore
from offramp.store.studies import Lease, StudyRow, StudyStatus, StudyStore

DUPLICATES = 3
"""After so many proposals in a row that are known already, an unseen one is drawn at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run may use. None: as the space file says, or no cap."""

    trials: int
    seed: int
    concurrency: int
    usd: float | None = None
    calls: int | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """One run of a job: the study as it stands now, and what this run did.

    Attributes:
        calls: physical requests of this run, retries included.
        cached_calls: answers that this run had for nothing: from the ledger, or from results of the study.
        spent_usd: physical money of this run.
        error: what ended the job before its time; None when it ended by itself.
    """

    report: StudyReport
    calls: int
    cached_calls: int
    failed_calls: int
    spent_usd: float
    spent_by_purpose_usd: Mapping[str, float]
    elapsed_s: float
    error: OfframpError | None = None


class Job:
    """One run of a study. `run` does it all."""

    def __init__(
        self, prepared: Prepared, options: Options, store: Store, *, observer: Callable[[Progress], None] | None = None,
        policy: BlockPolicy | None = None, servers: LocalServers | None = None,
    ) -> None:  # fmt: skip
        self._p, self._o, self._store = prepared, options, store
        self._observer, self._policy = observer, policy or FullEvaluation()
        self._servers = servers or LocalServers()
        self.name = prepared.study_name(options.seed)
        self._studies, self._results = StudyStore(store), ResultStore(store, prepared.space.store_text)
        self._objectives: tuple[Objective, ...] = prepared.objectives
        self._finished: dict[str, Evaluation] = {}
        self._first_trial: dict[str, int] = {}
        self._reused_calls = 0
        self.clock = Clock(minutes=options.minutes)
        self._progress = Progress(study=self.name, trials_wanted=options.trials, minutes=options.minutes)

    def interrupt(self) -> None:
        """Ask the job to stop after the requests that are in flight."""
        self.clock.interrupted = True

    async def run(self) -> JobResult:
        """Runs the job to its end and returns what it found.

        Raises:
            UsageError: it cannot be run as it is. Errors of the running job are in the result, with what was kept.
        """
        self._studies.create_or_get(self._row())
        lease = self._studies.acquire_lease(self.name, current_owner())
        renewal = asyncio.create_task(self._renew(lease))
        purse = self._purse(search_only=True)
        spent_before = purse.state().spent_usd
        self._caller = self._open_caller(purse)
        try:
            reason, error = await self._guarded()
            return self._conclude(reason, error, spent_before)
        finally:
            renewal.cancel()
            await self._caller.aclose()
            await self._servers.close()
            self._studies.release(lease)

    # ------------------------------------------------------------------------------------------ phases

    async def _guarded(self) -> tuple[str, OfframpError | None]:
        """Runs all phases; every error of the job becomes a reason."""
        try:
            reason = await self._search()
            error: OfframpError | None = None
        except OfframpError as raised:
            reason, error = _reason(raised), raised
        if error is None or isinstance(error, BudgetExceeded | TimeIsUp):
            try:
                await self._verdict()
                error = None
            except (BudgetExceeded, TimeIsUp):
                error = None
            except OfframpError as raised:
                reason, error = _reason(raised), raised
        return reason, error

    async def _search(self) -> str:
        self._studies.update(self.name, status=StudyStatus.RUNNING, stop_reason=None)
        self._evaluator = self._make_evaluator()
        self._study = self._open_study()
        self._study.take_back_unfinished()
        self._recall()
        await self._incumbent_first()
        return await self._loop()

    def _recall(self) -> None:
        """Takes up what the study knows already."""
        for trial in self._study.finished():
            if trial.duplicate_of is not None:
                continue
            results = self._results.get(self.name, Split.SEARCH, trial.candidate)
            self._finished[trial.candidate] = Evaluation(candidate=trial.candidate, results=tuple(results.values()))
            self._first_trial[trial.candidate] = trial.number
            self._reused_calls += sum(r.calls + r.cached_calls for r in results.values())

    async def _incumbent_first(self) -> None:
        incumbent = self._p.incumbent
        if incumbent is not None and incumbent.id not in self._finished:
            evaluation = await self._evaluate(incumbent)
            self._fix_scales(evaluation)
            values, attributes, missed = self._told(incumbent, evaluation)
            number = self._study.add_incumbent(incumbent.params, values, attributes, missed)
            self._note(incumbent, evaluation, number)
        else:
            self._fix_scales(None if incumbent is None else self._finished[incumbent.id])

    def _fix_scales(self, incumbent: Evaluation | None) -> None:
        """Fixed once for a study, then kept in its record, so that no later run measures with another ruler."""
        self._objectives = with_scales(self._p.objectives, incumbent)
        extra = {
            "objectives": objectives_json(self._objectives),
            "incumbent": None if self._p.incumbent is None else self._p.incumbent.id,
        }
        row = self._studies.get(self.name)
        self._studies.update(self.name, extra={**row.extra, **extra})

    async def _loop(self) -> str:
        size = cardinality(self._p.dims)
        while True:
            if len(self._finished) >= self._o.trials:
                return "trials"
            if len(self._finished) >= size:
                return "space_exhausted"
            self.clock.check()
            self._keep_back()
            if not await self._next_trial():
                return "space_exhausted"

    async def _next_trial(self) -> bool:
        """One proposal that is new; False when none is left."""
        for attempt in range(DUPLICATES + 1):
            if attempt == DUPLICATES and not self._queue_unseen():
                return False
            asked = self._study.ask()
            candidate = self._p.candidate(asked.params)
            if candidate.id not in self._finished:
                await self._run_trial(asked, candidate)
                return True
            self._tell_duplicate(asked, candidate)
        return True

    async def _run_trial(self, asked: Asked, candidate: Candidate) -> None:
        with self._told_on_error(asked):
            evaluation = await self._evaluate(candidate)
            values, attributes, missed = self._told(candidate, evaluation)
            self._study.tell(asked.number, values, attributes, missed)
        self._note(candidate, evaluation, asked.number)

    @contextmanager
    def _told_on_error(self, asked: Asked) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._study.tell_failed(asked.number, f"{type(error).__name__}: {error}", again=True)
            raise

    def _tell_duplicate(self, asked: Asked, candidate: Candidate) -> None:
        values, attributes, missed = self._told(candidate, self._finished[candidate.id])
        attributes["duplicate_of"] = self._first_trial[candidate.id]
        self._study.tell(asked.number, values, attributes, missed)

    def _queue_unseen(self) -> bool:
        """Queues an assignment whose candidate is not known yet, drawn with the job's seed; False when there is none."""
        rng = random.Random(derived_seed(self._o.seed, "unseen", len(self._finished)))
        if cardinality(self._p.dims) != float("inf"):
            everything = list(assignments(self._p.dims))
            rng.shuffle(everything)
        else:
            everything = [choose(self._p.dims, lambda dim: _draw(dim, rng)) for _ in range(500)]
        unseen = next((params for params in everything if self._p.candidate(params).id not in self._finished), None)
        if unseen is not None:
            self._study.queue(unseen)
        return unseen is not None

    async def _evaluate(self, candidate: Candidate) -> Evaluation:
        """As far as the policy wants it evaluated."""
        self._progress = replace(self._progress, candidate=candidate.params, done=0, of=len(self._p.task.splits.search))
        evaluation = Evaluation(candidate=candidate.id, results=())
        examples = self._p.task.splits.search
        finished = tuple(self._finished.values())
        while isinstance(step := self._policy.next(candidate, evaluation, examples, finished), Block):
            more = await self._evaluator.evaluate(candidate, step.examples, split=Split.SEARCH)
            evaluation = evaluation.extended(more.results)
        return evaluation

    def _told(
        self, candidate: Candidate, evaluation: Evaluation
    ) -> tuple[list[float], dict[str, object], dict[str, float]]:
        """Values, attributes and constraints for optuna.

        Raises:
            TooManyFailures: no example has a score, so that there is nothing to tell.
        """
        values = values_of(self._objectives, evaluation)
        if values is None:
            raise TooManyFailures(
                f"candidate {candidate.id} ({candidate.model}) has no result to compare: all runs failed"
            )
        score = utility(self._objectives, values)
        attributes: dict[str, object] = {
            "candidate": candidate.id,
            "params": dict(candidate.params),
            "utility": score,
            "n": evaluation.n,
            "n_fault": evaluation.n_fault,
            "n_failed": evaluation.n_failed,
            "latency_p95_s": evaluation.latency_s("p95"),
        }
        told = [score] if self._p.space.search.mode == "utility" else list(values)
        return told, attributes, violations(self._p.space.constraints, evaluation)

    def _note(self, candidate: Candidate, evaluation: Evaluation, number: int) -> None:
        self._finished[candidate.id] = evaluation
        self._first_trial[candidate.id] = number
        report = build_report(self._store, self.name)
        self._progress = replace(self._progress, trials=len(self._finished), front=report.front)
        self._publish()

    async def _verdict(self) -> None:
        """Scores the incumbent and the recommended candidate on the holdout."""
        report = build_report(self._store, self.name)
        chosen = [member for member in (report.incumbent, report.recommended) if member is not None]
        if not chosen:
            return
        self._purse(search_only=False)
        self.clock.keep_back(0.0)
        for member in {member.candidate: member for member in chosen}.values():
            candidate = self._candidate_of(member)
            examples = self._p.task.splits.holdout
            self._progress = replace(self._progress, phase="holdout", candidate=member.params, done=0, of=len(examples))
            await self._evaluator.evaluate(candidate, examples, split=Split.HOLDOUT)

    def _candidate_of(self, member: Member) -> Candidate:
        incumbent = self._p.incumbent
        if incumbent is not None and member.candidate == incumbent.id:
            return incumbent
        return self._p.candidate(member.params)

    def _conclude(self, reason: str, error: OfframpError | None, spent_before: float) -> JobResult:
        failed = error is not None and not isinstance(error, Interrupted)
        done = reason in ("trials", "space_exhausted")
        status = StudyStatus.FAILED if failed else StudyStatus.FINISHED if done else StudyStatus.STOPPED
        self._studies.update(self.name, status=status, stop_reason=reason)
        stats, state = self._caller.stats(), self._purse(search_only=False).state()
        money = Money(
            calls=state.calls, spent_usd=state.spent_usd, assumed_usd=state.assumed_usd, reserved_usd=state.reserved_usd
        )
        report = replace(build_report(self._store, self.name), money=money)
        self._studies.update(self.name, summary_json=summary_text(report))
        return JobResult(
            report=report,
            calls=stats.calls,
            cached_calls=stats.cached_calls + self._reused_calls,
            failed_calls=stats.failed_calls,
            spent_usd=max(0.0, state.spent_usd - spent_before),
            spent_by_purpose_usd=stats.by_purpose_usd,
            elapsed_s=self.clock.elapsed_s,
            error=error,
        )

    # ------------------------------------------------------------------------------------------- parts

    def _row(self) -> StudyRow:
        p = self._p
        prices = {name: None if m.price is None else asdict(m.price) for name, m in p.models.items()}
        return StudyRow(
            name=self.name,
            space_name=p.space.name,
            space_json=p.space.model_dump_json(),
            space_hash=p.hash(self._o.seed),
            task_hash=p.task.hash,
            seed=self._o.seed,
            extra={"prices": prices, "texts": {predictor: dict(v) for predictor, v in p.texts.items()}},
        )

    def _purse(self, *, search_only: bool) -> Purse:
        """The study's purse; while searching, calls for the verdict on the holdout are kept back."""
        runs = 2 * len(self._p.task.splits.holdout) * self._p.predictors if search_only else 0
        calls = search_share(self._o.calls, runs)
        usd = search_share(self._o.usd, self._holdout_usd() if search_only else 0.0)
        return Purse(self._store, self.name, usd, None if calls is None else int(calls))

    def _holdout_usd(self) -> float:
        """Rough cost of the verdict: two candidates, each as dear as the dearest so far."""
        known = [evaluation.cost_usd for evaluation in self._finished.values()]
        return 2 * len(self._p.task.splits.holdout) * max((cost for cost in known if cost is not None), default=0.0)

    def _keep_back(self) -> None:
        """Keeps money and time back for the verdict, from what runs have taken so far."""
        if self._o.usd is not None:
            self._purse(search_only=True)
        if self._progress.runs:
            per_run = self.clock.elapsed_s / self._progress.runs
            self.clock.keep_back(2 * len(self._p.task.splits.holdout) * per_run)

    def _open_caller(self, purse: Purse) -> Caller:
        space = self._p.space
        return open_caller(
            store=self._store,
            study=self.name,
            store_text=space.store_text,
            purse=purse,
            concurrency=self._o.concurrency,
            calls=space.calls,
            servers=self._servers,
            rng=random.Random(derived_seed(self._o.seed, "retries")),
        )

    def _make_evaluator(self) -> Evaluator:
        space = self._p.space
        settings = EvaluatorSettings(
            concurrency=self._o.concurrency,
            max_failed_share=space.calls.max_failed_share,
            balance_by=self._p.balance_by,
            bootstrap_min_score=space.demos.min_score,
        )
        return Evaluator(
            task=self._p.task,
            models=self._p.models,
            send=self._caller.send,
            results=self._results,
            study=self.name,
            settings=settings,
            factory=self._p.factory,
            on_result=self._on_result,
            check=self.clock.check,
        )

    def _open_study(self) -> OptunaStudy:
        single = self._p.space.search.mode == "utility"
        names = ["utility"] if single else [objective.name for objective in self._objectives]
        directions = ["maximize" if single or o.maximise else "minimize" for o in self._objectives][: len(names)]
        return OptunaStudy(
            store=self._store,
            name=self.name,
            directions=directions,
            metric_names=names,
            dims=self._p.dims,
            sampler=self._p.space.search.sampler,
            seed=self._o.seed,
        )

    def _on_result(self, result: Result) -> None:
        progress = self._progress
        self._progress = replace(progress, done=progress.done + 1, runs=progress.runs + 1)
        self._publish()

    def _publish(self) -> None:
        if self._observer is not None:
            self._observer(replace(self._progress, stats=self._caller.stats(), elapsed_s=self.clock.elapsed_s))

    async def _renew(self, lease: Lease) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(20)
                try:
                    self._studies.renew(lease)
                except JobError:
                    self.interrupt()
                    return


def _draw(dim: Dimension, rng: random.Random) -> Scalar:
    """A value of the dimension, each as likely as the other."""
    if dim.size != float("inf"):
        return rng.choice(values_in(dim))
    return round(rng.uniform(dim.low, dim.high), 6)


def _reason(error: OfframpError) -> str:
    """The one word for why a job ended before its trials were done."""
    if isinstance(error, BudgetExceeded):
        return f"budget_{error.which}"
    if isinstance(error, TimeIsUp):
        return "minutes"
    if isinstance(error, Interrupted):
        return "interrupted"
    if isinstance(error, TooManyFailures):
        return "failures"
    return "refused" if isinstance(error, FatalCallError) else "error"
