"""What the pages of a study are made from: its report, its candidates and the rows of its dataset, read once.

Invariant: numbers are those of `offramp.study.study_report.report_of`, the source of the command line's tables and
JSON; nothing here ranks or prices again.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from offramp.errors import OfframpError
from offramp.program.background import BACKGROUND
from offramp.program.tools import ToolWithheld
from offramp.records import Candidate, DemoKind, Split, price_of
from offramp.review.candidate_detail import (
    Demo,
    Detail,
    Peek,
    Pool,
    bootstrapped_demos,
    chosen_demos,
    instructions_of,
    origin_words,
    peek_of,
    read_pool,
    settings_of,
    turns_of_a_run,
)
from offramp.review.charts import LineChart, line_charts
from offramp.review.comparison_view import (
    ComparisonView,
    Filter,
    Names,
    brief_view,
    differing,
    filtered_view,
    slice_columns,
    with_steps,
)
from offramp.review.decision import Decision, decide, no_decision
from offramp.review.pictures.best_so_far import best_so_far
from offramp.review.pictures.collected import MOST_ROWS, Pictures
from offramp.review.pictures.heatmap import heatmap
from offramp.review.pictures.latency_strips import latency_strips
from offramp.review.pictures.slice_scores import slice_scores
from offramp.review.pictures.token_costs import token_costs
from offramp.review.rows import Row, labels_of, rows_of
from offramp.space.forms import spec_of
from offramp.space.model import OWN
from offramp.store.candidates import CandidateRow
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.study.domain.importance import Importance, Tried, importances, tried
from offramp.study.domain.trajectory import Step, thinned, trajectory
from offramp.study.policies import choose
from offramp.study.queries.dataset_rows import Dataset, read_dataset
from offramp.study.queries.example_pairs import CandidateComparison, Sides, compare_sides
from offramp.study.queries.study_rows import read_study_rows
from offramp.study.study_report import Choice, report_of, reweigh
from offramp.study.wording import STOPPED

if TYPE_CHECKING:
    from offramp.job.loaded import LoadedStudy
    from offramp.job.shown_requests import ShownRequest

WAYS = {
    "within:2": "Cheapest within 2 points of the best",
    "no-loss": "Cheapest not worse than the incumbent",
    "knee": "Knee of the front",
}
"""Policies beside the weights, with what they are called."""
_EXAMPLES_EACH = 8
_MOST_WITH_STEPS = 12
"""Examples of which the steps are shown: their runs are repeated."""


def _has_steps(candidate: Candidate) -> bool:
    """Whether a run may take several steps: a module of one's own, or a form of several requests."""
    return candidate.module == OWN or spec_of(candidate.module).several


class StudySource:
    """A study as it was when it was read. What takes long is read when it is first asked for.

    Args:
        weights: other weights; the study's own for None.
    """

    def __init__(self, store: Store, name: str, *, weights: Mapping[str, float] | None = None) -> None:
        self.store, self.name = store, name
        rows = self.rows = read_study_rows(store, name)
        self.row, self.candidates = rows.study, rows.candidates
        self.report = report_of(rows, weights)
        self.scoring = replace(rows.scoring, objectives=self.report.objectives)
        self.own_weights = [o.weight for o in rows.scoring.objectives]
        self._stored = {kept.id: kept for kept in self.candidates}
        self._label = labels_of(self.report.members)
        self._by_id = {member.candidate: member for member in self.report.members}

    def reweighed(self, weights: Mapping[str, float]) -> StudySource:
        """The same source with other weights; what does not depend on them is not read again."""
        other = copy.copy(self)
        other.report = reweigh(self.report, weights)
        other.scoring = replace(self.scoring, objectives=other.report.objectives)
        other._by_id = {member.candidate: member for member in other.report.members}
        return other

    @cached_property
    def tried(self) -> tuple[Tried, ...]:
        """The candidates that say which params matter."""
        return tried(self.report.members, self.candidates, self.report.objectives)

    @cached_property
    def importance(self) -> tuple[Importance, ...]:
        """Which params matter."""
        return importances(self.tried, self.report.objectives)

    @cached_property
    def dataset(self) -> Dataset:
        """The rows of the dataset."""
        return read_dataset(self.row)

    @cached_property
    def pool(self) -> Pool | None:
        """What demos are chosen from."""
        return read_pool(self.row, self.dataset)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """How the study went."""
        counts = ResultStore(self.store).call_counts(self.name, Split.SEARCH)
        return trajectory(self.candidates, self.rows.search, counts, self.scoring.objectives)

    @cached_property
    def lines(self) -> tuple[LineChart, ...]:
        """How the study went: hypervolume and spend over calls."""
        return line_charts(thinned(self.steps))

    @cached_property
    def pictures(self) -> Pictures:
        """The pictures beside the front: of the incumbent and the front, the highest utility first."""
        rows = [row for row in rows_of(self.report, most_others=0) if self.candidate(row.id) is not None][:MOST_ROWS]
        results = ResultStore(self.store).some(self.name, Split.SEARCH, [row.id for row in rows])
        kept = {row.id: self._stored[row.id].candidate for row in rows}
        prices = {name: price_of(candidate, self.scoring.prices) for name, candidate in kept.items()}
        origins = {row.id: origin_words(row) for row in self.candidates}
        return Pictures(
            best=best_so_far(self.steps, self.label, origins, self._by_id.__contains__, self._estimate),
            heatmap=heatmap(rows, results, self.dataset),
            strips=latency_strips(rows, results),
            costs=token_costs(rows, prices),
            slices=slice_scores(rows, results, self.dataset, slice_columns(self.dataset)),
        )

    @property
    def _estimate(self) -> tuple[str, float] | None:
        """The recommended candidate with its expected quality, where it was not run on all examples."""
        best = self.report.recommended
        return None if best is None or best.estimate is None or best.quality is None else (best.candidate, best.quality)

    @cached_property
    def ways(self) -> tuple[tuple[str, Choice], ...]:
        """What each policy chooses, with what it is called."""
        return tuple((name, choose(self.store, self.report, policy)) for policy, name in WAYS.items())

    @cached_property
    def _loading(self) -> LoadedStudy | OfframpError | OSError:
        from offramp.job.loaded import load_study

        try:
            return load_study(self.store, self.name)
        except (OfframpError, OSError) as error:  # kept: every candidate asks, and each try reads all data
            return error

    @property
    def _loaded(self) -> LoadedStudy:
        if isinstance(self._loading, Exception):
            raise self._loading
        return self._loading

    def label(self, candidate: str) -> str:
        """A candidate in a few words."""
        member = self._by_id.get(candidate)
        return candidate if member is None else self._label(member)

    def candidate(self, candidate: str) -> CandidateRow | None:
        """A candidate as it is stored."""
        return self._stored.get(candidate)

    def choices(self, *also: str) -> tuple[tuple[str, str], ...]:
        """Candidates to choose from, with labels: the front and the incumbent by utility, and `also`."""
        known = {row.id: row.label for row in rows_of(self.report, most_others=0)}
        return tuple({**known, **{one: self.label(one) for one in also if one in self._stored}}.items())

    def compared(
        self, a: str, b: str, split: Split | None = None, *, by: Sequence[str] = ()
    ) -> CandidateComparison | None:
        """Candidate a against b; on the holdout by default, if both ran on it. None if one is not stored."""
        one, other = self.candidate(a), self.candidate(b)
        if one is None or other is None:
            return None
        sides = Sides(store=self.store, rows=self.rows, a=one, b=other, dataset=self.dataset)
        member, today = self._by_id.get(a), self.report.incumbent
        known = member.against_incumbent if member is not None and today is not None and today.candidate == b else None
        return compare_sides(sides, split=split, by=by, on_holdout=known)

    def comparison(self, a: str, b: str, only: Filter, split: Split | None = None) -> ComparisonView | None:
        """Two candidates side by side; None if one is not stored."""
        found = self.compared(a, b, split, by=slice_columns(self.dataset))
        names = Names(a_label=self.label(a), b_label=self.label(b))
        return None if found is None else self._with_steps(filtered_view(found, self.dataset, names, only))

    def _with_steps(self, view: ComparisonView) -> ComparisonView:
        """With the steps of both runs of a module of one's own, or of a form of several requests, where answers differ;
        as recorded, without a call.
        """
        from offramp.job.steps import recorded_steps

        both = [self.candidate(side.candidate) for side in (view.found.a, view.found.b)]
        candidates = [row.candidate for row in both if row is not None and _has_steps(row.candidate)]
        shown = differing(view, _MOST_WITH_STEPS) if candidates else ()
        try:
            loaded = self._loaded
            examples = [e for e in loaded.job.task.splits.of(view.found.split) if e.id in shown]
            return with_steps(view, recorded_steps(self.store, loaded, candidates, examples)) if examples else view
        except (OfframpError, OSError):  # the data or the module is not what the study ran on
            return view

    def decision(self, candidate: str | None = None) -> Decision:
        """What choosing a candidate means; the recommended one for None."""
        incumbent, chosen = self.report.incumbent, self.report.recommended
        if candidate is not None:
            chosen = self._by_id.get(candidate)
        if chosen is None:
            reason = self.report.stop_reason if candidate is None else None
            return no_decision(None if reason is None else f"The last run ended: {STOPPED.get(reason, reason)}.")
        same = incumbent is None or incumbent.candidate == chosen.candidate
        evidence = None if same or incumbent is None else self.compared(chosen.candidate, incumbent.candidate)
        found = decide(
            self.report.proof(chosen), incumbent, evidence, self.label, ahead=self.report.ahead_on_holdout(chosen)
        )
        caution = " ".join((*self.report.warnings, *([] if found.caution is None else [found.caution])))
        return replace(found, caution=caution or None)

    def bootstrapped(self, candidate: str) -> tuple[Demo, ...]:
        """The bootstrapped demos of a candidate; none for other kinds, and where they cannot be made again."""
        kept = self.candidate(candidate)
        if kept is None or kept.candidate.demo_kind is not DemoKind.BOOTSTRAPPED or not kept.candidate.demo_count:
            return ()
        try:
            return BACKGROUND.wait(bootstrapped_demos(self.store, self._loaded, kept.candidate))
        except (OfframpError, OSError, ToolWithheld):
            return ()

    def request(self, candidate: str) -> ShownRequest | None:
        """The request of a candidate for the first example of the search split; None where it cannot be made here."""
        kept = self.candidate(candidate)
        if kept is None:
            return None
        try:
            from offramp.job.shown_requests import example_at, shown_request

            job = self._loaded.job
            _, example = example_at(job, None)
            found: ShownRequest = BACKGROUND.wait(shown_request(job, candidate, kept.candidate, example))
        except (OfframpError, OSError, ToolWithheld):
            return None
        return None if found.request is None else found

    def peeks(self, most: int, demos: Mapping[str, tuple[Demo, ...]] | None = None) -> tuple[Peek, ...]:
        """What is shown of each point of the picture, of up to so many, by utility.

        Args:
            demos: of candidates whose demos are at hand.
        """
        found = []
        for row in rows_of(self.report, most_others=0)[:most]:
            kept = self.candidate(row.id)
            if kept is not None:
                chosen, note = chosen_demos(kept.candidate, self.pool)
                known = (demos or {}).get(row.id) or chosen
                found.append(peek_of(kept.candidate, known, None if known else note))
        return tuple(found)

    def turns(self, candidate: str) -> tuple[Demo, ...]:
        """The requests of one run of a form of several; none for other forms, and where answers are missing."""
        kept = self.candidate(candidate)
        if kept is None or not spec_of(kept.candidate.module).several:
            return ()
        try:
            return BACKGROUND.wait(turns_of_a_run(self.store, self._loaded, kept.candidate))
        except (OfframpError, OSError, ToolWithheld):
            return ()

    def detail(self, row: Row, *, bootstrapped: bool = False) -> Detail | None:
        """One candidate in full; None if it is not stored.

        Args:
            bootstrapped: with bootstrapped demos, the requests of a run and the steps of others, which take seconds.
        """
        kept, today = self.candidate(row.id), self.report.incumbent
        if kept is None:
            return None
        other = None if today is None or today.candidate == row.id else self.candidate(today.candidate)
        before = None if other is None else other.candidate
        demos, note = chosen_demos(kept.candidate, self.pool)
        return Detail(
            row=row,
            number=kept.number,
            origin=origin_words(kept),
            settings=settings_of(kept, other),
            instructions=instructions_of(kept.candidate, before),
            demos=demos or (self.bootstrapped(row.id) if bootstrapped else ()),
            demos_note=note,
            turns=self.turns(row.id) if bootstrapped else (),
            has_turns=spec_of(kept.candidate.module).several,
            request=self.request(row.id) if bootstrapped else None,
            versus=None if other is None else self._versus(row.id, other.id, steps=bootstrapped),
        )

    def _versus(self, candidate: str, incumbent: str, *, steps: bool) -> ComparisonView | None:
        found = self.compared(candidate, incumbent, by=slice_columns(self.dataset))
        labels = {"a_label": self.label(candidate), "b_label": self.label(incumbent)}
        names = Names(**labels, a="this", b="incumbent")
        view = None if found is None else brief_view(found, self.dataset, names, _EXAMPLES_EACH)
        return self._with_steps(view) if steps and view is not None else view
