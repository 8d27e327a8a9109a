"""1 when the last number in the answer is within tolerance of gold.

The last one, because an answer that shows its steps ends with its result. A comma between groups of three digits
separates thousands; currency and percent signs are ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.errors import DatasetError, problem
from offramp.records import Example, Score
from offramp.task.metrics._base import Ask, as_text, shown

_NUMBER = re.compile(
    r"(?<![\d.])(?P<sign>(?<!\w)[+\-\u2212])?[$\u20ac\u00a3\u00a5]?"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?P<power>[eE][+-]?\d{1,3})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """Within `absolute`, or within `relative` times the size of gold, whichever is wider."""

    name: str
    fingerprint: str
    field: str
    gold: str
    absolute: float
    relative: float
    judge_models: tuple[str, ...] = ()

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """1.0 or 0.0; an answer without a number scores 1.0 only if gold and answer are both null."""
        gold, answer = example.values.get(self.gold), outputs.get(self.field)
        if gold is None:
            right = answer is None
        else:
            number, wanted = last_number(answer), last_number(gold)
            if wanted is None:
                what = f"row {example.row}: {self.gold!r}"
                raise DatasetError(problem(self.name, what, got=shown(gold), expected="a number"))
            tolerance = max(self.absolute, self.relative * abs(wanted))
            right = number is not None and abs(number - wanted) <= tolerance
        feedback = None if right else f"{self.field}: expected {shown(gold)}, got {shown(answer)}"
        return Score(value=float(right), feedback=feedback)


def last_number(value: Any) -> float | None:
    """The last finite number in a value's text, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _finite(value)
    matches = [*_NUMBER.finditer(as_text(value))]
    if not matches:
        return None
    last = matches[-1]
    size = _finite(last["digits"].replace(",", "") + (last["power"] or ""))
    return -size if size is not None and last["sign"] not in (None, "+") else size


def _finite(value: int | float | str) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
