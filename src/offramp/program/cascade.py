"""A rule of several promoted programs as an app calls it: one `dspy.Module`, sync and async.

Invariant: what answers is one of the members, unchanged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from offramp.calls.failures import CallError
from offramp.program.background import BACKGROUND
from offramp.program.deployed import AnswerError, DeployedProgram
from offramp.study.domain.cascade_rule import CascadeRule, answer_key, compared_fields

_log = logging.getLogger("offramp")


class CascadeProgram(dspy.Module):  # type: ignore[misc]
    """A cascade or a router.

    Args:
        members: in the order of the rule's.
    """

    def __init__(self, rule: CascadeRule, members: Sequence[DeployedProgram]) -> None:
        super().__init__()
        self._rule, self._members = rule, tuple(members)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The answer. Raises as `DeployedProgram` does, of the member that answers last."""
        return BACKGROUND.wait(self._answer(inputs))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The answer, without blocking the caller's event loop."""
        return await BACKGROUND.awaited(self._answer(inputs))

    async def _answer(self, inputs: Mapping[str, Any]) -> dspy.Prediction:
        if self._rule.kind != "agreement":
            return await self._members[self._rule.member_for(inputs)].answer(inputs)
        first, second, third = self._members
        one, other = await asyncio.gather(_or_none(first, inputs), _or_none(third, inputs))
        if one is not None and other is not None and self._key(one) == self._key(other):
            return one
        return await second.answer(inputs)

    def _key(self, prediction: dspy.Prediction) -> str:
        outputs = dict(prediction.items())
        return answer_key(outputs, compared_fields(self._rule.compared, tuple(outputs)))


async def _or_none(program: DeployedProgram, inputs: Mapping[str, Any]) -> dspy.Prediction | None:
    """The answer; None where there is none that can be used, which no other agrees with."""
    try:
        return await program.answer(inputs)
    except (AnswerError, CallError) as error:
        _log.warning("a member of a cascade gave no answer (%s); asking the next", error)
        return None
