"""Evaluates candidates on examples through the caller, as many at a time as the job allows.

Results are kept as they come: what was paid for survives whatever stops the job, and a candidate that was begun is
continued, not begun again. Infrastructure failures are tried once more at the end of the set; when they pile up the
evaluation stops, since nothing can be learnt from it.

Invariant: `evaluate` returns results for all examples that it was given, or raises; it never leaves some out silently.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from offramp.calls.batches.collector import directly
from offramp.calls.failures import InfrastructureError, RequestRejected
from offramp.errors import JobError, OfframpError, gravest
from offramp.evaluate.demos import bootstrap, without_demos
from offramp.evaluate.observe import Observation, observe
from offramp.evaluate.replicates import is_sampled, lacking, pilot_of, rest_of, with_first, with_replicate
from offramp.evaluate.results import StudyResults
from offramp.evaluate.scoring import graded, result_of
from offramp.evaluate.together import all_of
from offramp.program.cascade import Cascade
from offramp.program.demos import NearestDemos
from offramp.program.engine import Send
from offramp.program.free_runs import FreeRuns
from offramp.program.kept_answers import KeptAnswers
from offramp.program.module import ModuleFactory
from offramp.program.program import Demos, Outcome, Program, labelled_demos
from offramp.program.sent import Sent
from offramp.program.tools import ToolResults
from offramp.records import Candidate, DemoKind, Evaluation, Example, Model, Purpose, Result, ResultState, Split
from offramp.store.aggregates import group_of
from offramp.store.results import ProbeRun
from offramp.task.task import Task

FEWEST_CRASHES = 5
CRASHED_SHARE = 0.9
"""From so many runs on, and with such a share of exceptions in the module's own code, a job stops: it is a bug."""

_OF_CODE = re.compile(r" \([^()]+\.py:\d+\)$|^(TypeError|AttributeError|NameError|KeyError|IndexError): ")
_log = logging.getLogger("offramp")
MOST_NAMED = 5
Within = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(slots=True, kw_only=True)
class _Batch:
    """Examples that several workers share.

    Attributes:
        todo: an iterator, so that each example is taken once.
        most_failed: infrastructure failures after which it is not worth going on.
        results: so far. stop: why the workers have to stop; empty while they need not.
        again: whether the examples are run again, as often as they lack.
    """

    program: Program
    split: Split
    todo: Iterator[Example]
    most_failed: float
    on_result: Callable[[Result], None] | None
    results: list[Result] = field(default_factory=list)
    stop: list[BaseException] = field(default_factory=list)
    again: bool = False


class TooManyFailures(JobError):
    """So many runs failed for reasons outside of the programs that going on would only cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorSettings:
    """What stays the same over a job.

    Attributes:
        concurrency: examples running at the same time.
        max_failed_share: of the examples of one evaluation; above it (and above 3 failures) the evaluation stops.
        balance_by: column that balanced demos balance; None where the task has no labels.
        bootstrap_min_score: a bootstrapped demo scores at least this much.
        replicates: runs of an example whose answers are sampled.
    """

    concurrency: int = 4
    max_failed_share: float = 0.2
    balance_by: str | None = None
    bootstrap_min_score: float = 1.0
    replicates: int = 1


class Evaluator:
    """One job's evaluator. Make it on the event loop of the caller."""

    def __init__(
        self, *, task: Task, models: Mapping[str, Model], send: Send, results: StudyResults,
        settings: EvaluatorSettings, factory: ModuleFactory | None = None,
        check: Callable[[], None] = lambda: None, within: Within = nullcontext,
        tool_results: ToolResults | None = None,
    ) -> None:  # fmt: skip
        """Make it.

        Args:
            results: what is known already; new results go there.
            check: called before each example; raises an OfframpError when the job has to stop.
            within: a context around each example, which may cut it off by raising an OfframpError.
            tool_results: where results of the module's tools are recorded, and replayed from; None for neither.
        """
        self._task, self._models, self._send = task, models, send
        self._results, self._settings = results, settings
        self._factory, self._check, self._within = factory, check, within
        self._tool_results = tool_results
        self._free = FreeRuns(lambda candidate, send: self._make(candidate, {}, send), task.splits.search)
        self._kept = KeptAnswers()
        self._programs: dict[str, Program] = {}
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sent: dict[str, Sent] = {}
        self._ready: set[str] = set()
        self._ended = self._crashed = 0
        self._nearest: NearestDemos | None = None
        self._rejected: set[tuple[str, str]] = set()

    def use(self, program: Program | Cascade) -> None:
        """A program that is ready, such as a promoted one, in place of the one that would be made for its candidate."""
        program.set_free_runs(self._free)
        self._programs[program.candidate.id] = cast("Program", program)  # a cascade is run and scored alike
        if isinstance(program, Program):
            self._ready.add(program.candidate.id)

    async def evaluate(
        self, candidate: Candidate, examples: Sequence[Example], *, split: Split,
        on_result: Callable[[Result], None] | None = None,
    ) -> Evaluation:  # fmt: skip
        """Results of this candidate on these examples; those that have a score already are not run again.

        Args:
            on_result: called after each new result, once it is stored.

        Raises:
            TooManyFailures, BudgetExceeded, FatalCallError, MetricError: the job cannot go on; what was done is stored.
        """
        await self._run_all(candidate, examples, split, on_result, again=False)
        if self._settings.replicates > 1:
            known = self._results.of(split, candidate.id)
            await self._run_all(candidate, pilot_of(examples, known), split, on_result, again=True)
            await self._run_all(candidate, rest_of(examples, known), split, on_result, again=True)
        known = self._results.of(split, candidate.id)
        return Evaluation(candidate=candidate.id, results=tuple(known[example.id] for example in examples))

    async def _run_all(
        self, candidate: Candidate, examples: Sequence[Example], split: Split,
        on_result: Callable[[Result], None] | None, *, again: bool,
    ) -> None:  # fmt: skip
        """Runs the examples that lack a run; those that the infrastructure failed once more, at the end of the set."""
        most_failed = max(3.0, self._settings.max_failed_share * len(examples))
        for _ in range(2):
            known = self._results.of(split, candidate.id)
            todo = [e for e in examples if self._lacks(known.get(e.id), again=again)]
            if not todo:
                return
            batch = _Batch(
                program=await self.program(candidate), split=split, todo=iter(todo), most_failed=most_failed,
                on_result=on_result, again=again,
            )  # fmt: skip
            workers = range(min(self._settings.concurrency, len(todo)))
            await all_of(self._work(batch) for _ in workers)
            if batch.stop:
                raise gravest(batch.stop)

    def _lacks(self, known: Result | None, *, again: bool) -> bool:
        if again:
            return bool(lacking(known, self._settings.replicates))
        return known is None or known.state is ResultState.INFRASTRUCTURE_ERROR

    async def _work(self, batch: _Batch) -> None:
        """One of the workers that share a batch: example after example, until one has to stop."""
        program = batch.program
        for example in batch.todo:
            if batch.stop:
                return
            try:
                run = self.again if batch.again else self.run
                result = await run(program.candidate, example, split=batch.split)
                if batch.on_result is not None:
                    batch.on_result(result)
            except Exception as error:  # noqa: BLE001 (raised by `evaluate`, when the others are done)
                batch.stop.append(error)
                return
            batch.results.append(result)
            if sum(r.state is ResultState.INFRASTRUCTURE_ERROR for r in batch.results) > batch.most_failed:
                batch.stop.append(too_many_failures(program.candidate, batch.results, len(batch.results)))

    async def run(self, candidate: Candidate, example: Example, *, split: Split) -> Result:
        """The result of one run, once it is stored.

        Raises:
            BudgetExceeded, FatalCallError, MetricError, TimeIsUp, Interrupted: the job cannot go on.
        """
        self._check()
        program = await self.program(candidate)
        async with self._within():
            outcome = self._sound(_checked(await program.run(example)))
            if candidate.id not in self._ready:
                await self._kept.refuse(program, example, outcome)
            if split is Split.SEARCH or candidate.id in self._ready:
                self._sent.setdefault(candidate.id, Sent(program)).add(example.id, outcome.exchanges)
            result = await result_of(outcome, **self._grading(candidate, example))
            if self._settings.replicates > 1:
                result = with_first(result, sampled=is_sampled(outcome))
            result = await self._results.keep(split, result)
            self._tell_rejected(candidate, result)
        return result

    async def again(self, candidate: Candidate, example: Example, *, split: Split) -> Result:
        """The result of an example that was run before, once it was run as often as it lacks and all of it is stored.

        Returns:
            What is known of the example; the infrastructure error where one of these runs met one.

        Raises:
            BudgetExceeded, FatalCallError, MetricError, TimeIsUp, Interrupted: the job cannot go on.
        """
        self._check()
        program, model = await self.program(candidate), self._models[candidate.model]
        price = None if model.price is None else model.price.for_request(candidate.request_params)
        writing = asyncio.Lock()

        async def one(number: int) -> Result:
            async with self._within():
                outcome = self._sound(_checked(await program.run(example, replicate=number)))
                result = await result_of(outcome, **self._grading(candidate, example))
            if result.score is not None:
                async with writing:
                    known = self._results.of(split, candidate.id)[example.id]
                    await self._results.keep(split, with_replicate(known, result, number, price))
            return result

        known = self._results.of(split, candidate.id).get(example.id)
        runs = (one(number) for number in lacking(known, self._settings.replicates))
        failed = next((run for run in await all_of(runs) if run.score is None), None)
        return failed or self._results.of(split, candidate.id)[example.id]

    def _tell_rejected(self, candidate: Candidate, result: Result) -> None:
        """Logs the row that a provider rejects while it answers others, once for each model."""
        key = (candidate.model, result.example)
        if (result.reason or "").startswith(RequestRejected.__name__) and key not in self._rejected:
            self._rejected.add(key)
            _log.warning("warning: %s: %s", candidate.model, result.reason)

    def _sound(self, outcome: Outcome) -> Outcome:
        """The outcome, unless nearly all runs so far ended in an exception of the module's own code: it has a bug.

        Raises:
            JobError: the module has to be fixed; what was not scored stays so.
        """
        if outcome.infrastructure_error is None:
            self._ended += 1
            self._crashed += outcome.crash is not None
        ran, crashed = self._ended, self._crashed
        if outcome.crash is not None and ran >= FEWEST_CRASHES and crashed >= CRASHED_SHARE * ran:
            raise JobError(
                f"The module raised an exception in {crashed} of the first {ran} runs, the last with "
                f"{outcome.program_error}. Fix it and run the same command again."
            )
        return outcome

    def sent(self, candidate: str) -> Sent | None:
        """What a candidate's runs on the search split, or all of a ready program, have sent since the job began.

        None where it has run none.
        """
        return self._sent.get(candidate)

    async def observe(
        self, candidate: Candidate, examples: Sequence[Example], predictor: str | None = None
    ) -> list[Observation]:
        """What a candidate does on train examples, for a proposer. Nothing of it is kept as a result.

        Args:
            predictor: the one whose instruction is to be improved; None for the program as a whole.

        Raises:
            ObservationFailed: a run failed for reasons that are not the program's.
        """
        return await observe(
            await self.program(candidate), examples, self._task.fields.inputs,
            judge=partial(self._graded_demo, predictor=predictor), concurrency=self._settings.concurrency,
            check=self._check, within=self._within,
        )  # fmt: skip

    async def _graded_demo(
        self, outcome: Outcome, candidate: Candidate, example: Example, predictor: str | None = None
    ) -> Result:
        return await graded(_checked(outcome), **self._grading(candidate, example), predictor=predictor)

    def _grading(self, candidate: Candidate, example: Example) -> dict[str, Any]:
        model = self._models[candidate.model]
        return {
            "candidate": candidate, "example": example, "model": model, "metric": self._task.metric, "ask": self._send
        }  # fmt: skip

    async def timed(self, candidate: Candidate, example: Example) -> ProbeRun | None:
        """One run for its time alone, unscored and unkept; None where the infrastructure failed.

        Raises:
            BudgetExceeded, FatalCallError: the job cannot go on.
        """
        async with self._within():
            outcome = _checked(await (await self.program(candidate)).run(example, purpose=Purpose.PROBE))
        if outcome.infrastructure_error is not None or outcome.latency_s is None:
            return None
        return ProbeRun(example=example.id, latency_s=outcome.latency_s)

    async def program(self, candidate: Candidate) -> Program:
        """The candidate made runnable, with its demos; made once."""
        if candidate.id not in self._programs:
            async with self._making[candidate.id]:
                if candidate.id not in self._programs:
                    self._programs[candidate.id] = self._make(candidate, await self.demos(candidate))
        return self._programs[candidate.id]

    def _make(self, candidate: Candidate, demos: Demos, send: Send | None = None) -> Program:
        nearest = self._nearest_demos() if candidate.demo_kind is DemoKind.NEAREST else None
        program = Program(
            candidate, fields=self._task.fields, model=self._models[candidate.model], send=send or self._send,
            factory=self._factory, demos=demos, nearest=nearest, models=self._models,
            tool_results=self._tool_results,
        )  # fmt: skip
        if send is None:
            program.set_free_runs(self._free)
        return program

    def _nearest_demos(self) -> NearestDemos:
        if self._nearest is None:
            self._nearest = NearestDemos(self._task.splits.train, self._task.fields.inputs)
        return self._nearest

    async def demos(self, candidate: Candidate) -> Demos:
        """The static demos of a candidate; bootstrapping asks the model, or the ledger that knows the answers."""
        train = self._task.splits.train
        if candidate.demo_kind is DemoKind.BOOTSTRAPPED:
            teacher = without_demos(candidate)
            with directly():
                return await bootstrap(
                    self._make(teacher, self._labelled(teacher)),
                    count=candidate.demo_count, seed=candidate.demo_seed, train=train,
                    min_score=self._settings.bootstrap_min_score, judge=self._graded_demo,
                    concurrency=self._settings.concurrency, check=self._check, within=self._within,
                )  # fmt: skip
        return self._labelled(candidate)

    def _labelled(self, candidate: Candidate) -> Demos:
        return labelled_demos(
            candidate, fields=self._task.fields, factory=self._factory, train=self._task.splits.train,
            balance_by=self._settings.balance_by,
        )  # fmt: skip


def _checked(outcome: Outcome) -> Outcome:
    """The outcome, unless its failure is one that the next run would meet too."""
    failure = outcome.infrastructure_error
    if isinstance(failure, OfframpError) and not isinstance(failure, InfrastructureError):
        raise failure
    if failure is not None and not isinstance(failure, Exception):
        raise failure
    return outcome


def too_many_failures(candidate: Candidate, results: Sequence[Result], ran: int) -> TooManyFailures:
    """The error that says so, with the most frequent reason and where."""
    failed = [r for r in results if r.state is ResultState.INFRASTRUCTURE_ERROR]
    reason, count = Counter(group_of(r.reason or "") for r in failed).most_common(1)[0]
    ids = [r.example for r in failed if group_of(r.reason or "") == reason]
    named = f"{', '.join(ids[:MOST_NAMED])}{', ...' if len(ids) > MOST_NAMED else ''}"
    unasked = bool(_OF_CODE.search(reason)) and not any(r.calls or r.cached_calls for r in failed)
    why = "in your code, before a model was asked" if unasked else "for reasons outside of the program"
    do = "Fix the module, or what it needs, and run" if unasked else "Nothing was scored as zero; run"
    return TooManyFailures(
        f"candidate {candidate.id} ({candidate.model}): {len(failed)} of {ran} runs failed {why}; "
        f"most often ({count}): {reason} ({named}). {do} the same command again to go on."
    )
