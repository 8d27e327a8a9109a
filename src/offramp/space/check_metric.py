"""Checks of the metric: what it names has to be an output of the task.

Invariant: a metric without a problem here can be built from the fields; columns are checked against the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from offramp.errors import nearest
from offramp.space.check_params import check_fixed_params
from offramp.space.load import LoadedSpace
from offramp.space.messages import Problem, shown
from offramp.space.model import MOST_WEIGHT, JsonFieldsMetric, JudgeMetric, MixMetric, PythonMetric
from offramp.space.outputs import output_types


def check_metric(loaded: LoadedSpace) -> Iterator[Problem]:
    """Fields that a metric names, and what a judge is sent along."""
    outputs = list(output_types(loaded.space.task))
    if outputs:
        yield from _fields(loaded, "metric", loaded.space.metric, outputs)


def check_weight(loaded: LoadedSpace, key: str, weight: float) -> Iterator[Problem]:
    """A weight whose sum with others is a number."""
    if weight > MOST_WEIGHT:
        do = "Only the proportions count."
        yield loaded.problem(key, got=shown(weight), expected=f"at most {MOST_WEIGHT:,.0f}", do=do)


def _fields(loaded: LoadedSpace, key: str, part: Any, outputs: Sequence[str]) -> Iterator[Problem]:
    yield from check_weight(loaded, f"{key}.weight", part.weight)
    if isinstance(part, MixMetric):
        for index, one in enumerate(part.parts):
            yield from _fields(loaded, f"{key}.parts.{index}", one, outputs)
        return
    if isinstance(part, JudgeMetric):
        yield from check_fixed_params(loaded, f"{key}.params", part.params)
    for inner, name in _named_fields(key, part):
        if name not in outputs:
            expected = f"an output of the task ({', '.join(outputs)})"
            yield loaded.problem(inner, got=shown(name), expected=expected, do=nearest(name, outputs))
    if isinstance(part, JsonFieldsMetric):
        for field, weight in part.weights.items():
            yield from check_weight(loaded, f"{key}.weights.{field}", weight)
            if field not in part.fields:
                expected = f"a field of this metric ({', '.join(part.fields)})"
                yield loaded.problem(f"{key}.weights.{field}", "unknown field", got=shown(field), expected=expected)


def _named_fields(key: str, part: Any) -> list[tuple[str, str]]:
    if isinstance(part, PythonMetric):
        return []
    if isinstance(part, JsonFieldsMetric | JudgeMetric):
        return [(f"{key}.fields.{i}", name) for i, name in enumerate(part.fields or [])]
    return [(f"{key}.field", part.field)]
