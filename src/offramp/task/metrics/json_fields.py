"""Agreement of structured answers with gold, field by field.

A field that holds a list scores the F1 of its items as multisets, where a pair of objects counts by the share of their
fields that agree (the best pairing of items is used); an object scores the mean over its fields; anything else is
equality as `_values.same` has it. Null, missing, blank and empty are one thing: where both are, the field scores 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.records import Example, Score
from offramp.task.metrics._base import Ask
from offramp.task.metrics._values import is_empty, same, shown
from offramp.task.metrics.assignment import best_pairing


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
    """How far an answer agrees with gold, in [0, 1]. JSON text is read where gold is a list or an object."""
    if isinstance(answer, str) and isinstance(gold, list | dict):
        answer = _read(answer)
    if is_empty(gold) or is_empty(answer):
        return float(is_empty(gold) and is_empty(answer))
    if isinstance(gold, list) and isinstance(answer, list | tuple):
        return _lists(gold, answer)
    if isinstance(gold, Mapping) and isinstance(answer, Mapping):
        return _objects(gold, answer)
    return float(same(gold, answer))


def _lists(gold: Sequence[Any], answer: Sequence[Any]) -> float:
    """F1 of two lists in any order: twice what the best pairing agrees on, over the number of items in both."""
    similarity = [[agreement(one, other) for other in answer] for one in gold]
    return min(1.0, 2 * best_pairing(similarity) / (len(gold) + len(answer)))


def _objects(gold: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
    """Mean over the fields that at least one of them fills in."""
    keys = sorted({key for side in (gold, answer) for key, value in side.items() if not is_empty(value)})
    if not keys:
        return 1.0
    return math.fsum(agreement(gold.get(key), answer.get(key)) for key in keys) / len(keys)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
