"""What forms that check answers share: a verifying call, or a function of the user's own in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from offramp.program.forms.answers import Answer, CompoundModule
from offramp.program.forms.own_check import OwnCheck
from offramp.program.forms.verifying import Verified, answer_texts, verified
from offramp.program.values import json_value


class CheckedModule(CompoundModule):
    """A module whose answers are checked.

    Args:
        checker: the predictor that verifies, or a function; None for a form that accepts every answer.
        outputs: of the task.
    """

    def __init__(self, main: dspy.Module, checker: dspy.Predict | OwnCheck | None, *, outputs: Sequence[str]) -> None:
        super().__init__(main, checker if isinstance(checker, dspy.Predict) else None)
        self._own_check = checker if isinstance(checker, OwnCheck) else None
        self.outputs = tuple(outputs)

    async def checked(self, inputs: Mapping[str, Any], given: Sequence[dspy.Prediction]) -> list[Verified]:
        """What is said of each of these answers."""
        if self._own_check is not None:
            values = [{name: json_value(one[name]) for name in self.outputs} for one in given]
            return await self._own_check.checked(inputs, values)
        assert self.verify is not None
        return await verified(self.verify, inputs, [answer_texts(one, self.outputs) for one in given])

    async def accepted(self, inputs: Mapping[str, Any], found: Sequence[Answer]) -> list[Answer]:
        """Those of the answers that are accepted, in order; equal ones are checked once."""
        if self._own_check is None and self.verify is None:
            return list(found)
        texts = [tuple(answer_texts(one.prediction, self.outputs).values()) for one in found]
        different: dict[tuple[str, ...], dspy.Prediction] = {}
        for one, text in zip(found, texts, strict=True):
            different.setdefault(text, one.prediction)
        said = await self.checked(inputs, [*different.values()])
        right = {text for text, reply in zip(different, said, strict=True) if reply.accepted}
        return [one for one, text in zip(found, texts, strict=True) if text in right]
