"""Two candidates example by example: who wins where, whether the difference is significant, and which slices got worse.

Read from the storage and, for slices and texts, from the study's dataset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from offramp.records import SAME_SCORE, Result, Scalar, Split
from offramp.space.model import RegressionsPart
from offramp.store.candidates import CandidateRow
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.study.domain.paired_comparison import (
    CONFIDENCE,
    MARGIN,
    Groups,
    PairedComparison,
    Scores,
    compare_all,
    compare_paired,
    groups_of,
    holm_corrected,
)
from offramp.study.domain.regressions import paired_counts, regressed_at_most
from offramp.study.queries.dataset_rows import Dataset
from offramp.study.queries.study_rows import read_holdout_scores
from offramp.study.shown import Brief
from offramp.study.study_report import StudyRows
from offramp.study.wording import interval_words, points

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two candidates; `number` is that of its trial, `sent` what was sent that its params do not say."""

    candidate: str
    number: int
    params: Mapping[str, Scalar]
    sent: Mapping[str, Any] = field(default_factory=dict)


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
        return "tie" if abs(self.gain) <= SAME_SCORE else "win" if self.gain > 0 else "loss"

    def flat(self) -> dict[str, Any]:
        """A row of a table: scores, both answers, inputs and gold, field by field."""
        row: dict[str, Any] = {
            "example": self.example, "outcome": self.outcome, "gain": self.gain,
            "a_score": self.a.score, "b_score": self.b.score,
        }  # fmt: skip
        row |= {f"slice.{name}": value for name, value in self.slices.items()}
        row |= {f"input.{name}": value for name, value in (self.inputs or {}).items()}
        row |= {f"gold.{name}": value for name, value in (self.gold or {}).items()}
        for side, result in (("a", self.a), ("b", self.b)):
            row |= {f"{side}.{name}": value for name, value in (result.outputs or {}).items()}
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The examples with one value in one column. Its `p_corrected` is Holm's over the slices of all columns."""

    column: str
    value: str
    comparison: PairedComparison


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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CandidateComparison(Brief):
    """What A changes for those who have B.

    Attributes:
        whole: over all examples of the split, corrected for `looked_at` candidates with results there: by Holm on the
            holdout (as in the report), by Holm's first step on the search split, where the others are not compared.
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
    whole: PairedComparison
    looked_at: int
    slices: tuple[Slice, ...]
    pairs: tuple[ExamplePair, ...]
    unpaired: int
    regressions: RegressionCheck | None
    missing: str | None

    @property
    def in_short(self) -> str:
        """Who is compared on what, and what came of it."""
        whole = self.whole
        counts = f"wins {whole.wins}, loses {whole.losses}, ties {whole.ties}"
        gain = f"{points(whole.difference)} points ({interval_words(whole.corrected)})"
        return f"{self.study}, {self.split}: {self.a.candidate} against {self.b.candidate}: {counts}; {gain}"

    def to_frame(self) -> pd.DataFrame:
        """A row for each example, the largest loss first, in the columns of `offramp compare --csv`."""
        import pandas as pd

        return pd.DataFrame([pair.flat() for pair in self.pairs])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Two candidates of a study with what a comparison of them needs, read once for many comparisons."""

    store: Store
    rows: StudyRows
    a: CandidateRow
    b: CandidateRow
    dataset: Dataset


def compare_sides(
    sides: Sides, *, split: Split | None = None, by: Sequence[str] = (), margin: float = MARGIN,
    confidence: float = CONFIDENCE, on_holdout: PairedComparison | None = None,
) -> CandidateComparison:  # fmt: skip
    """Compares candidate A with candidate B. Without a common example there are no pairs, and no error.

    Args:
        split: the holdout where both have results on it, else the search split.
        by: columns of the dataset to cut the examples by.
        margin: loss of mean score that would be accepted, for non-inferiority.
        on_holdout: A against B as the report has it, where it does; computed again for None.
    """
    rows, dataset = sides.rows, sides.dataset
    a, b = sides.a.id, sides.b.id
    chosen, left, right = _results(sides, split)
    pairs = _pairs(left, right, dataset, tuple(dict.fromkeys(by)))
    looks = sum(candidate != b for candidate in (rows.holdout if chosen is Split.HOLDOUT else rows.search))
    groups = rows.scoring.groups
    whole = _compared(pairs, groups, confidence=confidence, margin=margin, looks=looks)
    if chosen is Split.HOLDOUT:
        known = on_holdout or compare_all(b, _holdout_scores(sides), groups).get(a)
        if known is not None:
            whole = whole.corrected_for(p_corrected=known.p_corrected, tests=known.tests, looked_at=known.looked_at)
    return CandidateComparison(
        study=rows.study.name,
        split=chosen,
        a=Side(candidate=a, number=sides.a.number, params=sides.a.params, sent=sides.a.sent),
        b=Side(candidate=b, number=sides.b.number, params=sides.b.params, sent=sides.b.sent),
        whole=whole,
        looked_at=looks,
        slices=_slices(pairs, groups, confidence, margin),
        pairs=pairs,
        unpaired=len(left.keys() ^ right.keys()),
        regressions=_regression_check(pairs, groups, rows.scoring.constraints.regressions),
        missing=dataset.missing,
    )


def _holdout_scores(sides: Sides) -> Mapping[str, Scores]:
    rows = sides.rows
    known = sides.b.id in rows.holdout_scores
    return rows.holdout_scores if known else read_holdout_scores(sides.store, rows.study.name, tuple(rows.holdout))


def _results(sides: Sides, split: Split | None) -> tuple[Split, Mapping[str, Result], Mapping[str, Result]]:
    """The split, and the results of both that have a score, by example."""
    results, study = ResultStore(sides.store), sides.rows.study.name
    for choice in [split] if split is not None else [Split.HOLDOUT, Split.SEARCH]:
        left, right = (
            {e: r for e, r in results.get(study, choice, side.id).items() if r.score is not None}
            for side in (sides.a, sides.b)
        )
        if split is not None or left.keys() & right.keys():
            return choice, left, right
    return Split.SEARCH, left, right


def _pairs(
    a: Mapping[str, Result], b: Mapping[str, Result], dataset: Dataset, by: Sequence[str]
) -> tuple[ExamplePair, ...]:
    pairs = (_pair(example, a[example], b[example], dataset, by) for example in a if example in b)
    return tuple(sorted(pairs, key=lambda pair: (round(pair.gain, 9), pair.example)))


def _pair(example: str, a: Result, b: Result, dataset: Dataset, by: Sequence[str]) -> ExamplePair:
    values = dataset.rows.get(example)
    inputs = None if values is None else {name: values[name] for name in dataset.inputs if name in values}
    gold = None if values is None else {name: values.get(column) for name, column in dataset.gold.items()}
    slices = {} if values is None else {column: slice_value(values.get(column)) for column in by}
    gain = (a.score or 0.0) - (b.score or 0.0)
    return ExamplePair(example=example, gain=gain, a=a, b=b, inputs=inputs, gold=gold, slices=slices)


def _compared(
    pairs: Sequence[ExamplePair], groups: Groups, *, confidence: float, margin: float, looks: int = 1
) -> PairedComparison:
    a, b = ([side.score or 0.0 for side in sides] for sides in ([p.a for p in pairs], [p.b for p in pairs]))
    named = groups_of([pair.example for pair in pairs], groups)
    return compare_paired(a, b, confidence=confidence, margin=margin, looks=looks, groups=named)


def _slices(pairs: Sequence[ExamplePair], groups: Groups, confidence: float, margin: float) -> tuple[Slice, ...]:
    """Every value of every column, the largest mean loss first; examples whose row is gone are in none."""
    slices: dict[tuple[str, str], list[ExamplePair]] = defaultdict(list)
    for pair in pairs:
        for one in pair.slices.items():
            slices[one].append(pair)
    compared = holm_corrected(
        [_compared(members, groups, confidence=confidence, margin=margin) for members in slices.values()]
    )
    found = [Slice(column=c, value=v, comparison=one) for (c, v), one in zip(slices, compared, strict=True)]
    return tuple(sorted(found, key=lambda s: (s.comparison.difference or 0.0, -s.comparison.n, s.column, s.value)))


def _regression_check(
    pairs: Sequence[ExamplePair], groups: Groups, budget: RegressionsPart | None
) -> RegressionCheck | None:
    if budget is None:
        return None
    a, b = {p.example: p.a.score or 0.0 for p in pairs}, {p.example: p.b.score or 0.0 for p in pairs}
    bound = regressed_at_most(paired_counts(a, b, groups), budget.confidence)
    losses = sum(pair.outcome == "loss" for pair in pairs)
    return RegressionCheck(
        max=budget.max, confidence=budget.confidence, losses=losses, n=len(pairs), share_at_most=bound
    )


def slice_value(value: Any) -> str:
    """The name of a slice: the value as text, `(none)` where a row has none."""
    return "(none)" if value is None or value == "" else str(value)
