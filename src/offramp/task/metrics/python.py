"""A function of the user's as a metric, also one that was written for DSPy's optimisers.

It may be `(example, prediction)`, DSPy's `(example, pred, trace=None)`, GEPA's five arguments, or an object that is
called so, such as `dspy.evaluate.SemanticF1`. A score may stand alone, with feedback, or in a `dspy.Prediction`.

What it returns is checked every time: text, null, NaN or 1.5 is the function's bug and stops the job with the row and
the value; it is never a zero for the candidate. A plain function runs in one thread of its own, so that a slow one does
not delay requests in flight and needs no locks.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import math
import numbers
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offramp.errors import MetricError, OfframpError, problem
from offramp.records import CallRequest, Example, Model, Purpose, Score
from offramp.task.metrics._base import Ask
from offramp.task.metrics.rows import PREDICTION, Answer, Missing, Row

_SLACK = 1e-9
_NOT_OWN = (str(Path(__file__).parents[2]), sysconfig.get_path("stdlib"), "<")
MOST_AT_ONCE = 32
"""Calls at the same time of a metric that asks a model: it waits most of the time."""


class CallsModel(MetricError):
    """A metric calls a language model that it may not call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """A function `(example, prediction) -> score`.

    Attributes:
        earlier_fingerprint: the one that earlier studies have: it knew of no file but the function's own.
        path: how the space file names it, for messages.
        more: how many further arguments it needs (trace, pred_name, pred_trace); they are None when it scores.
        by_predictor: whether it can say what one predictor did wrong.
        inputs: names of the task's inputs.
        model: that it asks; None where it asks none. params: request parameters for it.
        executor: one thread, so that calls of a plain function never overlap, unless it asks a model.
    """

    name: str
    fingerprint: str
    earlier_fingerprint: str
    path: str
    function: Callable[..., Any]
    executor: Executor
    more: int = 0
    by_predictor: bool = False
    inputs: tuple[str, ...] = ()
    model: Model | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judge_models(self) -> tuple[str, ...]:
        """The model that it asks, if any."""
        return () if self.model is None else (self.model.name,)

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """What the function returns. Raises MetricError if it raises, or returns something that is not a score."""
        answer = outputs if isinstance(outputs, Answer) else Answer(outputs)
        row = Row(example.values, "the row", inputs=self.inputs)
        prediction = Row(answer.as_given, PREDICTION, beside=answer.beside, methods=answer.methods())
        calling = nullcontext() if answer.calling is None else answer.calling(self.path, self.model, self.params, ask)
        async with calling:
            try:
                returned = await self._call(row, prediction, *self._more(answer))
            except OfframpError:
                raise
            except (Exception, SystemExit) as error:
                raised = f"it raised {type(error).__name__}: {error}{_line_of(error)}"
                what = f"row {example.row}: {error if isinstance(error, Missing) else raised}"
                raise MetricError(problem(self.path, what, do="Fix the function.")) from error
        return _score(returned, self.path, example.row)

    def request(self, example: Example, outputs: Mapping[str, Any]) -> CallRequest:
        """About what its model is asked about one answer, for estimates: what it asks in truth, only its code knows."""
        if self.model is None:
            raise MetricError(problem(self.path, "it asks no model"))
        text = json.dumps([dict(example.values), dict(outputs)], ensure_ascii=False, default=str)
        messages = ({"role": "user", "content": text},)
        return CallRequest(model=self.model, messages=messages, params=dict(self.params), purpose=Purpose.JUDGE)

    def _more(self, answer: Answer) -> list[Any]:
        """Trace, name of a predictor and its part of the trace where it is asked about that one."""
        if answer.predictor is None or not self.by_predictor:
            return [None] * self.more
        trace = [(name, Row(given, "the inputs"), Row(gave, "the outputs")) for name, given, gave in answer.steps]
        return [trace, answer.predictor, [step for step in trace if step[0] == answer.predictor]]

    async def _call(self, *arguments: Any) -> Any:
        if is_coroutine_function(self.function):
            return await self.function(*arguments)
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        returned = await loop.run_in_executor(self.executor, run, self.function, *arguments)
        return await returned if inspect.isawaitable(returned) else returned


def _line_of(error: BaseException) -> str:
    """The line of the user's own code that raised, such as ` (metric.py:12)`; empty where none did."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if not frame.filename.startswith(_NOT_OWN) and "site-packages" not in frame.filename
    ]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether it is one, or an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _score(returned: Any, path: str, row: int) -> Score:
    """A score alone, `(score, feedback)`, or what has both by name: a `dspy.Prediction` or a mapping."""
    value, feedback = returned, None
    if isinstance(returned, tuple) and len(returned) == 2:
        value, feedback = returned
    elif hasattr(returned, "keys") and "score" in returned.keys():  # noqa: SIM118 (DSPy's records have no mapping's `in`)
        value, feedback = returned["score"], returned.get("feedback")
    number = _number(value)
    if number is None or not (feedback is None or isinstance(feedback, str)):
        expected = "a number in [0, 1], a boolean, (number, feedback), or dspy.Prediction(score=..., feedback=...)"
        what = f"row {row}: what it returned"
        raise MetricError(problem(path, what, got=_Shown(returned), expected=expected, do="Fix the function."))
    return Score(value=number, feedback=feedback)


def _number(value: Any) -> float | None:
    """The value as a float in [0, 1] (rounding errors removed), or None."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a numpy scalar
    if not isinstance(value, numbers.Real):
        return None
    number = float(value)
    if not math.isfinite(number) or not -_SLACK <= number <= 1 + _SLACK:
        return None
    return min(1.0, max(0.0, number))


class _Shown:
    """Shows any value, including None, by its own repr, cut short."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        return repr(self._value)[:200]
