"""One candidate made runnable: give it an example, get an outcome.

Invariant: an outcome says whose doing it is. A parsed answer has outputs; the program's own fault (unparsable answer,
refusal, prompt too long, ValueError in one's own module) has a fault; anything else that went wrong is a failure, and
nobody may score it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from offramp.calls.failures import CallError, ProgramFault
from offramp.program.demos import NearestDemos, choose_demos, demo_row
from offramp.program.engine import RunLog, Send, language_model, recording
from offramp.program.module import ModuleFactory, build_module, predictors_of
from offramp.program.plain import PlainAdapter
from offramp.records import CallReply, Candidate, DemoKind, Example, Model, Purpose, Usage
from offramp.task.fields import TaskFields

Demos = Mapping[str, list[dict[str, Any]]]
"""Demos by predictor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run gave.

    Attributes:
        outputs: the predicted fields as JSON values; None unless the answer was parsed.
        fault: the program's own fault in words; None when there was none.
        failure: what failed outside of the program; None when nothing did.
        replies: every reply it got, in order.
        trace: (predictor, its inputs, its outputs) in order, for bootstrapping.
    """

    outputs: Mapping[str, Any] | None = None
    fault: str | None = None
    failure: BaseException | None = None
    replies: tuple[CallReply, ...] = ()
    trace: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = ()


class Program:
    """A candidate over a task. Make it on the event loop of the ring; `run` may be awaited many times at once."""

    def __init__(
        self, candidate: Candidate, *, fields: TaskFields, model: Model, send: Send, factory: ModuleFactory | None = None,
        demos: Demos | None = None, nearest: NearestDemos | None = None,
    ) -> None:  # fmt: skip
        """`demos` are the static ones; `nearest` gives `demo_count` of them per example for that kind."""
        self.candidate = candidate
        self._fields, self._nearest, self._own = fields, nearest, factory is not None
        self._module = build_module(candidate, fields, factory, demos or {})
        self._lm = language_model(model, candidate.request_params, send, constrained=candidate.constrained)
        self._adapter = _adapter(candidate)

    async def run(self, example: Example, *, purpose: Purpose = Purpose.PROGRAM, replicate: int = 0) -> Outcome:
        """Runs the program on one example. Raises nothing but cancellation: every end is an outcome."""
        log = RunLog(purpose=purpose, replicate=replicate)
        module = self._module_for(example)
        inputs = {name: example.values[name] for name in self._fields.inputs}
        trace: list[Any] = []
        try:
            with recording(log), dspy.context(lm=self._lm, adapter=self._adapter, trace=trace, disable_history=True):
                prediction = await _call(module, inputs)
            outputs = self._outputs(prediction)
        except Exception as error:  # becomes the record of this run
            return _ended(error, log)
        if log.failure is not None and not isinstance(log.failure, ProgramFault):
            return Outcome(failure=log.failure, replies=tuple(log.replies))
        return Outcome(outputs=outputs, replies=tuple(log.replies), trace=_named(trace, module))

    def _module_for(self, example: Example) -> dspy.Module:
        if self._nearest is None and not self._own:
            return self._module
        module = self._module.deepcopy()
        if self._nearest is not None:
            chosen = self._nearest.nearest(example, self.candidate.demo_count)
            for predictor in predictors_of(module).values():
                predictor.demos = demo_rows(chosen, predictor)
        return module

    def _outputs(self, prediction: Any) -> dict[str, Any]:
        missing = [name for name in self._fields.outputs if name not in prediction]
        if missing:
            raise ValueError(f"the program gave no {missing}")
        return {name: _json_value(prediction[name]) for name in self._fields.outputs}


def _ended(error: Exception, log: RunLog) -> Outcome:
    """Whose doing an exception is. The ring's own word counts before what DSPy made of it."""
    cause = log.failure or error
    replies = tuple(log.replies)
    if isinstance(cause, ProgramFault):
        return Outcome(fault=str(cause), replies=(*replies, *_of_fault(cause)))
    if log.failure is not None or isinstance(cause, CallError):
        return Outcome(failure=cause, replies=replies)
    if isinstance(cause, AdapterParseError):
        return Outcome(fault=f"unparsable answer: {_shown(cause.lm_response)}", replies=replies)
    if isinstance(cause, ValueError):
        return Outcome(fault=f"{type(cause).__name__}: {_shown(str(cause))}", replies=replies)
    return Outcome(failure=cause, replies=replies)


def _of_fault(fault: ProgramFault) -> tuple[CallReply, ...]:
    """What a refused request took, where the provider said so: a production run would pay and wait for it too."""
    if fault.latency_s is None:
        return ()
    return (
        CallReply(
            text="",
            finish_reason="refused",
            usage=fault.usage or Usage(),
            latency_s=fault.latency_s,
            cached=fault.cached,
        ),
    )


def _shown(text: Any, limit: int = 200) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= limit else text[:limit] + "…"


async def _call(module: dspy.Module, inputs: Mapping[str, Any]) -> Any:
    if hasattr(module, "aforward"):
        return await module.acall(**inputs)
    return await dspy.asyncify(module)(**inputs)


def _adapter(candidate: Candidate) -> dspy.Adapter:
    if candidate.format == "plain":
        return PlainAdapter(constrained=candidate.constrained)
    if candidate.format == "json":
        return dspy.JSONAdapter(use_native_function_calling=False)
    return dspy.ChatAdapter(use_json_adapter_fallback=False)


def _json_value(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _named(trace: Sequence[Any], module: dspy.Module) -> tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...]:
    names = {id(predictor): name for name, predictor in predictors_of(module).items()}
    return tuple(
        (names[id(predictor)], dict(inputs), {k: _json_value(v) for k, v in dict(prediction).items()})
        for predictor, inputs, prediction in trace
        if id(predictor) in names
    )


def demo_rows(examples: Sequence[Example], predictor: dspy.Predict) -> list[dict[str, Any]]:
    """The examples as demos of this predictor; none where the data has not all of its fields.

    A `reasoning` field may be missing: the demo then shows the answer alone.
    """
    names = [name for name in predictor.signature.fields if name != "reasoning"]
    rows = [demo_row(example, names) for example in examples]
    return [row for row in rows if row is not None]


def labelled_demos(
    candidate: Candidate, *, fields: TaskFields, factory: ModuleFactory | None, train: Sequence[Example],
    balance_by: str | None,
) -> Demos:  # fmt: skip
    """Static demos by predictor for the kinds that need no call (`random`, `balanced`)."""
    if candidate.demo_kind not in (DemoKind.RANDOM, DemoKind.BALANCED):
        return {}
    chosen = choose_demos(candidate.demo_kind, candidate.demo_count, candidate.demo_seed, train, balance_by)
    module = build_module(candidate, fields, factory, {})
    return {name: demo_rows(chosen, predictor) for name, predictor in predictors_of(module).items()}
