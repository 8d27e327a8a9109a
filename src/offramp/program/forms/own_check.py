"""A check of the user's own in place of a verifying call: inputs and an answer in, whether it is accepted out.

What it returns is checked every time: anything but true, false, or what is wrong as text is the function's bug, which
stops the job with the value. It asks no model by itself; what it asks through DSPy is counted as the candidate's.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from offramp.errors import MetricError, OfframpError, problem
from offramp.program.engine import run_here
from offramp.program.forms.verifying import Verified
from offramp.program.run_log import Checked
from offramp.task.metrics.rows import PREDICTION, Row

EXPECTED = "True, False, or what is wrong as text"


class OwnCheck:
    """A function `(inputs, answer) -> True | False | what is wrong`.

    Args:
        path: how the space file names it, for messages.
    """

    def __init__(self, path: str, function: Callable[..., Any]) -> None:
        self.path, self._function = path, function

    async def checked(self, inputs: Mapping[str, Any], given: Sequence[Mapping[str, Any]]) -> list[Verified]:
        """What it says of each of these answers, one after another; an app waits for it, so that its time counts."""
        found = []
        for answer in given:
            began = time.perf_counter()
            verdict = self._verdict(await self._said(inputs, answer))
            found.append(verdict)
            if (log := run_here()) is not None:
                log.checks.append(
                    Checked(
                        path=self.path, answer=answer, accepted=verdict.accepted is True, objection=verdict.objection,
                        step=log.step, began=began, seconds=time.perf_counter() - began,
                    )
                )  # fmt: skip
        return found

    async def _said(self, inputs: Mapping[str, Any], answer: Mapping[str, Any]) -> Any:
        values = {name: value for name, value in inputs.items() if name != "signature"}
        arguments = Row(values, "the inputs"), Row(answer, PREDICTION)
        try:
            if inspect.iscoroutinefunction(self._function):
                return await self._function(*arguments)
            return await asyncio.to_thread(self._function, *arguments)
        except OfframpError:
            raise
        except Exception as error:
            what = f"it raised {type(error).__name__}: {error}"
            raise MetricError(problem(self.path, what, do="Fix the function.")) from error

    def _verdict(self, said: Any) -> Verified:
        accepted, objection = said if isinstance(said, tuple) and len(said) == 2 else (said, "")
        if isinstance(accepted, str) and accepted.strip() and not objection:
            accepted, objection = False, accepted
        if not isinstance(accepted, bool | np.bool_):
            raise MetricError(
                problem(self.path, f"it returned {said!r:.200}", expected=EXPECTED, do="Fix the function.")
            )
        return Verified(accepted=bool(accepted), objection=str(objection or ""))
