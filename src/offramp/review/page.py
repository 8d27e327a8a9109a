"""A study as a page: everything that the report and the live page show, read from the storage in a few queries.

Invariant: numbers are those of `study.report.report_of`, the source of the command line's tables and JSON; nothing
here ranks or prices anew.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from offramp.records import DemoKind, Split
from offramp.review.charts import Crowd, FrontChart, LineChart, front_charts, line_charts
from offramp.review.comparison import ComparisonView, Filter, Names, brief_view, slice_columns, view
from offramp.review.demos import Pool, read_pool, shown_demos
from offramp.review.diffs import CandidateDiff, diff
from offramp.review.headline import Verdict, verdict
from offramp.review.own_demos import OwnDemos, Shown
from offramp.review.provenance import provenance
from offramp.review.rows import MOST_OTHERS, Labels, Row, quality_interval, rows_of, script_data, shares_of, spoken
from offramp.store.candidates import CandidateRow
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow
from offramp.study.domain.importance import Importance, importances
from offramp.study.domain.trajectory import thinned, trajectory
from offramp.study.policies import choose
from offramp.study.queries.dataset_rows import Dataset, read_dataset
from offramp.study.queries.example_pairs import CandidateComparison, Sides, compare_sides
from offramp.study.queries.spending import Spending, spending
from offramp.study.queries.study_rows import read_study_rows
from offramp.study.study_report import Choice, StudyReport, report_of, reweigh
from offramp.study.wording import STOPPED

WAYS = {
    "within:2": "Cheapest within 2 points of the best",
    "no-loss": "Cheapest that is not worse than today",
    "knee": "Where the front bends",
}
"""Policies beside the weights, with what they are called."""
_EXAMPLES_EACH = 8
_MOST_DETAILS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One candidate in full, as a diff to the incumbent. `versus` is None for the incumbent and where there is none."""

    row: Row
    number: int
    origin: str
    diff: CandidateDiff
    demos: tuple[Shown, ...]
    demos_note: str | None
    versus: ComparisonView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPage:
    """A study as it is shown.

    Attributes:
        rows: incumbent, front and the best of the others, by utility; `unlisted` more candidates are not shown.
        details: of the recommended, the incumbent and the front; `undetailed` members of the front are left out.
        choices: what other policies choose, with what each is called.
        shares: of each objective's weight in all, in percent.
        labels: of the candidates in the pictures, for whoever does not see them. names: without the numbers.
        data: what the page's script works with.
    """

    row: StudyRow
    report: StudyReport
    ended: str | None
    verdict: Verdict
    rows: tuple[Row, ...]
    unlisted: int
    charts: tuple[FrontChart, ...]
    lines: tuple[LineChart, ...]
    importance: tuple[Importance, ...]
    spending: Spending
    provenance: tuple[tuple[str, str], ...]
    details: tuple[Detail, ...]
    undetailed: int
    choices: tuple[tuple[str, Choice], ...]
    shares: tuple[int, ...]
    labels: Mapping[str, str]
    names: Mapping[str, str]
    data: Mapping[str, Any]

    @property
    def feasible(self) -> int:
        """How many keep all limits; all of them where none does, and the front is of those."""
        return sum(member.feasible for member in self.report.members) or len(self.report.members)

    @property
    def broken(self) -> int:
        """How many are not on the front for breaking a limit."""
        return len(self.report.members) - self.feasible

    @property
    def front(self) -> tuple[Row, ...]:
        """The rows of the front."""
        return tuple(row for row in self.rows if row.front)


class StudySource:
    """What a page is made from, read once: the report, its candidates, and the rows of the dataset.

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
        self._dataset: Dataset | None = None
        self._ways: tuple[tuple[str, Choice], ...] | None = None
        self._importance: tuple[Importance, ...] | None = None
        self._pool: list[Pool | None] = []
        self._own = OwnDemos(store, name)
        self._lines: tuple[LineChart, ...] | None = None
        self._stored = {kept.id: kept for kept in self.candidates}
        self._labels = Labels(self.report.members)
        self._by_id = {member.candidate: member for member in self.report.members}

    def reweighed(self, weights: Mapping[str, float]) -> StudySource:
        """The same source by other weights; what does not depend on them is not read again."""
        other = copy.copy(self)
        other.report = reweigh(self.report, weights)
        other.scoring = replace(self.scoring, objectives=other.report.objectives)
        other._by_id = {member.candidate: member for member in other.report.members}
        return other

    @property
    def importance(self) -> tuple[Importance, ...]:
        """Which params matter."""
        if self._importance is None:
            self._importance = importances(self.report.members, self.report.objectives)
        return self._importance

    @property
    def dataset(self) -> Dataset:
        """The dataset, read when it is first asked for."""
        if self._dataset is None:
            self._dataset = read_dataset(self.row)
        return self._dataset

    @property
    def pool(self) -> Pool | None:
        """What demos are chosen from, read when it is first asked for."""
        if not self._pool:
            self._pool = [read_pool(self.row, self.dataset)]
        return self._pool[0]

    def label(self, candidate: str) -> str:
        """A candidate in a few words."""
        member = self._by_id.get(candidate)
        return candidate if member is None else self._labels.of(member)

    def candidate(self, candidate: str) -> CandidateRow | None:
        """A candidate as it is stored."""
        return self._stored.get(candidate)

    def compared(
        self, a: str, b: str, split: Split | None = None, *, by: Sequence[str] = ()
    ) -> CandidateComparison | None:
        """Candidate a against b; on the holdout by default, where both ran on it. None where one is not stored."""
        one, other = self.candidate(a), self.candidate(b)
        if one is None or other is None:
            return None
        sides = Sides(store=self.store, rows=self.rows, a=one, b=other, dataset=self.dataset)
        member, today = self._by_id.get(a), self.report.incumbent
        known = member.against_incumbent if member is not None and today is not None and today.candidate == b else None
        return compare_sides(sides, split=split, by=by, on_holdout=known)

    def verdict(self, candidate: str | None) -> Verdict:
        """What choosing a candidate means; of the recommended one for None."""
        today, chosen = self.report.incumbent, self.report.recommended
        if candidate is not None:
            chosen = self._by_id.get(candidate)
        if chosen is None:
            return replace(verdict(None, today, None, ""), caution=self._ended() if candidate is None else None)
        same = today is None or today.candidate == chosen.candidate
        known = None if same or today is None else self.compared(chosen.candidate, today.candidate)
        return verdict(chosen, today, known, self.label(chosen.candidate))

    def _ended(self) -> str | None:
        """Why there is nothing to recommend, where the last run says so."""
        reason = self.report.stop_reason
        return None if reason is None else f"The last run ended: {STOPPED.get(reason, reason)}."

    def comparison(self, a: str, b: str, only: Filter, split: Split | None = None) -> ComparisonView | None:
        """Two candidates side by side; None where one is not stored."""
        found = self.compared(a, b, split, by=slice_columns(self.dataset))
        names = Names(a_label=self.label(a), b_label=self.label(b))
        return None if found is None else view(found, self.dataset, names, only)

    def own_demos(self, candidate: str) -> tuple[Shown, ...]:
        """The bootstrapped demos of a candidate; nothing for other kinds, and where they cannot be had."""
        kept = self.candidate(candidate)
        if kept is None or kept.candidate.demo_kind is not DemoKind.BOOTSTRAPPED or not kept.candidate.demo_count:
            return ()
        return self._own.of(kept.candidate)

    def detail(self, row: Row, *, versus: bool = True, own: bool = False) -> Detail | None:
        """One candidate in full; None where it is not stored.

        Args:
            versus: with wins and losses against the incumbent. own: with bootstrapped demos, which take seconds.
        """
        kept, today = self.candidate(row.id), self.report.incumbent
        if kept is None:
            return None
        other = None if today is None or today.candidate == row.id else self.candidate(today.candidate)
        demos, note = shown_demos(kept.candidate, self.pool)
        demos = (demos or self.own_demos(row.id)) if own else demos
        return Detail(
            row=row, number=kept.number, origin=_origin(kept), demos=demos, demos_note=note,
            versus=self._versus(row.id, other.id) if versus and other is not None else None,
            diff=diff(kept.candidate, None if other is None else other.candidate),
        )  # fmt: skip

    def _versus(self, candidate: str, today: str) -> ComparisonView | None:
        found = self.compared(candidate, today, by=slice_columns(self.dataset))
        names = Names(a_label=self.label(candidate), b_label=self.label(today), a="this", b="today")
        return None if found is None else brief_view(found, self.dataset, names, _EXAMPLES_EACH)

    def lines(self) -> tuple[LineChart, ...]:
        """How the study went: hypervolume and spend over calls."""
        if self._lines is None:
            counts = ResultStore(self.store).call_counts(self.name, Split.SEARCH)
            steps = trajectory(self.candidates, self.rows.search, counts, self.scoring.objectives)
            self._lines = line_charts(thinned(steps))
        return self._lines

    def ways(self) -> tuple[tuple[str, Choice], ...]:
        """What each policy chooses, with what it is called."""
        if self._ways is None:
            self._ways = tuple((name, choose(self.store, self.report, policy)) for policy, name in WAYS.items())
        return self._ways

    def choices(self, *also: str) -> tuple[tuple[str, str], ...]:
        """Candidates to choose from, with labels: the front and the incumbent by utility, and those that are named."""
        known = {row.id: row.label for row in rows_of(self.report, most_others=0)}
        return tuple({**known, **{one: self.label(one) for one in also if one in self._stored}}.items())


def _origin(kept: CandidateRow) -> str:
    kind = str(kept.origin.get("kind", "unknown"))
    parents = ", ".join(map(str, kept.origin.get("parents", ())))
    words = {
        "incumbent": "what runs today",
        "sampler": "proposed by the sampler",
        "study": f"from the front of {kept.origin.get('study')} (there {parents})",
        "proposal": f"with an instruction that a model wrote, after {parents}",
    }
    return words.get(kind, kind.replace("_", " "))


def study_page(source: StudySource, *, whole: bool, most_others: int = MOST_OTHERS) -> StudyPage:
    """The page of a study.

    Args:
        whole: with everything that a file has to hold, since it cannot ask for more: details of the front with wins and
            losses, the verdict on each member of the front, how the study went. The live page asks for these apart.
    """
    report = source.report
    rows = rows_of(report, most_others=most_others)
    wanted = _detailed(rows) if whole else ()
    details = [source.detail(row, own=True) for row in wanted]
    verdicts = {row.id: verdict_data(source.verdict(row.id)) for row in wanted if row.front}
    front = sum(row.front for row in rows)
    return StudyPage(
        row=source.row,
        report=report,
        ended=STOPPED.get(report.stop_reason or "", report.stop_reason),
        verdict=source.verdict(None),
        rows=rows,
        unlisted=len(report.members) - len(rows),
        charts=front_charts(crowd_of(report), [o.name for o in report.objectives]),
        lines=source.lines() if whole else (),
        importance=source.importance,
        spending=spending(source.store, source.rows),
        provenance=provenance(source.row, source.scoring),
        details=tuple(detail for detail in details if detail is not None),
        undetailed=max(0, front - sum(row.front for row in wanted)) if whole else 0,
        choices=source.ways() if report.front else (),
        shares=shares_of(report.objectives),
        labels={row.id: f"{row.label}: {spoken(row)}" for row in rows if row.front or row.member.incumbent},
        names={row.id: row.label for row in rows},
        data=script_data(report, rows, {"verdicts": verdicts, "own_weights": source.own_weights}),
    )


def _detailed(rows: Sequence[Row]) -> Sequence[Row]:
    """Whose details a file holds: recommended, incumbent, and the front by utility as far as there is room."""
    first = [row for row in rows if row.recommended or row.member.incumbent]
    return [*first, *(row for row in rows if row.front and row not in first)][:_MOST_DETAILS]


def crowd_of(report: StudyReport) -> Crowd:
    """Whom the front's picture shows."""
    special = [*report.front, *([report.incumbent] if report.incumbent else [])]
    intervals = {member.candidate: quality_interval(member) for member in special}
    known = {candidate: interval for candidate, interval in intervals.items() if interval is not None}
    return Crowd(
        members=report.members, front=report.front, incumbent=report.incumbent, recommended=report.recommended,
        intervals=known,
    )  # fmt: skip


def verdict_data(found: Verdict) -> dict[str, Any]:
    """A verdict as JSON values."""
    tiles = [
        {"name": t.name, "now": t.now, "before": t.before, "change": t.change, "good": t.good} for t in found.tiles
    ]
    return {"kind": found.kind, "title": found.title, "why": found.why, "caution": found.caution, "tiles": tiles}
