"""Two candidates example by example: who wins where, whether it is real, and which kinds of input got worse.

Read from the storage and, for slices and texts, from the study's dataset. Nothing here makes a call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from offramp.errors import UsageError, nearest, problem
from offramp.records import Result, Scalar, Split
from offramp.space.model import RegressionsPart, SpaceFile
from offramp.stats import share_at_most
from offramp.store.candidates import CandidateRow
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow
from offramp.store.summaries import SummaryStore
from offramp.study.dataset import Dataset, read_dataset
from offramp.study.holdout import tallies_against
from offramp.study.pick import find_candidate
from offramp.study.queries import holdout_scores, read_study_rows
from offramp.study.report import StudyReport, report_of
from offramp.study.tally import CONFIDENCE, MARGIN, SAME, Tally, holm_corrected, tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two candidates; `number` is that of its trial."""

    candidate: str
    number: int
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplePair:
    """One example under both candidates.

    Attributes:
        gain: A's score minus B's, in -1..1.
        inputs: the task's inputs; None where the dataset is not here.
        gold: by output, what it is compared with; None where the dataset is not here.
        slices: by column that was asked for, the slice that the example is in.
    """

    example: str
    gain: float
    a: Result
    b: Result
    inputs: Mapping[str, Any] | None
    gold: Mapping[str, Any] | None
    slices: Mapping[str, str]

    @property
    def outcome(self) -> str:
        """`win`, `loss` or `tie`, for A."""
        return "tie" if abs(self.gain) <= SAME else "win" if self.gain > 0 else "loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The examples that have one value in one column. `tally.p_corrected` is Holm's over the slices of all columns."""

    column: str
    value: str
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionCheck:
    """Whether the share of examples that got worse keeps a budget: its upper bound is at most `max`."""

    max: float
    confidence: float
    losses: int
    n: int
    share_at_most: float

    @property
    def holds(self) -> bool:
        """Whether the bound is within the budget."""
        return self.share_at_most <= self.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What A changes for those who have B.

    Attributes:
        whole: over all examples of the split; `p_corrected` pays for `looked_at` candidates with results there, by Holm
            on the holdout (as in the report) and by Bonferroni on the search split.
        slices: the worst first.
        pairs: the examples, the largest loss first.
        unpaired: examples that only one of the two has a score for.
        regressions: the study's regression budget, where its space file states one.
        missing: why rows of the dataset are not shown; None where they are.
    """

    study: str
    split: Split
    a: Side
    b: Side
    whole: Tally
    looked_at: int
    slices: tuple[Slice, ...]
    pairs: tuple[ExamplePair, ...]
    unpaired: int
    regressions: RegressionCheck | None
    missing: str | None


def check_margin(margin: float) -> None:
    """Refuses what is no loss of mean score. Raises UsageError."""
    if not 0 < margin < 1:
        raise UsageError(problem("--margin", "the margin", got=margin, expected="a number between 0 and 1"))


def compare(
    store: Store,
    study: str,
    a: str,
    b: str = "incumbent",
    *,
    split: Split | None = None,
    by: Sequence[str] = (),
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
    space_file: str | Path | None = None,
) -> Comparison:
    """Compares candidate `a` with `b`.

    Args:
        study: its full name.
        a, b: as `find_candidate` takes them.
        split: the holdout where both have results on it, else the search split.
        by: columns of the dataset to cut the examples by.
        margin: loss of mean score that would be accepted, for non-inferiority.
        space_file: where the study's space file is now, if it was moved.

    Raises:
        UsageError: no such candidate, no example in common, a column that the dataset does not have, or no margin.
    """
    check_margin(margin)
    rows = read_study_rows(store, study)
    row, report = rows.study, report_of(rows)
    one, other = (
        find_candidate(store, report, rows.candidates, pick, where=name) for name, pick in (("A", a), ("B", b))
    )
    if one.id == other.id:
        raise UsageError(problem("offramp compare", "A and B are the same candidate", got=one.id, do="Name another."))
    dataset = read_dataset(row, space_file)
    _check_columns(by, dataset)
    sides = Sides(store=store, row=row, a=one, b=other, dataset=dataset)
    found = compare_sides(sides, split=split, by=by, margin=margin, confidence=confidence, report=report)
    if not found.pairs:
        holdout = found.split is Split.HOLDOUT
        do = "Run `offramp verify` to score both on the holdout." if holdout else "Compare others."
        what = f"{one.id} and {other.id} share no scored example of the {found.split} split"
        raise UsageError(problem(study, what, do=do))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Two candidates of a study, with what a comparison of them needs, read once for many comparisons."""

    store: Store
    row: StudyRow
    a: CandidateRow
    b: CandidateRow
    dataset: Dataset


def compare_sides(
    sides: Sides, *, split: Split | None = None, by: Sequence[str] = (), margin: float = MARGIN,
    confidence: float = CONFIDENCE, report: StudyReport | None = None,
) -> Comparison:  # fmt: skip
    """As `compare`, for candidates that are at hand. Without a common example there are no pairs, and no error.

    Args:
        by: columns that the dataset has.
        report: of the study, where it is at hand: what it says of A against the incumbent is not worked out again.
    """
    store, study, dataset = sides.store, sides.row.name, sides.dataset
    budget = SpaceFile.model_validate_json(sides.row.space_json).constraints.regressions
    chosen, left, right = _results(store, study, split, sides.a.id, sides.b.id)
    pairs = _pairs(left, right, dataset, tuple(dict.fromkeys(by)))
    looks = SummaryStore(store).count(study, chosen, without=sides.b.id)
    whole = _tally(pairs, confidence=confidence, margin=margin, looks=looks)
    if chosen is Split.HOLDOUT:
        whole = replace(whole, p_corrected=_holm(sides, report, whole.p_corrected))
    return Comparison(
        study=study,
        split=chosen,
        a=_side(sides.a),
        b=_side(sides.b),
        whole=whole,
        looked_at=looks,
        slices=_slices(pairs, confidence, margin),
        pairs=pairs,
        unpaired=len(_scored(left).keys() ^ _scored(right).keys()),
        regressions=regression_check(whole, budget),
        missing=dataset.missing,
    )


def _holm(sides: Sides, report: StudyReport | None, otherwise: float) -> float:
    """A's p against B by Holm over all on the holdout; `otherwise` where A's results there are not complete."""
    member = None if report is None else next((m for m in report.members if m.candidate == sides.a.id), None)
    known = None if member is None or member.holdout is None else member.holdout.against
    if known is not None and report is not None and report.incumbent and report.incumbent.candidate == sides.b.id:
        return known.p_corrected
    found = tallies_against(sides.b.id, holdout_scores(sides.store, sides.row.name)).get(sides.a.id)
    return otherwise if found is None else found.p_corrected


def regression_check(whole: Tally, budget: RegressionsPart | None) -> RegressionCheck | None:
    """A tally held against a regression budget; None without one."""
    if budget is None:
        return None
    bound = share_at_most(whole.losses, whole.n, confidence=budget.confidence)
    return RegressionCheck(
        max=budget.max, confidence=budget.confidence, losses=whole.losses, n=whole.n, share_at_most=bound
    )


def _side(row: CandidateRow) -> Side:
    return Side(candidate=row.id, number=row.number, params=row.params)


def _results(
    store: Store, study: str, split: Split | None, a: str, b: str
) -> tuple[Split, Mapping[str, Result], Mapping[str, Result]]:
    results = ResultStore(store)
    for choice in [split] if split is not None else [Split.HOLDOUT, Split.SEARCH]:
        left, right = results.get(study, choice, a), results.get(study, choice, b)
        if split is not None or (_scored(left).keys() & _scored(right).keys()):
            return choice, left, right
    return Split.SEARCH, left, right


def _scored(results: Mapping[str, Result]) -> dict[str, Result]:
    return {example: result for example, result in results.items() if result.score is not None}


def _pairs(
    a: Mapping[str, Result], b: Mapping[str, Result], dataset: Dataset, by: Sequence[str]
) -> tuple[ExamplePair, ...]:
    left, right = _scored(a), _scored(b)
    pairs = (_pair(example, left[example], right[example], dataset, by) for example in left if example in right)
    return tuple(sorted(pairs, key=lambda pair: (round(pair.gain, 9), pair.example)))


def _pair(example: str, a: Result, b: Result, dataset: Dataset, by: Sequence[str]) -> ExamplePair:
    values = dataset.rows.get(example)
    inputs = None if values is None else {name: values[name] for name in dataset.inputs if name in values}
    gold = None if values is None else {name: values.get(column) for name, column in dataset.gold.items()}
    slices = {} if values is None else {column: slice_value(values.get(column)) for column in by}
    gain = (a.score or 0.0) - (b.score or 0.0)
    return ExamplePair(example=example, gain=gain, a=a, b=b, inputs=inputs, gold=gold, slices=slices)


def _tally(pairs: Sequence[ExamplePair], *, confidence: float, margin: float, looks: int = 1) -> Tally:
    a, b = ([side.score or 0.0 for side in sides] for sides in ([p.a for p in pairs], [p.b for p in pairs]))
    return tally(a, b, confidence=confidence, margin=margin, looks=looks)


def _check_columns(by: Sequence[str], dataset: Dataset) -> None:
    if by and dataset.missing is not None:
        do = "Name the study's space file with --space, or leave --by out."
        raise UsageError(problem("--by", f"slices need the dataset, and {dataset.missing.rstrip('.')}", do=do))
    for column in by:
        if column not in dataset.columns:
            known, near = f"one of {', '.join(dataset.columns)}", nearest(column, dataset.columns)
            raise UsageError(problem("--by", "no such column in the dataset", got=column, expected=known, do=near))


def _slices(pairs: Sequence[ExamplePair], confidence: float, margin: float) -> tuple[Slice, ...]:
    """Every value of every column, the largest mean loss first; examples whose row is gone are in none."""
    groups: dict[tuple[str, str], list[ExamplePair]] = defaultdict(list)
    for pair in pairs:
        for one in pair.slices.items():
            groups[one].append(pair)
    tallies = holm_corrected([_tally(group, confidence=confidence, margin=margin) for group in groups.values()])
    found = [Slice(column=name, value=value, tally=one) for (name, value), one in zip(groups, tallies, strict=True)]
    return tuple(sorted(found, key=lambda s: (s.tally.difference or 0.0, -s.tally.n, s.column, s.value)))


def slice_value(value: Any) -> str:
    """The name of a slice: the value as text, `(none)` where a row has none."""
    return "(none)" if value is None or value == "" else str(value)
