"""1 when the answer equals gold, else 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.records import Example, Score
from offramp.task.metrics._base import Ask, same, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """Equality by `_base.same`: text without surrounding space, and without case unless `case_sensitive`."""

    name: str
    fingerprint: str
    field: str
    gold: str
    case_sensitive: bool = False
    judge_models: tuple[str, ...] = ()

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """1.0 or 0.0; null equals null only."""
        gold, answer = example.values.get(self.gold), outputs.get(self.field)
        if same(gold, answer, case_sensitive=self.case_sensitive):
            return Score(value=1.0)
        return Score(value=0.0, feedback=f"{self.field}: expected {shown(gold)}, got {shown(answer)}")
