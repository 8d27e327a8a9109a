"""An answer that a verifying call, or a check of the user's own, looks at; what that objects to is said in another try.

The last try is not checked: nothing would follow from it. An answer whose reply cannot be read stands, and so does
the one before a try that cannot be read.
Source: Madaan et al. 2023, Self-Refine. `dspy.Refine` needs a reward, and asks at temperature 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from offramp.program.forms.answers import Answer, NoAnswer, answers, note_confidence
from offramp.program.forms.checked import CheckedModule
from offramp.program.forms.own_check import OwnCheck
from offramp.program.forms.verifying import answer_texts
from offramp.space.forms import MAIN

REJECTED = "An earlier answer was rejected."
"""How the part of an instruction begins that says what was wrong."""


class VerifyThenRetry(CheckedModule):
    """One answer, checked, and up to `retries` more.

    Args:
        outputs: of the task.
    """

    def __init__(
        self, main: dspy.Module, checker: dspy.Predict | OwnCheck, *, retries: int, outputs: Sequence[str]
    ) -> None:
        super().__init__(main, checker, outputs=outputs)
        self.retries = retries

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The first answer without an objection, or the last."""
        answer = await self._ask(inputs)
        note_confidence(0.0)
        for _ in range(self.retries):
            [reply] = await self.checked(inputs, [answer.prediction])
            if reply.accepted is not False:
                note_confidence(float(reply.accepted is True))
                break
            texts = answer_texts(answer.prediction, self.outputs)
            signature = self.predictors[MAIN].signature
            text = retry_text(signature.instructions, texts, reply.objection)
            try:
                answer = await self._ask({**inputs, "signature": signature.with_instructions(text)})
            except NoAnswer:  # of this try: the answer before it remains
                break
        return answer.chosen()

    async def _ask(self, inputs: Mapping[str, Any]) -> Answer:
        [answer] = await answers(self.main, [inputs])
        assert answer is not None  # `answers` raises where there is none
        return answer


def retry_text(instruction: str, answer: Mapping[str, str], objection: str) -> str:
    """The instruction of another try, with the answer that was rejected and why."""
    said = "\n".join(f"{name}: {text}" for name, text in answer.items())
    why = f"\nObjection: {objection.strip()}" if objection.strip() else ""
    return f"{instruction.strip()}\n\n{REJECTED}\n{said}{why}\nGive a better answer."
