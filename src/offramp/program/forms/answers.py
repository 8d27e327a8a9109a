"""What all forms share: answers asked for side by side, and which of them becomes the answer of the run.

Invariants: an answer that cannot be read, or that a model refuses to give, is one answer less, and the program's own
error only where none is left; anything else that fails, fails the run. Demos are made of the chosen answer alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError, LMError

from offramp.calls.failures import ProgramError
from offramp.program.engine import run_here
from offramp.space.forms import MAIN, VERIFY


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request gave, and what DSPy noted of it for demos."""

    prediction: dspy.Prediction
    trace: Sequence[Any]

    def chosen(self) -> dspy.Prediction:
        """The answer as that of the run."""
        if (trace := dspy.settings.trace) is not None:
            trace.extend(self.trace)
        return self.prediction


class CompoundModule(dspy.Module):  # type: ignore[misc]
    """A module that makes several requests for one answer.

    Args:
        main: what gives an answer: a predictor, or a chain of thought.
        verify: the predictor that checks one; None for a form without.
    """

    def __init__(self, main: dspy.Module, verify: dspy.Predict | None = None) -> None:
        super().__init__()
        self.main, self.verify = main, verify

    @property
    def predictors(self) -> dict[str, dspy.Predict]:
        """Its predictors by name."""
        answering = self.main if isinstance(self.main, dspy.Predict) else self.main.predict
        return {MAIN: answering, **({VERIFY: self.verify} if self.verify is not None else {})}


class NoAnswer(Exception):
    """The program's own error, which is noted on the run: no answer was given, or none can be read."""


def note_confidence(confidence: float) -> None:
    """Says how sure the run is of its answer: a share of votes, or 1 or 0 by what was accepted."""
    if (log := run_here()) is not None:
        log.confidence = confidence


async def answers(module: dspy.Module, asked: Sequence[Mapping[str, Any]]) -> list[Answer | None]:
    """An answer for each of these inputs, side by side; None for one that was not given or cannot be read.

    Raises:
        NoAnswer: there is none at all.
    """
    if (log := run_here()) is not None:
        log.step += 1
    ended = await asyncio.gather(*(_answer(module, inputs) for inputs in asked), return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException) and not isinstance(one, NoAnswer):
            raise one
    found = [one if isinstance(one, Answer) else None for one in ended]
    if not any(found):
        raise NoAnswer("no answer can be read") from ended[0] if isinstance(ended[0], NoAnswer) else None
    return found


async def _answer(module: dspy.Module, inputs: Mapping[str, Any]) -> Answer:
    trace: list[Any] = []
    try:
        with dspy.context(trace=trace):
            prediction = await module.acall(**inputs)
    except (AdapterParseError, ProgramError, LMError) as error:
        if isinstance(error, LMError) and not isinstance(error.__cause__, ProgramError):
            raise
        raise NoAnswer(str(error)) from error
    return Answer(prediction=prediction, trace=trace)
