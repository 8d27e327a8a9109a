"""A rule of several promoted programs as an app calls it: one `dspy.Module`, sync and async.

Invariant: what answers is one of the members, unchanged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import dspy

from offramp.calls.failures import CallError
from offramp.program.background import BACKGROUND
from offramp.program.deployed import AnswerError, DeployedProgram
from offramp.program.program import Outcome
from offramp.program.run_log import virtual_cost
from offramp.study.domain.cascade_rule import CascadeRule, answer_key, compared_fields

Work = Callable[[], Coroutine[Any, Any, Outcome]]
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
        return BACKGROUND.wait(self._answer(inputs, self._prepared(inputs)))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The answer, without blocking the caller's event loop."""
        return await BACKGROUND.awaited(self._answer(inputs, self._prepared(inputs)))

    def _prepared(self, inputs: Mapping[str, Any]) -> list[Work]:
        return [member.prepared(inputs) for member in self._members]

    async def _answer(self, inputs: Mapping[str, Any], works: Sequence[Work]) -> dspy.Prediction:
        rule = self._rule
        if rule.kind in ("pair", "router"):
            return (await works[rule.member_for(inputs)]()).prediction
        first, second, *third = works
        one, *other = await asyncio.gather(*(_or_none(work) for work in (first, *third)))
        if one is not None and not self._doubtful(inputs, one, other[0] if other else None):
            return one.prediction
        return (await second()).prediction

    def _doubtful(self, inputs: Mapping[str, Any], one: Outcome, other: Outcome | None) -> bool:
        """Whether A's answer is not taken."""
        if self._rule.kind == "agreement":
            return other is None or self._key(one) != self._key(other)
        spent = virtual_cost(one.exchanges) if self._rule.of == "cost_usd" else one.latency_s
        return self._rule.escalates(inputs, spent)

    def _key(self, outcome: Outcome) -> str:
        outputs = outcome.outputs or {}
        return answer_key(outputs, compared_fields(self._rule.compared, tuple(outputs)))


async def _or_none(work: Work) -> Outcome | None:
    """What came of it; None where there is no answer that can be used."""
    try:
        return await work()
    except (AnswerError, CallError) as error:
        _log.warning("a member of a cascade gave no answer (%s); asking the next", error)
        return None
