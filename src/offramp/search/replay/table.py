"""A recorded table of outcomes: each row is one candidate (columns `param.*`) on one example.

Rows with the same candidate and example are replicates of one cell and count as their mean. Candidates and examples get
an order of their own, so the order of the rows does not matter.

Invariant: everything that a race may know of the outcomes goes through `PaidCells.read`, which counts every cell and
returns none beyond its cap. The table itself stays out of reach.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DatasetError, problem
from offramp.records import Scalar, Split
from offramp.search.replay.reading import INPUT, OUTCOMES, PREFIX, read_frame
from offramp.stats.pareto import Floats

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTable:
    """One split of a table.

    Attributes:
        pool: params by candidate, named as the columns, without `param.`.
        examples: ids.
        outcomes: the columns of OUTCOMES that have a value in a search row, `score` first.
        values: shape (candidates, examples, outcomes); NaN where the table has no value.
        answers: shape (candidates, examples), text or None; None without the column `answer`.
        confidence: shape (candidates, examples), NaN where it is not known; None without the column.
        inputs: by column `input.*`, without the prefix, the first value that an example has.
    """

    pool: tuple[Mapping[str, Scalar], ...]
    examples: tuple[str, ...]
    outcomes: tuple[str, ...]
    values: Floats
    answers: NDArray[np.object_] | None = None
    confidence: Floats | None = None
    inputs: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


class PaidCells:
    """The cells of a table, each paid for once.

    Args:
        table: where they come from.
        cap: how many may be read.
    """

    def __init__(self, table: RecordedTable, cap: int) -> None:
        self.__values = table.values
        self.__paid = np.zeros(table.values.shape[:2], dtype=bool)
        self.cap = cap

    @property
    def used(self) -> int:
        """Cells read so far."""
        return int(self.__paid.sum())

    @property
    def remaining(self) -> int:
        """Cells that may still be read."""
        return self.cap - self.used

    def read(self, index: int, positions: Sequence[int]) -> Floats:
        """Outcomes of a candidate on some examples; shape (len(positions), outcomes). Reading a cell again is free.

        Raises:
            ValueError: more cells than remain.
        """
        new = np.unique([p for p in positions if not self.__paid[index, p]])
        if len(new) > self.remaining:
            raise ValueError(f"{len(new)} cells requested, {self.remaining} remaining")
        self.__paid[index, new.astype(np.int64)] = True
        return np.array(self.__values[index, list(positions)])


def read_table(path: Path) -> dict[Split, RecordedTable]:
    """The splits of a Parquet or CSV file; without a column `split`, every row is in the search split.

    Raises:
        DatasetError: there is no such file, or it is not a table of outcomes.
    """
    frame = read_frame(path)
    params = [name for name in frame.columns if str(name).startswith(PREFIX)]
    parts = {Split.SEARCH: frame}
    if "split" in frame.columns:
        parts = {split: frame[frame["split"] == split.value] for split in (Split.SEARCH, Split.HOLDOUT)}
    search = parts[Split.SEARCH]
    if not len(search):
        raise DatasetError(problem(str(path), "column split: got only 'holdout', expected rows with 'search'"))
    outcomes = tuple(name for name in OUTCOMES if name in frame.columns and search[name].notna().any())
    if "score" not in outcomes:
        raise DatasetError(problem(str(path), "column score has no number in a search row"))
    return {split: _table(part, params, outcomes) for split, part in parts.items() if len(part)}


def _table(frame: pandas.DataFrame, params: Sequence[str], outcomes: tuple[str, ...]) -> RecordedTable:
    import pandas

    columns = [[_plain_param(value) for value in frame[name].tolist()] for name in params]
    keys = [json.dumps(row) for row in zip(*columns, strict=True)]
    examples = frame["example_id"].tolist()
    names, ids = sorted(set(keys)), sorted(set(examples))
    rows, places = pandas.Index(names).get_indexer(keys), pandas.Index(ids).get_indexer(examples)
    values = np.stack([_means(frame[o].to_numpy(), rows, places, (len(names), len(ids))) for o in outcomes], axis=-1)
    pool = tuple(dict(zip((p.removeprefix(PREFIX) for p in params), json.loads(name), strict=True)) for name in names)
    shape = (len(names), len(ids))
    sure = frame["confidence"].to_numpy(dtype=float) if "confidence" in frame.columns else None
    return RecordedTable(
        pool=pool,
        examples=tuple(ids),
        outcomes=outcomes,
        values=values,
        answers=_answers(frame["answer"].tolist(), rows, places, shape) if "answer" in frame.columns else None,
        confidence=None if sure is None else _means(sure, rows, places, shape),
        inputs={str(c).removeprefix(INPUT): _inputs(frame[c].tolist(), places, len(ids))
                for c in frame.columns if str(c).startswith(INPUT)},
    )  # fmt: skip


def _answers(values: list[Any], rows: Any, places: Any, shape: tuple[int, int]) -> NDArray[np.object_]:
    """The answer of each cell as text; None where there is none, or replicates differ."""
    found = np.full(shape, None, dtype=object)
    differ = set()
    for value, row, place in zip(values, rows, places, strict=True):
        known = _plain_param(value)
        if known is not None:
            text = str(known).strip()
            differ |= {(row, place)} if found[row, place] not in (None, text) else set()
            found[row, place] = text
    for cell in differ:
        found[cell] = None
    return found


def _inputs(values: list[Any], places: Any, n: int) -> tuple[Any, ...]:
    found: list[Any] = [None] * n
    for value, place in zip(values, places, strict=True):
        if found[place] is None:
            found[place] = _plain_param(value)
    return tuple(found)


def _means(values: Floats, rows: Any, places: Any, shape: tuple[int, int]) -> Floats:
    """Shape `shape`: the mean of the values of each cell; NaN where there is none."""
    known = ~np.isnan(values)
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (rows[known], places[known]), values[known])
    np.add.at(count, (rows[known], places[known]), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / count)


def _plain_param(value: Any) -> Scalar:
    """A param as a JSON value: null for what is missing, text for anything but numbers, bools and text."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)
