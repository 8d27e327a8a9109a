"""A rule of several programs as one: a cascade that asks a second where the first may be wrong, or a router.

Invariant: what answers is one of the members, unchanged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy

from offramp.calls.failures import CallError
from offramp.errors import UsageError, problem
from offramp.program.background import BACKGROUND
from offramp.program.deployed import AnswerError, DeployedProgram
from offramp.program.free_runs import FreeRuns
from offramp.program.program import Outcome, Program
from offramp.program.run_log import virtual_cost
from offramp.records import Candidate, Example, Purpose
from offramp.study.domain.cascade_rule import CascadeRule, Decisions

Run = Callable[[int], Awaitable[Outcome]]
"""Runs the member at this position."""
_log = logging.getLogger("offramp")


async def run_rule(decisions: Decisions, inputs: Mapping[str, Any], run: Run, *, strict: bool = False) -> Outcome:
    """What the rule gives for these inputs, with what every member that ran has asked.

    Args:
        strict: a member that fails for reasons outside of its program fails the run, as when it was measured; else
            another member answers in its place.
    """
    rule = decisions.rule
    if rule.kind in ("pair", "router"):
        first, *others = decisions.order_for(inputs)
        outcome = await run(first)
        for place in () if strict else others:
            if outcome.infrastructure_error is None:
                break
            outcome = _joined(await _instead(outcome, run, place), [outcome])
        return outcome
    one, *other = await asyncio.gather(*(run(place) for place in (0, *((2,) if rule.kind == "agreement" else ()))))
    failed = next((part for part in (one, *other) if part.infrastructure_error is not None), None)
    if strict and failed is not None:
        return _joined(failed, [part for part in (one, *other) if part is not failed])
    so_far = _joined(one, other)
    if not _doubtful(decisions, inputs, one, *other):
        return so_far
    answer = one
    for stage, place in enumerate(rule.stages[1:], start=1):
        answer, last = await _instead(answer, run, place), place == rule.stages[-1]
        if (error := answer.infrastructure_error) is not None and not strict and (not last or _usable(so_far)):
            if last:
                _log.warning("the last member of a cascade gave no answer (%s); taking the one before", error)
            so_far = _joined(so_far, [answer])
            continue
        so_far = _joined(answer, [so_far], after=True)
        if last or (strict and error is not None) or not _doubtful(decisions, inputs, answer, stage=stage):
            break
    return so_far


async def _instead(outcome: Outcome, run: Run, place: int) -> Outcome:
    if (error := outcome.infrastructure_error) is not None:
        _log.warning("a member of a cascade gave no answer (%s); asking the next", error)
    return await run(place)


def _usable(outcome: Outcome) -> bool:
    return outcome.infrastructure_error is None and outcome.program_error is None and outcome.outputs is not None


def _doubtful(
    decisions: Decisions, inputs: Mapping[str, Any], one: Outcome, other: Outcome | None = None, *, stage: int = 0
) -> bool:
    """Whether the answer of this stage is not taken."""
    if not _usable(one):
        return True
    if other is not None:
        return not _usable(other) or not decisions.agree(one.outputs or {}, other.outputs or {})
    of = decisions.rule.measure(stage)
    measured = {"cost_usd": virtual_cost(one.exchanges), "confidence": one.confidence}.get(str(of), one.latency_s)
    return decisions.escalates(inputs, measured, stage=stage)


def _joined(answer: Outcome, others: Sequence[Outcome], *, after: bool = False) -> Outcome:
    """The answer with what the others asked before it, at the same time or, with `after`, before it began."""
    seconds = [part.latency_s for part in others if part.latency_s is not None]
    latency_s = answer.latency_s
    if latency_s is not None and seconds:
        latency_s = latency_s + max(seconds) if after else max(latency_s, *seconds)
    exchanges = tuple(exchange for part in others for exchange in part.exchanges) + answer.exchanges
    return replace(answer, exchanges=exchanges, latency_s=latency_s)


class Cascade:
    """A promoted rule in the place of a `Program`: of an app, or of an evaluation.

    Args:
        members: in the order of the rule's.
        strict: as for `run_rule`.
    """

    def __init__(self, rule: CascadeRule, members: Sequence[Program], *, strict: bool = False) -> None:
        self._decisions, self._members, self._strict = Decisions(rule), tuple(members), strict
        self.module = _Members(self._members)

    @property
    def candidate(self) -> Candidate:
        """Of the first member."""
        return self._members[0].candidate

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self._members[0].inputs

    @property
    def required(self) -> tuple[str, ...]:
        """Inputs that an app has to give."""
        return self._members[0].required

    @property
    def own(self) -> bool:
        """Whether its members are modules of the user's own."""
        return self._members[0].own

    def set_free_runs(self, free: FreeRuns) -> None:
        """As `Program.set_free_runs`."""
        for member in self._members:
            member.set_free_runs(free)

    def for_dspy(self) -> dspy.Module:
        """Raises UsageError: DSPy has no state of a rule."""
        do = "Promote the members by themselves, with `offramp promote STUDY --pick ID`, and save those."
        raise UsageError(problem("save", "a cascade has several programs and a rule, which DSPy cannot save", do=do))

    async def run(self, example: Example, *, purpose: Purpose = Purpose.PROGRAM, replicate: int = 0) -> Outcome:
        """Runs the members that the rule asks for. Raises nothing but cancellation: every end is an outcome."""

        async def run(place: int) -> Outcome:
            return await self._members[place].run(example, purpose=purpose, replicate=replicate)

        return await run_rule(self._decisions, example.values, run, strict=self._strict)


class _Members(dspy.Module):  # type: ignore[misc]
    """The members' modules, so that their predictors have names: `first.main` and so on."""

    def __init__(self, members: Sequence[Program]) -> None:
        super().__init__()
        for place, member in enumerate(members, start=1):
            setattr(self, f"member_{place}", member.module)


class CascadeProgram(dspy.Module):  # type: ignore[misc]
    """A rule from a file over programs that were promoted by themselves.

    Args:
        members: in the order of the rule's.
    """

    def __init__(self, rule: CascadeRule, members: Sequence[DeployedProgram]) -> None:
        super().__init__()
        self._decisions, self._members = Decisions(rule), tuple(members)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The answer. Raises as `DeployedProgram` does, of the member that answers last."""
        return BACKGROUND.wait(self._answer(inputs, self._prepared(inputs)))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The answer, without blocking the caller's event loop."""
        return await BACKGROUND.awaited(self._answer(inputs, self._prepared(inputs)))

    def _prepared(self, inputs: Mapping[str, Any]) -> list[Callable[[], Coroutine[Any, Any, Outcome]]]:
        return [member.prepared(inputs) for member in self._members]

    async def _answer(
        self, inputs: Mapping[str, Any], works: Sequence[Callable[[], Coroutine[Any, Any, Outcome]]]
    ) -> dspy.Prediction:
        async def run(place: int) -> Outcome:
            try:
                return await works[place]()
            except AnswerError as error:
                return Outcome(program_error=str(error), crash=error)
            except CallError as error:
                return Outcome(infrastructure_error=error)

        outcome = await run_rule(self._decisions, inputs, run)
        if (error := outcome.crash or outcome.infrastructure_error) is not None:
            raise error
        return outcome.prediction
