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

from offramp.stats.pareto import Floats

_BUCKETS = 4096  # of hashed words; more would only tell very rare words apart
_CATEGORY_LENGTH = 40  # characters of the longest value that still names a category


def similarity(columns: Mapping[str, Sequence[Any]], *, last: bool = False) -> Floats | None:
    """Shape (rows, rows), or (1, rows) for the last row alone, in 0..1; None without a usable column.

    A column of numbers compares by distance, one of few short values by equality, any other by the words in it (TF-IDF,
    cosine). Columns count alike; their mean is squared, so that one strong likeness is worth more than many weak ones.
    """
    at = slice(-1 if last else 0, None)
    parts = [part for values in columns.values() if (part := _column(list(values), at)) is not None]
    return np.asarray(np.mean(parts, axis=0) ** 2) if parts else None


def _column(values: list[Any], at: slice) -> Floats | None:
    """The likeness by one column; None where all rows have the same value."""
    texts = ["" if value is None else str(value) for value in values]
    distinct = set(texts)
    if len(distinct) < 2:
        return None
    known = [v for v in values if v is not None]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in known) and len(known) == len(values):
        numbers = np.asarray(values, dtype=np.float64)
        if np.isfinite(numbers).all() and numbers.std() > 0:
            return np.asarray(np.exp(-0.5 * ((numbers[at, None] - numbers[None]) / numbers.std()) ** 2))
    if len(distinct) <= len(texts) / 3 and max(map(len, distinct)) <= _CATEGORY_LENGTH:
        codes = np.unique(texts, return_inverse=True)[1]
        return np.asarray(codes[at, None] == codes[None], dtype=np.float64)
    return _by_words(texts, at)


def _by_words(texts: Sequence[str], at: slice) -> Floats:
    counts = np.zeros((len(texts), _BUCKETS))
    for row, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())
        for term in (*words, *(f"{a} {b}" for a, b in pairwise(words))):
            counts[row, zlib.crc32(term.encode()) % _BUCKETS] += 1
    found_in = (counts > 0).sum(0)
    weighted = np.log1p(counts) * np.log((1 + len(texts)) / (1 + found_in))
    norms = np.linalg.norm(weighted, axis=1, keepdims=True)
    unit = weighted / np.where(norms > 0, norms, 1.0)
    return np.asarray(np.clip(unit[at] @ unit.T, 0.0, 1.0))
