"""How good each candidate is on each slice of the data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.records import Result
from offramp.review.rows import Row
from offramp.study.queries.dataset_rows import Dataset
from offramp.study.queries.example_pairs import slice_value

_MOST_SLICES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A mean score; `level` is 0 for 0.0 to 10 for 1.0. None where no example of the slice has a score."""

    mean: float
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceScores:
    """A table: slices as (column, value, examples), and for each candidate its cells in that order."""

    slices: tuple[tuple[str, str, int], ...]
    rows: tuple[tuple[Row, tuple[Cell | None, ...]], ...]


def slice_scores(
    rows: Sequence[Row], results: Mapping[str, Mapping[str, Result]], dataset: Dataset, columns: Sequence[str]
) -> SliceScores | None:
    """The table of these candidates; None where there are no slices or no rows of the dataset."""
    members: dict[tuple[str, str], set[str]] = defaultdict(set)
    for example in sorted({example for found in results.values() for example in found}):
        for column in columns if example in dataset.rows else ():
            members[column, slice_value(dataset.rows[example].get(column))].add(example)
    chosen = sorted(members)[:_MOST_SLICES]
    if not chosen or not rows:
        return None
    cells = []
    for row in rows:
        scores = {example: r.score for example, r in results.get(row.id, {}).items() if r.score is not None}
        cells.append((row, tuple(_cell([scores[e] for e in members[key] if e in scores]) for key in chosen)))
    return SliceScores(slices=tuple((*key, len(members[key])) for key in chosen), rows=tuple(cells))


def _cell(scores: Sequence[float]) -> Cell | None:
    if not scores:
        return None
    mean = sum(scores) / len(scores)
    return Cell(mean=mean, level=round(10 * min(1.0, max(0.0, mean))))
