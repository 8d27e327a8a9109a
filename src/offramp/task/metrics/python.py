"""A function of the user's as a metric.

What it returns is checked every time: text, null, NaN or 1.5 is the function's bug and stops the job with the row and
the value; it is never a zero for the candidate. A plain function runs in one thread of its own, so that a slow one does
not delay requests in flight and needs no locks.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from offramp.errors import MetricError, OfframpError, problem
from offramp.records import Example, Score
from offramp.task.metrics._base import Ask

_SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """A function `(example, prediction) -> float, bool, or (float, feedback)`.

    Attributes:
        path: how the space file names it, for messages.
        executor: one thread; calls of a plain function never overlap.
    """

    name: str
    fingerprint: str
    path: str
    function: Callable[..., Any]
    executor: Executor
    judge_models: tuple[str, ...] = ()

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """What the function returns. Raises MetricError if it raises, or returns something that is not a score."""
        try:
            returned = await self._call(_read_only(example.values), _read_only(outputs))
        except OfframpError:
            raise
        except (Exception, SystemExit) as error:
            what = f"row {example.row}: it raised {type(error).__name__}: {error}"
            raise MetricError(problem(self.path, what, do="Fix the function.")) from error
        return _score(returned, self.path, example.row)

    async def _call(self, example: Mapping[str, Any], prediction: Mapping[str, Any]) -> Any:
        if is_coroutine_function(self.function):
            return await self.function(example, prediction)
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        returned = await loop.run_in_executor(self.executor, run, self.function, example, prediction)
        return await returned if inspect.isawaitable(returned) else returned


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether it is one, or an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _read_only(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A copy: lists inside could be changed even through a read-only mapping."""
    return MappingProxyType(copy.deepcopy(dict(values)))


def _score(returned: Any, path: str, row: int) -> Score:
    value, feedback = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    number = _number(value)
    if number is None or not (feedback is None or isinstance(feedback, str)):
        expected = "a number in [0, 1], a boolean, or (number, feedback)"
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
