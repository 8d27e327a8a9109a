"""What a job knows of its study, in memory and in the storage alike: candidates, evaluations, objectives, progress.

Invariant: a candidate is in the storage, with its summary, before optuna is told of it; so whoever looks at the study
sees every trial that optuna has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from offramp.evaluate.evaluator import TooManyFailures
from offramp.job.resolve import ResolvedJob
from offramp.records import Candidate, Evaluation, Result, Split
from offramp.search.optuna_study import OptunaStudy
from offramp.search.outcome import Options, answers_behind
from offramp.search.progress import Progress
from offramp.store.aggregates import AggregateStore, aggregate_of
from offramp.store.candidates import CandidateRow, CandidateState, CandidateStore
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyStore
from offramp.study.domain.objectives import (
    Objective,
    objectives_from_json,
    objectives_json,
    utility,
    values_of,
    violations,
    with_scales,
)
from offramp.study.domain.regressions import paired_counts, regressed_at_most
from offramp.study.study_report import StudyReport, build_report

Told = tuple[list[float], dict[str, object], dict[str, float]]
"""Values, attributes and constraints of one trial, as optuna is told them."""


class Known:
    """The study of one job.

    Attributes:
        finished: complete evaluations by candidate id, incumbent included.
        stopped: evaluations of raced-out candidates, on some of the examples.
        candidates: all of them by id, those in work included.
        first_trial: number of the trial that evaluated a candidate first.
        reused_calls: answers that this run had for nothing from stored results.
    """

    def __init__(self, job: ResolvedJob, options: Options, store: Store) -> None:
        self._p, self._store = job, store
        self.name = job.study_name(options.seed)
        self._studies, self.results = StudyStore(store), ResultStore(store, job.space.store_text)
        self._candidates, self._summaries = CandidateStore(store), AggregateStore(store)
        self.objectives: tuple[Objective, ...] = job.objectives
        self.finished: dict[str, Evaluation] = {}
        self.stopped: dict[str, Evaluation] = {}
        self.candidates: dict[str, Candidate] = {}
        self.first_trial: dict[str, int] = {}
        self.reused_calls = 0
        self.progress = Progress(study=self.name, trials_wanted=options.trials, minutes=options.minutes)
        self.publish: Callable[[], None] = lambda: None

    def adopt(self, job: ResolvedJob) -> None:
        """Goes on with a job whose texts have grown."""
        self._p = job

    @property
    def tried(self) -> dict[str, Evaluation]:
        """Every candidate whose trial has ended, by id."""
        return {**self.finished, **self.stopped}

    def recall(self, study: OptunaStudy) -> None:
        """Takes up what the study knows already; a candidate whose trial a killed process never told is taken back."""
        rows = {row.number: row for row in self._candidates.all(self.name)}
        for trial in study.ended():
            row = rows.get(trial.number)
            if row is not None and row.id == trial.candidate:
                self._take(rows.pop(trial.number))
        for row in rows.values():
            self._candidates.drop(self.name, row.id)
        self.progress = replace(self.progress, trials=len(self.tried))

    def _take(self, row: CandidateRow) -> None:
        results = self.results.get(self.name, Split.SEARCH, row.id)
        kept = self.finished if row.state is CandidateState.COMPLETE else self.stopped
        kept[row.id] = Evaluation(candidate=row.id, results=tuple(results.values()))
        self.candidates[row.id] = row.candidate
        self.first_trial[row.id] = row.number
        self.reused_calls += answers_behind(results.values())

    def fix_scales(self, incumbent: Evaluation | None) -> None:
        """Fixed once for a study, then kept in its record, so that no later run measures with another ruler."""
        row = self._studies.get(self.name)
        if kept := row.extra.get("objectives"):
            self.objectives = objectives_from_json(kept)
            return
        seen = None if incumbent is None else aggregate_of(incumbent.results)
        self.objectives = with_scales(self._p.objectives, seen)
        extra = {
            "objectives": objectives_json(self.objectives),
            "incumbent": None if self._p.incumbent is None else self._p.incumbent.id,
        }
        self._studies.update(self.name, extra={**row.extra, **extra})

    def told(self, candidate: Candidate, evaluation: Evaluation) -> Told:
        """Values, attributes and constraints for optuna.

        Raises:
            TooManyFailures: no example has a score, so that there is nothing to tell.
        """
        values, seen = self.values(candidate, evaluation), aggregate_of(evaluation.results)
        score = utility(self.objectives, values)
        attributes: dict[str, object] = {
            "candidate": candidate.id,
            "params": dict(candidate.params),
            "utility": score,
            "n": seen.n,
            "n_fault": seen.n_fault,
            "n_failed": seen.n_failed,
            "latency_p95_s": seen.latency_p95_s,
        }
        told = [score] if self._p.space.search.mode == "utility" else list(values)
        return told, attributes, violations(self._p.space.constraints, seen, self._regressed(evaluation))

    def values(self, candidate: Candidate, evaluation: Evaluation) -> tuple[float, ...]:
        """One value per objective.

        Raises:
            TooManyFailures: no example has a score.
        """
        values = values_of(self.objectives, aggregate_of(evaluation.results))
        if values is None:
            raise TooManyFailures(
                f"candidate {candidate.id} ({candidate.model}) has no result to compare: all runs failed"
            )
        return values

    def _regressed(self, evaluation: Evaluation) -> float | None:
        """The bound that a regression budget holds against; None without a budget, or before the incumbent ran."""
        budget, incumbent = self._p.space.constraints.regressions, self._p.incumbent
        if budget is None or incumbent is None:
            return None
        before = evaluation if evaluation.candidate == incumbent.id else self.finished.get(incumbent.id)
        if before is None:
            return None
        if evaluation.candidate == incumbent.id:
            return 0.0
        return regressed_at_most(paired_counts(evaluation.scores, before.scores), budget.confidence)

    def keep(
        self, candidate: Candidate, evaluation: Evaluation, number: int, *, origin: Mapping[str, Any],
        stopped_because: str | None = None,
    ) -> None:  # fmt: skip
        """Keeps a candidate whose trial is about to be told."""
        state = CandidateState.COMPLETE if stopped_because is None else CandidateState.STOPPED
        row = CandidateRow(candidate=candidate, number=number, state=state, origin=origin, reason=stopped_because)
        self._candidates.put(self.name, row)
        self.refresh(Split.SEARCH, candidate.id)
        (self.finished if stopped_because is None else self.stopped)[candidate.id] = evaluation
        self.first_trial[candidate.id] = number
        self.progress = replace(self.progress, trials=len(self.tried), front=self.report().front)
        self.publish()

    def refresh(self, split: Split, candidate: str) -> None:
        """Works the summary of a candidate out anew, after its results have changed."""
        self._summaries.refresh(self.name, split, candidate)

    def reuse(self, candidate: Candidate, split: Split) -> None:
        """Counts the answers behind results that are there already: the evaluator takes them as they are."""
        self.reused_calls += answers_behind(self.results.get(self.name, split, candidate.id).values())

    def on_result(self, result: Result) -> None:
        """One more example is done."""
        self.progress = replace(self.progress, done=self.progress.done + 1, runs=self.progress.runs + 1)
        self.publish()

    def begin(self, candidate: Candidate, examples: Iterable[object], *, phase: str = "search") -> None:
        """Shows which candidate is in work."""
        self.candidates[candidate.id] = candidate
        of = len(tuple(examples))
        self.progress = replace(self.progress, phase=phase, candidate=candidate.params, done=0, of=of)

    def begin_proposals(self) -> None:
        """Shows that instructions are being written."""
        self.progress = replace(self.progress, phase="proposals", candidate=None, done=0, of=0)
        self.publish()

    def candidate(self, candidate_id: str, params: Mapping[str, Any]) -> Candidate:
        """The candidate of a member; the incumbent need not be one that the space can propose."""
        incumbent = self._p.incumbent
        return incumbent if incumbent is not None and candidate_id == incumbent.id else self._p.candidate(params)

    def rivals(self) -> dict[str, Evaluation]:
        """Members of the front that keep all constraints, best quality first: others stand in nobody's way."""
        return {member.candidate: self.finished[member.candidate] for member in self.report().front if member.feasible}

    def report(self) -> StudyReport:
        """The study as it stands."""
        return build_report(self._store, self.name)
