"""Language models that a user's metric calls: each call goes to the metric's declared model, or nowhere.

A metric may ask a model as DSPy's own do (`SemanticF1`): with a predictor that runs on whatever model is set. That is
the `model` which the space file states for the metric. Its requests go through the caller with purpose `judge`, so they
are booked, capped and kept like those of any judge.

Invariant: a metric that asked and got no whole answer gives no score.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from offramp.errors import MetricError, OfframpError, problem
from offramp.program.engine import Send, SyncCallerEngine, recording
from offramp.program.language_model import language_model
from offramp.program.routing import Routes, Undeclared, declared, refused
from offramp.program.run_log import RunLog
from offramp.records import CallReply, CallRequest, Model, Purpose
from offramp.task.metrics import Ask
from offramp.task.metrics.judge import JudgeFailed
from offramp.task.metrics.python import CallsModel

_SETTINGS = {"disable_history": True, "warn_on_type_mismatch": False, "adapter": None}
_WITHOUT = "it calls a language model, which no budget would count"
_DO = "State the model with `model: NAME` beside its path, and describe it under `models` with `searched: false`."


class _MetricRoutes(Routes):
    """Every language model leads to the metric's own, and is refused where it names another, or there is none.

    Attributes:
        refusal: why the first call was refused; None while none was.
    """

    def __init__(self, model: Model | None, send: Send) -> None:
        super().__init__({} if model is None else {model.name: model}, send, constrained=False, strict=True)
        self.refusal: str | None = None

    def lm_for(self, lm: Any) -> Any:
        """The same language model over the caller. Raises Undeclared."""
        if isinstance(getattr(lm, "engine", None), SyncCallerEngine):
            return lm
        found = declared(lm, self._models) if self._models else _WITHOUT
        if isinstance(found, str):
            raise self.refuse(found)
        return super().lm_for(lm)

    def refuse(self, why: str) -> Undeclared:
        """The exception that ends the metric's call, kept in its words."""
        self.refusal = why.replace("the program", "it")
        return refused(self.refusal)


@asynccontextmanager
async def metric_calls(
    path: str, model: Model | None, params: Mapping[str, Any], ask: Ask | None
) -> AsyncIterator[None]:
    """Around one call of a metric. To be entered on the event loop of the caller.

    Args:
        path: of the metric, for messages.
        model: that it asks; None where the space file states none.
        ask: makes its requests; None where nothing may be spent.

    Raises:
        CallsModel: it calls a model that it may not call. JudgeFailed: what it asked has no answer that can be used.
        OfframpError: whatever `ask` raises.
    """
    log, answers = RunLog(purpose=Purpose.JUDGE, replicate=0, strict=True), model is not None and ask is not None
    routes = _MetricRoutes(model if answers else None, ask or _nothing)
    lm = language_model(model, params, ask, constrained=False) if model is not None and ask is not None else _NONE
    try:
        with recording(log), routes.followed(), dspy.context(lm=lm, **_SETTINGS):
            yield
    except (Undeclared, MetricError) as error:
        await log.finish()
        _raise_for(path, log, routes)
        if isinstance(error.__cause__, AdapterParseError) or log.program_error is not None:
            raise JudgeFailed(problem(path, _unusable(log))) from error
        raise
    finally:
        await log.finish()
    _raise_for(path, log, routes)


def _raise_for(path: str, log: RunLog, routes: _MetricRoutes) -> None:
    """Raises what went wrong with the metric's calls, also where it went on after that."""
    if routes.refusal is not None:
        raise CallsModel(problem(path, routes.refusal, do=_DO))
    if isinstance(log.infrastructure_error, OfframpError):
        raise log.infrastructure_error
    if log.infrastructure_error is not None:
        raise JudgeFailed(problem(path, f"its model was not asked to the end: {log.infrastructure_error}"))


def _unusable(log: RunLog) -> str:
    if log.program_error is not None and not log.unreadable:
        return "its model refused, or what it is asked does not fit into its context: use another `model`"
    return "the answer of its model could not be read: use another `model`, or a higher max_tokens in `params`"


async def _nothing(request: CallRequest) -> CallReply:
    raise MetricError(problem(request.model.name, "a metric asked it where nothing may be spent"))


_NONE = dspy.LM("offramp/metric", cache=False, num_retries=0)
