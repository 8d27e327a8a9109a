"""Weighted mean of other metrics, with the value of each part by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from offramp.records import Example, Score
from offramp.task.metrics._base import Ask, Metric
from offramp.task.metrics.judge import Judge
from offramp.task.metrics.python import Python


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Parts with distinct names, each with its weight.

    Parts without a judge come first, and one at a time: if a part fails, no judge is paid for.
    """

    name: str
    fingerprint: str
    earlier_fingerprint: str
    parts: tuple[tuple[Metric, float], ...]

    @property
    def judge_models(self) -> tuple[str, ...]:
        """Judges of all parts, without duplicates."""
        return tuple(dict.fromkeys(model for part, _ in self.parts for model in part.judge_models))

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """Weighted mean; `parts` has each part's value, a nested mix's parts under `outer/inner`."""
        scores: dict[str, Score] = {}
        for part, _ in sorted(self.parts, key=lambda pair: bool(pair[0].judge_models)):
            scores[part.name] = await part.score(example, outputs, ask)
        total = math.fsum(weight for _, weight in self.parts)
        mean = math.fsum(weight * scores[part.name].value for part, weight in self.parts) / total
        ordered = {part.name: scores[part.name] for part, _ in self.parts}
        values: dict[str, float] = {}
        for name, score in ordered.items():
            values[name] = score.value
            values |= {f"{name}/{inner}": value for inner, value in score.parts.items()}
        feedback = "\n".join(f"{name}: {score.feedback}" for name, score in ordered.items() if score.feedback)
        return Score(value=min(1.0, mean), feedback=feedback or None, parts=values)


def judges_of(metric: Metric) -> Iterator[Judge | Python]:
    """The parts that ask a model, however deep in a mix; one model may be asked by several."""
    if isinstance(metric, Judge) or (isinstance(metric, Python) and metric.model is not None):
        yield metric
    elif isinstance(metric, Mix):
        for part, _ in metric.parts:
            yield from judges_of(part)
