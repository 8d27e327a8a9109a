"""Best of several answers: the first one that a verifying call accepts.

Nothing else could choose honestly when an app runs, which has no gold answer. Equal answers are verified once.
Where none is accepted, the first answer stands, as it would without verifying.
Source: Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems. `dspy.BestOfN` asks one after another, at
temperature 1 whatever the candidate's is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy

from offramp.program.forms.answers import CompoundModule, answers
from offramp.program.forms.verifying import answer_texts, verified


class BestOf(CompoundModule):
    """So many answers to one task, side by side, then a verifying call for each different one, side by side.

    Args:
        outputs: of the task.
    """

    verify: dspy.Predict

    def __init__(self, main: dspy.Module, verify: dspy.Predict, *, count: int, outputs: Sequence[str]) -> None:
        super().__init__(main, verify)
        self.count, self.outputs = count, tuple(outputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The chosen answer."""
        found = [one for one in await answers(self.main, [inputs] * self.count) if one is not None]
        texts = [answer_texts(one.prediction, self.outputs) for one in found]
        different = {tuple(text.values()): index for index, text in reversed([*enumerate(texts)])}
        places = sorted(different.values())
        said = await verified(self.verify, inputs, [texts[place] for place in places])
        accepted = [place for place, reply in zip(places, said, strict=True) if reply.accepted]
        return found[accepted[0] if accepted else 0].chosen()
