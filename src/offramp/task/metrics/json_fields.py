"""Agreement of structured answers with gold, field by field.

A field that holds a list scores the F1 of its items as multisets, where a pair of objects counts by the share of their
fields that agree (the best pairing of items is used); an object scores the mean over its fields; anything else scores
by equality (`_base.same`). Null, missing, blank and empty all mean "no value": if neither side has one, the field
scores 1.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.records import Example, Score
from offramp.task.metrics._base import Ask, is_empty, same, shown

EXACT_UP_TO = 64
"""Items of the longer of two lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonFields:
    """Weighted mean over fields; each field is compared with the gold column of its own name."""

    name: str
    fingerprint: str
    weights: Mapping[str, float]
    judge_models: tuple[str, ...] = ()

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """Weighted mean of agreement in [0, 1]; feedback names the fields that differ."""
        gold = {field: example.values.get(field) for field in self.weights}
        values = {field: agreement(gold[field], outputs.get(field)) for field in self.weights}
        total = math.fsum(self.weights.values())
        mean = math.fsum(weight * values[field] for field, weight in self.weights.items()) / total
        wrong = [
            f"{field}: expected {shown(gold[field])}, got {shown(outputs.get(field))}"
            for field, value in values.items()
            if value < 1.0
        ]
        return Score(value=min(1.0, mean), feedback="; ".join(wrong) or None)


def agreement(gold: Any, answer: Any) -> float:
    """How far an answer agrees with gold, in [0, 1]. JSON text is parsed if gold is a list or an object."""
    if isinstance(answer, str) and isinstance(gold, list | dict):
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(answer)
    if is_empty(gold) or is_empty(answer):
        return float(is_empty(gold) and is_empty(answer))
    if isinstance(gold, list) and isinstance(answer, list | tuple):  # F1: what the best pairing agrees on
        similarity = [[agreement(one, other) for other in answer] for one in gold]
        return min(1.0, 2 * best_pairing(similarity) / (len(gold) + len(answer)))
    if isinstance(gold, Mapping) and isinstance(answer, Mapping):  # mean over the fields that at least one fills in
        keys = sorted({key for side in (gold, answer) for key, value in side.items() if not is_empty(value)})
        return math.fsum(agreement(gold.get(key), answer.get(key)) for key in keys) / len(keys)
    return float(same(gold, answer))


def best_pairing(similarity: Sequence[Sequence[float]]) -> float:
    """The largest sum of similarities over pairings that use each row and each column at most once.

    Exact for lists of everyday length. If the longer list has more than `EXACT_UP_TO` items (a model that repeats
    itself), the pairs are taken greedily, most similar first, which can only lower a score.

    Args:
        similarity: rows of equal length, values in [0, 1].
    """
    if not similarity or not similarity[0]:
        return 0.0
    if max(len(similarity), len(similarity[0])) <= EXACT_UP_TO:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(similarity, maximize=True)
        return math.fsum(similarity[i][j] for i, j in zip(rows, columns, strict=True))
    cells = ((-value, i, j) for i, row in enumerate(similarity) for j, value in enumerate(row) if value > 0)
    used_rows, used_columns, values = set(), set(), []
    for value, i, j in sorted(cells):
        if i not in used_rows and j not in used_columns:
            used_rows.add(i)
            used_columns.add(j)
            values.append(-value)
    return math.fsum(values)
