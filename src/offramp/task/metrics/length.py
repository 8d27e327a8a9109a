"""1 when the answer is short (and long enough); falls linearly to 0 at twice the most words, and at none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.errors import DatasetError, problem
from offramp.records import Example, Score
from offramp.task.metrics._base import Ask, as_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """Words are what white space separates."""

    name: str
    fingerprint: str
    field: str
    max_words: int | None
    max_words_from: str | None
    min_words: int
    judge_models: tuple[str, ...] = ()

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """1.0 within the bounds, less outside."""
        n, most = len(as_text(outputs.get(self.field)).split()), self.max_words
        if self.max_words_from is not None:
            given = example.values.get(self.max_words_from)
            most = word_limit(given)
            if most is None:
                what = f"row {example.row}: {self.max_words_from!r}"
                raise DatasetError(problem(self.name, what, got=given, expected="a whole number from 1"))
        if n < self.min_words:
            text = f"{self.field} has {n} words, expected at least {self.min_words}"
            return Score(value=n / self.min_words, feedback=text)
        if most is not None and n > most:
            text = f"{self.field} has {n} words, expected at most {most}"
            return Score(value=max(0.0, 2 - n / most), feedback=text)
        return Score(value=1.0)


def word_limit(value: Any) -> int | None:
    """A whole number from 1 (also as text, as a CSV has it), or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if number >= 1 and number.is_integer() else None
