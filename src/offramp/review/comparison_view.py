"""Two candidates side by side, as a view of a `CandidateComparison`: its numbers, and examples with both answers.

Invariant: counts are of all examples; filters choose the examples that are shown, never the numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from offramp import media
from offramp.records import Result, ResultState
from offramp.review.escaping import as_text
from offramp.study.queries.dataset_rows import Dataset
from offramp.study.queries.example_pairs import CandidateComparison, ExamplePair, slice_value

if TYPE_CHECKING:
    from offramp.job.steps import RunSteps

_MOST_VALUES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One output of an example: the gold (None where there is none to compare with), and both answers."""

    name: str
    gold: str | None
    a: str
    b: str
    a_right: bool | None
    b_right: bool | None


_LARGEST_PICTURE = 16 * 1024
"""In bytes, so that a report of many examples stays a file that can be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleView:
    """One example as it is shown; texts are as they were stored, to be escaped where they are shown.

    Attributes:
        pictures: `data:` addresses of small images among the inputs, by name.
        steps: of both runs, by what the side is called; none where answers are the same, and of a single request.
    """

    id: str
    outcome: str
    a_score: float
    b_score: float
    inputs: tuple[tuple[str, str], ...]
    slices: tuple[tuple[str, str], ...]
    fields: tuple[Field, ...]
    a_reason: str | None
    b_reason: str | None
    pictures: tuple[tuple[str, str], ...] = ()
    steps: tuple[tuple[str, RunSteps], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the two sides are called: in a few words, and as headings of columns."""

    a_label: str
    b_label: str
    a: str = "A"
    b: str = "B"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView:
    """What changes when B is replaced by A.

    Attributes:
        found: the numbers.
        examples: those that are shown, largest losses and wins first and ties last; `hidden` more passed the filter.
    """

    found: CandidateComparison
    names: Names
    examples: tuple[ExampleView, ...]
    hidden: int

    def of(self, outcome: str) -> tuple[ExampleView, ...]:
        """The shown examples of one outcome."""
        return tuple(example for example in self.examples if example.outcome == outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which examples are shown: `outcome` is `win`, `loss`, `tie` or None for all; `slice` a column and its value."""

    outcome: str | None = None
    slice: tuple[str, str] | None = None
    most: int = 200


def filtered_view(found: CandidateComparison, dataset: Dataset, names: Names, only: Filter) -> ComparisonView:
    """The view of a comparison with the examples that pass a filter: losses and wins in turn, ties last."""
    return _view(found, dataset, names, [p for p in _largest_first(found) if _passes(p, dataset, only)], only.most)


def _largest_first(found: CandidateComparison) -> Iterator[ExamplePair]:
    """The largest loss, the largest win, the next loss and so on; then the ties."""
    losses = [pair for pair in found.pairs if pair.outcome == "loss"]
    wins = [pair for pair in reversed(found.pairs) if pair.outcome == "win"]
    for both in zip_longest(losses, wins):
        yield from (pair for pair in both if pair is not None)
    yield from (pair for pair in found.pairs if pair.outcome == "tie")


def brief_view(found: CandidateComparison, dataset: Dataset, names: Names, each: int) -> ComparisonView:
    """The view with only the worst losses and the largest wins, up to `each` of both."""
    losses = [pair for pair in found.pairs if pair.outcome == "loss"]
    wins = [pair for pair in reversed(found.pairs) if pair.outcome == "win"]
    shown = [*losses[:each], *wins[:each]]
    return _view(found, dataset, names, [*shown, *losses[each:], *wins[each:]], len(shown))


def _view(
    found: CandidateComparison, dataset: Dataset, names: Names, pairs: Sequence[ExamplePair], most: int
) -> ComparisonView:
    examples = tuple(_example(pair, dataset) for pair in pairs[:most])
    return ComparisonView(found=found, names=names, examples=examples, hidden=max(0, len(pairs) - most))


def differing(view: ComparisonView, most: int) -> tuple[str, ...]:
    """The first examples that are shown and whose answers differ."""
    differ = {pair.example for pair in view.found.pairs if pair.a.outputs != pair.b.outputs}
    return tuple(example.id for example in view.examples if example.id in differ)[:most]


def with_steps(view: ComparisonView, steps: Mapping[tuple[str, str], RunSteps]) -> ComparisonView:
    """The view with the steps of the runs that have some, by candidate and example."""
    sides = ((view.names.b, view.found.b.candidate), (view.names.a, view.found.a.candidate))

    def of(example: ExampleView) -> ExampleView:
        found = [(name, steps.get((candidate, example.id))) for name, candidate in sides]
        return replace(example, steps=tuple((name, run) for name, run in found if run is not None))

    return replace(view, examples=tuple(map(of, view.examples)))


def slice_columns(dataset: Dataset) -> tuple[str, ...]:
    """The columns with few values, by which examples can be sliced: extra columns of the data, and gold columns."""
    columns = dict.fromkeys([*dataset.slices, *dataset.gold.values()])
    return tuple(column for column in columns if 2 <= len(_values(column, dataset)) <= _MOST_VALUES)


def slice_choices(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """Every (column, value) by which examples can be filtered."""
    return tuple((c, value) for c in slice_columns(dataset) for value in sorted(_values(c, dataset)))


def _values(column: str, dataset: Dataset) -> Counter[str]:
    return Counter(slice_value(row.get(column)) for row in dataset.rows.values())


def _passes(pair: ExamplePair, dataset: Dataset, only: Filter) -> bool:
    if only.outcome is not None and pair.outcome != only.outcome:
        return False
    if only.slice is None:
        return True
    column, value = only.slice
    return pair.example in dataset.rows and slice_value(dataset.rows[pair.example].get(column)) == value


def _example(pair: ExamplePair, dataset: Dataset) -> ExampleView:
    row = dataset.rows.get(pair.example, {})
    return ExampleView(
        id=pair.example,
        outcome=pair.outcome,
        a_score=pair.a.score or 0.0,
        b_score=pair.b.score or 0.0,
        inputs=tuple((name, as_text(value)) for name, value in (pair.inputs or {}).items()),
        slices=tuple((name, as_text(row[name])) for name in dataset.slices if row.get(name) is not None),
        fields=tuple(_fields(pair, dataset)),
        a_reason=pair.a.reason,
        b_reason=pair.b.reason,
        pictures=tuple(_pictures(pair)),
    )


def _pictures(pair: ExamplePair) -> Iterator[tuple[str, str]]:
    for name, value in (pair.inputs or {}).items():
        if (address := media.picture(value, most_bytes=_LARGEST_PICTURE)) is not None:
            yield name, address


def _fields(pair: ExamplePair, dataset: Dataset) -> Iterator[Field]:
    for name in dict.fromkeys([*dataset.outputs, *(pair.a.outputs or {}), *(pair.b.outputs or {})]):
        gold = (pair.gold or {}).get(name)
        yield Field(
            name=name,
            gold=None if gold is None else as_text(gold),
            a=_answer(pair.a, name),
            b=_answer(pair.b, name),
            a_right=_right(pair.a, name, gold),
            b_right=_right(pair.b, name, gold),
        )


def _answer(result: Result, name: str) -> str:
    if result.outputs is None:
        return "no answer that could be parsed" if result.state is ResultState.PROGRAM_ERROR else "not stored"
    return as_text(result.outputs.get(name))


def _right(result: Result, name: str, gold: Any) -> bool | None:
    """Whether an answer equals the gold; None where that cannot be said. A metric may be more lenient."""
    if gold is None or result.outputs is None:
        return None
    return as_text(result.outputs.get(name)).strip().lower() == as_text(gold).strip().lower()
