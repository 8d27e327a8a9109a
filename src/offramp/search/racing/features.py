"""Params as codes and similarities: what a model of cells may borrow strength across.

Each param becomes one dimension with a table of similarities between its values: 1 for the same value, 0 for different
categories, and something between for numbers, by how far apart they stand among the numbers that occur. A param may be
text, number, bool, None or absent, and all of these in one column.

Invariant: a param's name never matters, only which candidates share its values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.records import Scalar
from offramp.stats.pareto import Floats, Ints

REACH = 0.4
"""Share of the ranks over which numbers stay alike (length scale of a squared-exponential kernel)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The pool's params, coded.

    Attributes:
        codes: shape (n, d); column k holds indices into `tables[k]`.
        tables: d symmetric positive semi-definite matrices of similarities in [0, 1], 1 on the diagonal.
    """

    codes: Ints
    tables: tuple[Floats, ...]

    @property
    def n_dims(self) -> int:
        """Dimensions that tell some candidates apart, and some not."""
        return len(self.tables)

    def alike(self, dim: int, rows: Ints, columns: Ints) -> Floats:
        """Similarities in one dimension; shape (len(rows), len(columns))."""
        return np.asarray(self.tables[dim][self.codes[rows, dim][:, None], self.codes[columns, dim][None, :]])


def features_of(pool: Sequence[Mapping[str, Scalar]]) -> Features:
    """Codes and similarities for a pool. Dimensions that are the same for all, or different for each, are left out."""
    coded = [_coded([_key(params, name) for params in pool]) for name in sorted({n for p in pool for n in p})]
    useful = [(codes, table) for codes, table in coded if len(table) > 1 and not _all_apart(codes, table)]
    codes = np.stack([codes for codes, _ in useful], axis=1) if useful else np.zeros((len(pool), 0), dtype=np.int64)
    return Features(codes=codes, tables=tuple(table for _, table in useful))


Key = tuple[str, object]


def _key(params: Mapping[str, Scalar], name: str) -> Key:
    """Kind and value, so that 1, True and "1" stay different; a number that is not finite is no number."""
    value = params.get(name)
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int | float):
        return ("number", float(value)) if math.isfinite(value) else ("none", None)
    if value is None:
        return ("none" if name in params else "absent", None)
    return ("text", str(value))


def _coded(keys: Sequence[Key]) -> tuple[Ints, Floats]:
    values = sorted(set(keys), key=lambda key: (key[0], key[1] if key[0] == "number" else str(key[1])))
    index = {value: i for i, value in enumerate(values)}
    table = np.eye(len(values))
    numbers = [i for i, (kind, _) in enumerate(values) if kind == "number"]
    if len(numbers) > 1:
        places = np.arange(len(numbers)) / (len(numbers) - 1)
        apart = (places[:, None] - places[None, :]) / REACH
        table[np.ix_(numbers, numbers)] = np.exp(-0.5 * apart**2)
    return np.array([index[key] for key in keys], dtype=np.int64), table


def _all_apart(codes: Ints, table: Floats) -> bool:
    """Whether each candidate has a value of its own that is like no other: that is what a candidate's own effect is."""
    return len(table) == len(codes) and bool((table == np.eye(len(table))).all())
