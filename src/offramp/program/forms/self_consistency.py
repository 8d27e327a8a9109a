"""Self-consistency: several answers, and the one on which most of them agree.

Each answer counts, for each of its outputs, how many of the answers have the same value there; the one with the most
wins, and of equals the first. With one output that is the majority; with a label and a free text the label decides.
Source: Wang et al. 2022, Self-Consistency Improves Chain of Thought Reasoning. `dspy.majority` looks at one field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from offramp.ids import canonical_json
from offramp.program.forms.answers import CompoundModule, answers, note_confidence
from offramp.program.values import json_value


class SelfConsistency(CompoundModule):
    """So many answers to one task, side by side, and a vote.

    Args:
        outputs: of the task, over which the vote is held.
    """

    def __init__(self, main: dspy.Module, *, count: int, outputs: Sequence[str]) -> None:
        super().__init__(main)
        self.count, self.outputs = count, tuple(outputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The answer that was voted for."""
        found = [one for one in await answers(self.main, [inputs] * self.count) if one is not None]
        given = [one.prediction for one in found]
        place = elected(given, self.outputs)
        note_confidence(votes(given, self.outputs)[place] / (self.count * len(self.outputs)))
        return found[place].chosen()


def elected(given: Sequence[Mapping[str, Any]], outputs: Sequence[str]) -> int:
    """The place of the answer that agrees most with the others, summed over the outputs; of equals the first."""
    agreement = votes(given, outputs)
    return agreement.index(max(agreement))


def votes(given: Sequence[Mapping[str, Any]], outputs: Sequence[str]) -> list[int]:
    """By answer: how many of the answers, itself included, have its value, summed over the outputs."""
    values = [[value_key(one[name]) for name in outputs] for one in given]
    counts = [Counter(column) for column in zip(*values, strict=True)]
    return [sum(count[value] for count, value in zip(counts, row, strict=True)) for row in values]


def value_key(value: Any) -> str:
    """Equal for values that count as the same: texts but for case and spacing, numbers by value, the rest as JSON."""
    plain = json_value(value)
    if isinstance(plain, str):
        return "text " + " ".join(plain.split()).casefold()
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    return canonical_json(plain)
