"""How alike the inputs of rows are, from their columns alone: no model, no call.

Invariant: only inputs are read, never an outcome, so a likeness may be computed over rows that choose nothing.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.stats.pareto import Floats

_BUCKETS = 4096  # of hashed words; more would only tell very rare words apart
_CATEGORY_LENGTH = 40  # characters of the longest value that still names a category


def similarity(columns: Mapping[str, Sequence[Any]]) -> Floats | None:
    """Shape (rows, rows), in 0..1; None without a usable column.

    A column of numbers compares by distance, one of few short values by equality, any other by the words in it (TF-IDF,
    cosine). Columns count alike; their mean is squared, so that one strong likeness is worth more than many weak ones.
    """
    parts = [part for values in columns.values() if (part := _column(list(values), slice(0, None))) is not None]
    return np.asarray(np.mean(parts, axis=0) ** 2) if parts else None


class AlikeRows:
    """Recorded rows made ready, so that what `similarity` says of one more row takes milliseconds.

    Args:
        columns: as for `similarity`, of the recorded rows.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._columns = {name: list(values) for name, values in columns.items()}
        self._words: dict[str, tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]] = {}

    def to(self, inputs: Mapping[str, Any]) -> Floats | None:
        """Shape (rows,), in 0..1: how alike each recorded row is; None without a usable column."""
        parts = [part for name in self._columns if (part := self._part(name, inputs.get(name))) is not None]
        return np.asarray(np.mean(parts, axis=0) ** 2) if parts else None

    def _part(self, name: str, value: Any) -> Floats | None:
        values = [*self._columns[name], value]
        if not _is_text(values):
            found = _column(values, slice(-1, None))
            return None if found is None else np.asarray(found[0, :-1])
        if name not in self._words:
            counts = _counts(list(map(_as_text, self._columns[name])))
            logs = np.log1p(counts).astype(np.float32)
            self._words[name] = logs, np.square(logs), (counts > 0).sum(0)
        logs, squares, found_in = self._words[name]
        query = np.log1p(_counts([_as_text(value)])[0])
        rarity = np.square(np.log((1 + len(values)) / (1 + found_in + (query > 0))))
        norms = np.sqrt(squares @ rarity * (np.square(query) @ rarity))
        return np.asarray(np.clip(logs @ (rarity * query) / np.where(norms > 0, norms, 1.0), 0.0, 1.0))


def _column(values: list[Any], at: slice) -> Floats | None:
    """The likeness by one column; None where all rows have the same value."""
    texts = [_as_text(value) for value in values]
    if len(set(texts)) < 2:
        return None
    if _are_numbers(values):
        numbers = np.asarray(values, dtype=np.float64)
        return np.asarray(np.exp(-0.5 * ((numbers[at, None] - numbers[None]) / numbers.std()) ** 2))
    if _are_categories(texts):
        codes = np.unique(texts, return_inverse=True)[1]
        return np.asarray(codes[at, None] == codes[None], dtype=np.float64)
    return _by_words(texts, at)


def _as_text(value: Any) -> str:
    return "" if value is None else str(value)


def _is_text(values: list[Any]) -> bool:
    """Whether a column is compared by its words."""
    texts = [_as_text(value) for value in values]
    return len(set(texts)) > 1 and not _are_numbers(values) and not _are_categories(texts)


def _are_numbers(values: list[Any]) -> bool:
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return False
    numbers = np.asarray(values, dtype=np.float64)
    return bool(np.isfinite(numbers).all() and numbers.std() > 0)


def _are_categories(texts: list[str]) -> bool:
    distinct = set(texts)
    return len(distinct) <= len(texts) / 3 and max(map(len, distinct)) <= _CATEGORY_LENGTH


def _by_words(texts: Sequence[str], at: slice) -> Floats:
    counts = _counts(texts)
    found_in = (counts > 0).sum(0)
    weighted = np.log1p(counts) * np.log((1 + len(texts)) / (1 + found_in))
    norms = np.linalg.norm(weighted, axis=1, keepdims=True)
    unit = weighted / np.where(norms > 0, norms, 1.0)
    return np.asarray(np.clip(unit[at] @ unit.T, 0.0, 1.0))


def _counts(texts: Sequence[str]) -> Floats:
    """Shape (rows, buckets): how often each has the hashed words and pairs of words."""
    counts = np.zeros((len(texts), _BUCKETS))
    for row, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())
        for term in (*words, *(f"{a} {b}" for a, b in pairwise(words))):
            counts[row, zlib.crc32(term.encode()) % _BUCKETS] += 1
    return counts
