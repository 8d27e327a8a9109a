"""F1 over the words of answer and gold, as multisets.

Source: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text": words without case,
punctuation and the English articles. If neither has a word left the score is 1, if only one has none it is 0.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.records import Example, Score
from offramp.task.metrics._base import Ask, as_text, normal, shown

_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenF1:
    """F1 of words. A list in the gold column holds accepted answers (the best counts) unless the answer is a list."""

    name: str
    fingerprint: str
    field: str
    gold: str
    judge_models: tuple[str, ...] = ()

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """F1 in [0, 1]."""
        gold, answer = example.values.get(self.gold), outputs.get(self.field)
        several = isinstance(gold, list) and gold and not isinstance(answer, list)
        accepted = gold if several and isinstance(gold, list) else [gold]
        value = max(token_f1(as_text(answer), as_text(one)) for one in accepted)
        feedback = None if value == 1.0 else f"{self.field}: expected {shown(gold)}, got {shown(answer)}"
        return Score(value=value, feedback=feedback)


def token_f1(answer: str, gold: str) -> float:
    """F1 of two texts; symmetric, and 1.0 for equal bags of words."""
    left, right = Counter(words(answer)), Counter(words(gold))
    if not left or not right:
        return float(left == right)
    return 2 * (left & right).total() / (left.total() + right.total())


def words(text: str) -> list[str]:
    """The words that count: punctuation and symbols of any script are left out, not turned into gaps."""
    kept = "".join(char for char in normal(text) if unicodedata.category(char)[0] not in "PS")
    return [word for word in kept.split() if word not in _ARTICLES]
