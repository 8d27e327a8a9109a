"""A study as the running job knows it: read once when the job begins or resumes, then written through.

Whatever the job decides on is in memory: the report is made from the rows here (`report_of`), and nothing in the loop
reads the storage. What changes goes to the storage first.

Invariant: a candidate and its aggregate are in the storage before Optuna learns of it, so a stored study has every
trial that Optuna has finished.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

from offramp.calls.failures import ModelNotFound
from offramp.evaluate.evaluator import TooManyFailures
from offramp.evaluate.results import StudyResults
from offramp.job.resolved import ResolvedJob
from offramp.records import Candidate, Evaluation, Objective, Price, Result, Split, price_of
from offramp.search.outcome import NoModelLeft, answers_behind, parked_model
from offramp.search.sampling.optuna_study import OptunaStudy
from offramp.store.aggregates import (
    AggregateStore,
    RowNumbers,
    aggregate_of,
    group_of,
    numbers_of,
    priced_by_results,
)
from offramp.store.candidates import CandidateRow, CandidateState, CandidateStore, Variant, VariantStore
from offramp.store.engine import Store
from offramp.store.results import PairedCounts, ProbeRun, ProbeRuns, ProbeStore
from offramp.store.studies import RunUnderWay, StudyRow, StudyStore
from offramp.store.waves import WaveRow, WaveStore
from offramp.study.domain.members import front_of
from offramp.study.domain.objectives import (
    utility,
    values_of,
    violations,
    with_scales,
)
from offramp.study.domain.regressions import paired_counts, regressed_at_most
from offramp.study.queries.study_rows import scoring_context
from offramp.study.study_report import StudyReport, StudyRows, report_of, uneven_on_holdout, uneven_on_search
from offramp.study.wording import ended_words, parked_words

_log = logging.getLogger("offramp")


class TrialOutcome(NamedTuple):
    """What Optuna gets for a trial: a value per objective, attributes, and by how much each constraint is missed."""

    values: list[float]
    attributes: dict[str, object]
    constraints: dict[str, float]


class StudyState:
    """The study of one job.

    Attributes:
        job: as its texts grow.
        study: the study's record.
        finished: complete evaluations by candidate id, incumbent included.
        stopped: evaluations of raced-out candidates, on some of the examples.
        candidates: all of them by id, the running one included.
        waves: those that earlier runs decided on, in order.
        variants: instructions beside those of the space file.
        reused_calls: answers that this run did not pay again, from stored results.
        twins: candidates that turned out to send what another sends, by id, each with the other's id.
        begun: candidates with cells that were decided on.
        paused: candidates that an earlier run left with some of their examples, by id.
    """

    def __init__(self, job: ResolvedJob, study: StudyRow, store: Store, results: StudyResults) -> None:
        self.job, self.study, self.name, self.results = job, study, study.name, results
        self._studies, self._candidates = StudyStore(store), CandidateStore(store)
        self._aggregates = AggregateStore(store)
        self._wave_store = WaveStore(store)
        self._probe_store, self._variant_store = ProbeStore(store), VariantStore(store)
        for split in (Split.SEARCH, Split.HOLDOUT):
            results.load(split)
        self._seen = {split: self._aggregates.all(self.name, split) for split in (Split.SEARCH, Split.HOLDOUT)}
        self.probes: dict[str, ProbeRuns] = self._probe_store.all(self.name)
        self.variants: tuple[Variant, ...] = self._variant_store.all(self.name)
        self.waves = self._wave_store.all(study.name)
        self.objectives: tuple[Objective, ...] = job.objectives
        self.finished: dict[str, Evaluation] = {}
        self.stopped: dict[str, Evaluation] = {}
        self.candidates: dict[str, Candidate] = {}
        self.reused_calls = 0
        self._reused: set[tuple[Split, str, str]] = set()
        self.twins: dict[str, str] = {}
        self.begun: set[str] = set()
        self.paused: dict[str, CandidateRow] = {}
        self._rows: dict[str, CandidateRow] = {}
        self._counts: dict[str, PairedCounts] = {}
        self._row_numbers: dict[tuple[Split, str], Mapping[str, RowNumbers]] = {}
        self._scoring = scoring_context(study)
        self._report: StudyReport | None = None

    def recall(self, study: OptunaStudy) -> None:
        """Takes up the trials that have ended; a candidate whose trial a killed process did not store is dropped."""
        rows = {row.id: row for row in self._candidates.all(self.name)}
        for trial in study.ended():
            row = rows.pop(trial.candidate, None)
            if row is not None and row.origin.get("open"):
                self.paused[row.id] = row
            elif row is not None:
                evaluation = Evaluation(
                    candidate=row.id, results=tuple(self.results.of(Split.SEARCH, row.id).values())
                )  # fmt: skip
                self._take(row, evaluation)
                self.count_reused(Split.SEARCH, evaluation.results)
        for row in rows.values():
            self._candidates.drop(self.name, row.id)
        numbers = {row.number: row.id for row in self._rows.values()}
        for trial in study.ended():
            if trial.duplicate_of in numbers and trial.candidate not in self._rows:
                self.twins[trial.candidate] = numbers[trial.duplicate_of]

    def fix_scales(self, incumbent: Evaluation | None) -> None:
        """Fixes the objectives' scales once for a study, in its record, so that every later run uses the same ones."""
        details = self.study.details
        if details.objectives:
            self.objectives = details.objectives
            return
        seen = None if incumbent is None else aggregate_of(incumbent.results)
        self.objectives = with_scales(self.job.objectives, seen)
        incumbent_id = None if self.job.incumbent is None else self.job.incumbent.id
        self.update(details=replace(details, objectives=self.objectives, incumbent=incumbent_id))
        self._scoring = scoring_context(self.study)

    def update(self, **changes: Any) -> None:
        """Changes the study's record."""
        self._studies.update(self.name, **changes)
        self.study = replace(self.study, **changes)
        self._report = None

    def keep_run(self, run: RunUnderWay) -> None:
        """Keeps how far the run is, for those who watch the study."""
        details = replace(self.study.details, run=run)
        self._studies.keep_run(self.name, details)
        self.study = replace(self.study, details=details)

    # ------------------------------------------------------------------------------------------ what is known

    @property
    def tried(self) -> Mapping[str, CandidateRow]:
        """Every candidate whose trial has ended, by id."""
        return self._rows

    @property
    def known(self) -> Set[str]:
        """Every candidate that need not be tried: those that were, and those that send what another sent."""
        return self._rows.keys() | self.twins.keys()

    @property
    def trials(self) -> int:
        """Candidates that were run; one that turned out to send what another sent was run as well."""
        return len(self.known | self.begun)

    def twin_of(self, fingerprint: str | None, state: CandidateState) -> str | None:
        """The candidate that was kept with the same requests; None where there is none."""
        rows = (row for row in self._rows.values() if row.state is state)
        return next((row.id for row in rows if fingerprint and row.origin.get("requests") == fingerprint), None)

    def first_trial(self, candidate: str) -> int:
        """Number of the trial that evaluated a candidate first."""
        return self._rows[candidate].number

    def report(self) -> StudyReport:
        """The study as it stands."""
        if self._report is None:
            self._report = report_of(self._as_rows())
        return self._report

    def rivals(self, among: Set[str]) -> dict[str, Evaluation]:
        """Members of the front of these that keep all constraints, best quality first: only they stop a candidate."""
        report = self.report()
        members = [m for m in report.members if m.candidate in among and not report.is_parked(m)]
        front = report.front if among >= self.finished.keys() else front_of(members, self.objectives)
        return {member.candidate: self.finished[member.candidate] for member in front if member.feasible}

    def values(self, candidate: Candidate, evaluation: Evaluation) -> tuple[float, ...]:
        """One value per objective.

        Raises:
            TooManyFailures: no example has a score.
        """
        values = values_of(self.objectives, aggregate_of(evaluation.results))
        if values is None:
            reasons = Counter(group_of(result.reason or "no reason") for result in evaluation.results)
            reason, count = reasons.most_common(1)[0]
            asked = any(result.calls or result.cached_calls for result in evaluation.results)
            why = (
                "no run has a result" if asked else "no run asked a model, so that there is no cost or time to compare"
            )
            raise TooManyFailures(
                f"candidate {candidate.id} ({candidate.model}): {why}; {count} of {len(evaluation.results)} ended with "
                f"{reason}. Fix that, and run the same command again."
            )
        return values

    def trial_outcome(self, candidate: Candidate, evaluation: Evaluation) -> TrialOutcome:
        """Values, attributes and constraints of a complete evaluation, for optuna.

        Raises:
            TooManyFailures: no example has a score, so there is nothing to tell.
        """
        values, seen = self.values(candidate, evaluation), aggregate_of(evaluation.results)
        score = utility(self.objectives, values)
        regressed = self.regressed(candidate, evaluation.results)
        attributes: dict[str, object] = {
            "candidate": candidate.id,
            "params": dict(candidate.params),
            "utility": score,
            "n": seen.n,
            "n_fault": seen.n_fault,
            "n_failed": seen.n_failed,
            "latency_p95_s": seen.latency_p95_s,
        }
        return TrialOutcome(
            values=[score] if self.job.space.search.mode == "utility" else list(values),
            attributes=attributes,
            constraints=violations(self.job.space.constraints, seen, regressed),
        )

    def regressed(self, candidate: Candidate, results: Sequence[Result]) -> float | None:
        """Upper bound of the share of examples that got worse than with the incumbent; None where it is not known.

        It is what a regression budget holds against.
        """
        budget, incumbent = self.job.space.constraints.regressions, self.job.incumbent
        if budget is None or incumbent is None:
            return None
        if incumbent.id == candidate.id:
            return 0.0
        if incumbent.id not in self.finished:
            return None
        scores = {r.example: r.score for r in results if r.score is not None}
        counts = paired_counts(scores, self.finished[incumbent.id].scores, self._scoring.groups)
        return regressed_at_most(counts, budget.confidence)

    # ------------------------------------------------------------------------------------------ what is written

    def keep(
        self, candidate: Candidate, evaluation: Evaluation, number: int, *, origin: Mapping[str, Any],
        stopped_because: str | None = None,
    ) -> None:  # fmt: skip
        """Keeps a candidate whose trial is about to end; `stopped_because` where it was raced out."""
        row = CandidateRow(
            candidate=candidate,
            number=number,
            state=CandidateState.COMPLETE if stopped_because is None else CandidateState.STOPPED,
            origin=origin,
            reason=stopped_because,
            stored_id=candidate.id,
        )
        self._candidates.put(self.name, row)
        self.answers(candidate.params)
        self._take(row, evaluation)
        self.refresh(Split.SEARCH, row.id)

    def refresh(self, split: Split, candidate: str) -> None:
        """Computes what a candidate came to again, after its results have changed."""
        seen = self._seen[split][candidate] = aggregate_of(self.results.of(split, candidate).values())
        self._aggregates.put(self.name, split, candidate, seen)
        self._row_numbers.pop((split, candidate), None)
        if candidate == self._scoring.incumbent:
            self._counts.clear()
        self._counts.pop(candidate, None)
        self._report = None

    def reuse(self, candidate: Candidate, split: Split) -> None:
        """Counts the answers behind results that it has already; the evaluator uses them as they are."""
        self.count_reused(split, self.results.of(split, candidate.id).values())

    def count_reused(self, split: Split, results: Iterable[Result]) -> None:
        """Counts the answers behind results that are used as they are, each once."""
        new = [result for result in results if (split, result.candidate, result.example) not in self._reused]
        self._reused |= {(split, result.candidate, result.example) for result in new}
        self.reused_calls += answers_behind(new)

    def park(self, error: ModelNotFound) -> None:
        """A model no longer answers: none of its candidates is run from here on, and the others go on.

        Raises:
            ModelNotFound: the same, where the model is not that of a candidate, or something else needs it too.
            NoModelLeft: there is no other.
        """
        parked, job = parked_model(error, self.job), self.job
        if any(one.model == parked.model for one in job.parked):
            raise error
        self.update(details=self.study.details.with_parked(parked))
        _log.warning("warning: %s", parked_words(parked))
        left = job.without_model(parked)
        if not all(param.choices for param in left.search_params if param.name in (parked.used_by or {"model": ()})):
            found = " ".join(ended_words(one) for one in self.study.details.parked)
            raise NoModelLeft(f"{self.name}: none of the searched models answers any more. {found}")
        self.job = left

    def answers(self, params: Mapping[str, Any]) -> None:
        """The models of a candidate answer; those of them that were parked by an earlier run do so again."""
        parked, still = self.study.details.parked, {one.model for one in self.job.parked}
        others = tuple(one for one in parked if not one.is_used(params) or one.model in still)
        if others != parked:
            self.update(details=replace(self.study.details, parked=others))

    def keep_probe(self, runs: Mapping[str, Sequence[ProbeRun]], *, concurrency: int) -> None:
        """Keeps timed runs, in place of earlier ones."""
        self.probes |= self._probe_store.put(self.name, runs, concurrency=concurrency)
        self._report = None

    def keep_wave(self, wave: WaveRow) -> None:
        """Keeps a wave that is about to run."""
        self._wave_store.add(self.name, wave)

    def keep_variant(self, variant: Variant) -> None:
        """Keeps one proposed instruction."""
        self._variant_store.put(self.name, variant)
        self.variants = (*self.variants, variant)
        self._report = None

    def _take(self, row: CandidateRow, evaluation: Evaluation) -> None:
        self._rows[row.id] = row
        self.candidates[row.id] = row.candidate
        (self.finished if row.state is CandidateState.COMPLETE else self.stopped)[row.id] = evaluation
        self._report = None

    def _as_rows(self) -> StudyRows:
        """The study as `report_of` wants it."""
        incumbent, prices = self._scoring.incumbent, self._scoring.prices
        price_at = {name: price_of(row.candidate, prices) for name, row in self._rows.items()}
        search, holdout = (
            {
                name: priced_by_results(self._seen[split][name], price, self.results.of(split, name).values())
                for name, price in price_at.items()
                if name in self._seen[split]
            }
            for split in (Split.SEARCH, Split.HOLDOUT)
        )
        scored: dict[str, dict[str, float]] = {}
        if (incumbent is not None and incumbent in holdout) or self._scoring.groups:
            scored = {name: self._scores(Split.HOLDOUT, name) for name in holdout}
        grouped, rows = bool(self._scoring.groups), list(self._rows.values())
        if incumbent is not None and self._scoring.constraints.regressions is not None:
            reference = self._scores(Split.SEARCH, incumbent)
            for name in self._rows.keys() - self._counts.keys() - {incumbent}:
                self._counts[name] = paired_counts(self._scores(Split.SEARCH, name), reference, self._scoring.groups)
        return StudyRows(
            study=self.study,
            scoring=self._scoring,
            candidates=sorted(self._rows.values(), key=lambda row: (row.number, row.id)),
            search=search,
            holdout=holdout,
            holdout_scores=scored,
            search_scores={name: self._scores(Split.SEARCH, name) for name in search} if grouped else {},
            search_numbers=self._numbers(Split.SEARCH, uneven_on_search(rows, search), price_at),
            holdout_numbers=self._numbers(Split.HOLDOUT, uneven_on_holdout(holdout), price_at),
            search_counts=self._counts,
            probes=self.probes,
            variants=self.variants,
        )

    def _numbers(
        self, split: Split, names: Iterable[str], prices: Mapping[str, Price | None]
    ) -> dict[str, Mapping[str, RowNumbers]]:
        """What each example that has a score came to, kept until a candidate's results change."""
        for name in names:
            if (split, name) not in self._row_numbers:
                results = self.results.of(split, name).values()
                self._row_numbers[split, name] = numbers_of(results, prices[name])
        return {name: self._row_numbers[split, name] for name in names}

    def _scores(self, split: Split, candidate: str) -> dict[str, float]:
        """The score of each example that has one."""
        known = self.results.of(split, candidate)
        return {name: result.score for name, result in known.items() if result.score is not None}
