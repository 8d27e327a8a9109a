"""Self-consistency: several answers, and the one on which most of them agree.

Each answer counts, for each of its outputs, how many of the answers have the same value there; the one with the most
wins, and of equals the first. With one output that is the majority; with a label and a free text the label decides.
With a check of the user's own, the answers that it accepts vote; all of them where it accepts none.
Source: Wang et al. 2022, Self-Consistency Improves Chain of Thought Reasoning. `dspy.majority` looks at one field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from offramp.ids import canonical_json
from offramp.program.forms.answers import answers, note_confidence
from offramp.program.forms.checked import CheckedModule
from offramp.program.forms.own_check import OwnCheck
from offramp.program.values import json_value


class SelfConsistency(CheckedModule):
    """So many answers to one task, side by side, and a vote.

    Args:
        checker: None where every answer votes.
        outputs: of the task, over which the vote is held.
    """

    def __init__(
        self, main: dspy.Module, checker: dspy.Predict | OwnCheck | None = None, *, count: int, outputs: Sequence[str]
    ) -> None:
        super().__init__(main, checker, outputs=outputs)
        self.count = count

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The answer that was voted for."""
        found = [one for one in await answers(self.main, [inputs] * self.count) if one is not None]
        voters = await self.accepted(inputs, found)
        given = [one.prediction for one in voters or found]
        place = elected(given, self.outputs)
        agree = votes(given, self.outputs)[place] if voters else 0
        note_confidence(agree / (self.count * len(self.outputs)))
        return (voters or found)[place].chosen()


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
