"""Best of several answers: the first one that a verifying call, or a check of the user's own, accepts.

Nothing else could choose honestly when an app runs, which has no gold answer. Equal answers are verified once.
Where none is accepted, the first answer stands, as it would without verifying.
Source: Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems. `dspy.BestOfN` asks one after another, at
temperature 1 whatever the candidate's is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy

from offramp.program.forms.answers import answers, note_confidence
from offramp.program.forms.checked import CheckedModule
from offramp.program.forms.own_check import OwnCheck


class BestOf(CheckedModule):
    """So many answers to one task, side by side, then a check of each different one.

    Args:
        outputs: of the task.
    """

    def __init__(
        self, main: dspy.Module, checker: dspy.Predict | OwnCheck, *, count: int, outputs: Sequence[str]
    ) -> None:
        super().__init__(main, checker, outputs=outputs)
        self.count = count

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The chosen answer."""
        found = [one for one in await answers(self.main, [inputs] * self.count) if one is not None]
        accepted = await self.accepted(inputs, found)
        note_confidence(float(bool(accepted)))
        return (accepted or found)[0].chosen()
