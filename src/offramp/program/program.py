"""One candidate made runnable: give it an example, get an outcome.

Invariant: an outcome says who is to blame. A parsed answer has outputs. A program error is the candidate's: an answer
that cannot be parsed, a request that was refused or too long, a ValueError that the user's own module raised, and
whatever follows from one of those; once a model has answered, any exception of the module's own code or of DSPy's
(`crash`), but for those of the machine: a network, a file system, an interpreter. Anything else that went wrong is an
infrastructure error, also where the program swallowed it, and is never scored.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import dspy
import pydantic
from dspy.utils.exceptions import AdapterParseError

from offramp import media
from offramp.errors import OfframpError, UsageError, problem
from offramp.program.adapters import adapter_of
from offramp.program.as_given import as_given
from offramp.program.code import class_files
from offramp.program.copies import copy_for_run
from offramp.program.critical_path import Span, critical_path_s, steps_s
from offramp.program.demos import NearestDemos, choose_demos, demo_row
from offramp.program.engine import Send, recording
from offramp.program.forms.answers import CompoundModule
from offramp.program.inputs import as_declared, defaulted, inputs_of
from offramp.program.language_model import language_model
from offramp.program.module import ModuleFactory, build_module, declared_inputs, entry_of, predictors_of, shown_demos
from offramp.program.plain import REASONING
from offramp.program.processes import note_refused
from offramp.program.routing import Routes, Undeclared, building
from offramp.program.run_log import Checked, Exchange, NoRequest, RunLog, mean_logprob
from offramp.program.saved import led, plain_model
from offramp.program.threads import in_a_thread
from offramp.program.tools import RunTools, ToolCall, ToolResults
from offramp.program.values import cut, json_value, own_place, plain_text
from offramp.records import CallReply, Candidate, DemoKind, Example, Model, Purpose
from offramp.task.fields import TaskFields

if TYPE_CHECKING:
    from offramp.program.free_runs import FreeRuns

_SETTINGS: dict[str, Any] = {
    "warn_on_type_mismatch": False, "async_max_workers": 1024, "send_stream": None,
    "stream_listeners": [],
}  # fmt: skip
"""Of DSPy, for each run. How many programs run in threads at a time is for the evaluator to say, not for DSPy (8). An
answer is read whole: under `dspy.streamify` it comes in one piece."""

NO_REQUEST = (
    "the program answered without a request through DSPy, so that nothing was counted (a cache, a process or a client "
    "of its own?). Ask models by dspy.LM or offramp.lm(NAME)"
)

Trace = tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...]
"""(predictor, its inputs, its outputs) in order."""

Demos = Mapping[str, list[dict[str, Any]]]
"""Demos by predictor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run gave.

    Attributes:
        outputs: the predicted fields as JSON values; None unless the answer was parsed.
        prediction: what the program returned, its values of the types that it declares; None as `outputs`.
        objects: the outputs as a module of the user's own gave them; empty for other programs.
        program_error: the program's own error in words; None when there was none.
        unreadable: whether the program error is an answer that could not be read.
        crash: the exception, where the program error is one that the user's own code does not raise on purpose, or
            raises before any request.
        infrastructure_error: what failed outside of the program; None when nothing did.
        latency_s: how long an app would wait for it; None without a reply.
        exchanges: every reply it got, in order, with its request.
        trace: what each predictor was given and gave, for bootstrapping.
        tools: the calls of tools whose results were replayed.
        confidence: as in `Result`. checks: what a check of the user's own said of its answers.
    """

    outputs: Mapping[str, Any] | None = None
    prediction: dspy.Prediction | None = None
    objects: Mapping[str, Any] = field(default_factory=dict)
    program_error: str | None = None
    unreadable: bool = False
    crash: BaseException | None = None
    infrastructure_error: BaseException | None = None
    latency_s: float | None = None
    exchanges: tuple[Exchange, ...] = ()
    trace: Trace = ()
    tools: tuple[ToolCall, ...] = ()
    confidence: float | None = None
    checks: tuple[Checked, ...] = ()

    @property
    def replies(self) -> tuple[CallReply, ...]:
        """Every reply it got, in order."""
        return tuple(exchange.reply for exchange in self.exchanges)


class Program:
    """A candidate over a task. Make it on the event loop of the caller; `run` may be awaited many times at once."""

    def __init__(
        self, candidate: Candidate, *, fields: TaskFields, model: Model, send: Send,
        factory: ModuleFactory | None = None, demos: Demos | None = None, nearest: NearestDemos | None = None,
        models: Mapping[str, Model] | None = None, strict: bool = True, tool_results: ToolResults | None = None,
    ) -> None:  # fmt: skip
        """Make it.

        Args:
            demos: the static ones.
            nearest: gives `demo_count` of them per example for that kind.
            models: others that a module of one's own may call, by name.
            strict: whether calls of models that are not among them are refused, and runs without any call failures.
            tool_results: where results of the module's tools are recorded, and replayed from; None for neither.
        """
        self.candidate = candidate
        self._fields, self._nearest, self._own = fields, nearest, factory is not None
        self._tool_results = tool_results
        self._free: FreeRuns | None = None
        self._module = build_module(candidate, fields, factory, demos or {})
        self._names = _names_in(self._module)
        self._declared = declared_inputs(self._module) if self._own else None
        self._defaults = defaulted(self._module, entry_of(self._module) or "forward") if self._own else frozenset()
        given = as_given(self._module)
        params = {**given.params.get(model.name, {}), **candidate.request_params}
        able = given.abilities.get(model.name)
        self._lm = language_model(model, params, send, constrained=candidate.constrained, abilities=able)
        self._history = {"disable_history": not self._own} if strict or not self._own else {}  # an app says it itself
        self._adapter = adapter_of(candidate, strict=fields.strict)
        self._runs_under = given.adapter or self._adapter
        known = {**(models or {}), model.name: model}
        own_models = {p: known[name] for p, name in candidate.models.items() if name in known}
        self._known = known
        self._predictor_models = {**dict.fromkeys(candidate.predictor_params, model), **own_models}
        for p, predictor in predictors_of(self._module).items():
            if (asked := self._predictor_models.get(p)) is not None:
                predictor.lm = language_model(asked, candidate.params_of(p), send, constrained=candidate.constrained)
        files = class_files(self._module) if self._own else ()
        self._routes = Routes(
            known if self._own else {}, send, constrained=candidate.constrained, strict=strict, files=files,
            abilities=given.abilities,
        )  # fmt: skip

    def set_free_runs(self, free: FreeRuns) -> None:
        """Has a job say which runs without a request count; without it none does where runs are strict."""
        self._free = free

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self._fields.inputs

    @property
    def required(self) -> tuple[str, ...]:
        """Inputs that an app has to give: those that a module of the user's own has no default for."""
        return tuple(name for name in self.inputs if name not in self._defaults)

    @property
    def own(self) -> bool:
        """Whether it is a module of the user's own."""
        return self._own

    @property
    def module(self) -> dspy.Module:
        """The module, with instructions and static demos in place."""
        return self._module

    def for_dspy(self) -> dspy.Module:
        """The module as DSPy alone runs it, where predictors with a model of their own have it as a `dspy.LM`.

        Each sends to the server that it is asked at here, with the same parameters; its key is not kept.

        Raises:
            UsageError: it is a form of offramp's, whose class DSPy does not have, or DSPy cannot reach such a model.
        """
        if isinstance(self._module, CompoundModule):
            what = f"the form {self.candidate.module!r} takes several requests, and DSPy has no module for it"
            raise UsageError(problem("save", what, do="Call it through `offramp.load`."))
        found = {name: self._plain_lm(name, predictor.lm) for name, predictor in predictors_of(self._module).items()}
        if not any(found.values()):
            return self._module
        module = copy_for_run(self._module)
        for name, predictor in predictors_of(module).items():
            predictor.lm = found[name] or predictor.lm
        return module

    def _plain_lm(self, predictor: str, lm: dspy.BaseLM | None) -> dspy.LM | None:
        """The language model that DSPy alone asks for a predictor; None where it has the right one, or none."""
        if (model := self._predictor_models.get(predictor)) is not None:
            return plain_model(model, self.candidate.params_of(predictor), predictor)
        return led(lm, self._known, predictor) if lm is not None and self._own else None

    async def run(
        self, example: Example, *, purpose: Purpose = Purpose.PROGRAM, replicate: int = 0, send: Send | None = None
    ) -> Outcome:  # fmt: skip
        """Runs the program on one example. Raises nothing but cancellation: every end is an outcome.

        Args:
            send: for the requests of this run, which counts for nothing; None for those that the program was made with.
        """
        log = RunLog(
            purpose=purpose, replicate=replicate, send=send, strict=self._routes.strict, task=asyncio.current_task()
        )
        tools = RunTools(self._tool_results, log) if self._tool_results is not None and self._own else None
        given: Outcome | None = None
        error: BaseException | None = None
        trace: list[Any] = []
        lm = self._lm.copy() if self._own else self._lm  # its history is that of the run
        began = time.perf_counter()
        try:
            module = self._module_for(example, tools)
            log.predictors = self._names if module is self._module else _names_in(module)
            log.adapter = self._adapter
            inputs = inputs_of(example.values, self._fields, self._declared, self._defaults)
            with (
                recording(log),
                self._routes.followed(),
                dspy.context(lm=lm, adapter=self._runs_under, trace=trace, **_SETTINGS, **self._history),
            ):
                began = time.perf_counter()
                if entry_of(module) != "aforward":
                    prediction = await in_a_thread(module)(**inputs)
                elif self._own:  # in a task of its own: a stream that it leaves open cancels the task that it ran in
                    prediction = await asyncio.create_task(module.acall(**inputs))
                else:
                    prediction = await module.acall(**inputs)
            given = self._given(prediction, _named(trace, _names_in(module) if self._own else log.predictors))
        except Exception as raised:  # noqa: BLE001 (becomes the record of this run)
            error = raised
        except BaseException as raised:
            if isinstance(raised, asyncio.CancelledError) and not log.given_up and not _is_cancelled(log.task):
                what = "CancelledError: the program's own code cancelled a task or a stream that it waited for"
                raised = RuntimeError(what).with_traceback(raised.__traceback__)
            elif not (_is_refusal(raised) or log.given_up):
                await log.cancel()
                note_refused(log)
                raise
            error = raised
        ended, task = time.perf_counter(), log.task
        if log.given_up and task is not None:
            task.uncancel()
        await log.finish()
        note_refused(log)
        if error is None and task is not None and task.cancelling():  # a TaskGroup may leave its own counted
            raise asyncio.CancelledError  # the program swallowed it
        free = given is not None and not log.exchanges and log.program_error is None
        if free and self._routes.strict and send is None:
            why = NO_REQUEST if self._free is None else await self._free.refusal(self.candidate, example)
            if why is not None:
                log.note_infrastructure_error(NoRequest(why))
        elif log.exchanges and self._free is not None and send is None:
            self._free.note(example)
        free = free and log.infrastructure_error is None
        latency_s = self._latency_s(log, tools, began, ended, free=free)
        called = tuple(tools.calls) if tools is not None else ()
        sure = mean_logprob(log.exchanges) if log.confidence is None else log.confidence
        sure = 1.0 if free else sure  # a rule is
        more: dict[str, Any] = {"tools": called, "confidence": sure, "checks": tuple(log.checks)}
        return replace(_outcome(given, error, log), latency_s=latency_s, **more)

    def _latency_s(
        self, log: RunLog, tools: RunTools | None, began: float, ended: float, *, free: bool
    ) -> float | None:
        """How long an app would wait for the run. A module's own code and tools count too.

        None without a reply, unless it needed none, and where one came in a batch.
        """
        if not (log.exchanges or free) or any(e.reply.batched for e in log.exchanges):
            return None
        if not self._own:
            asked_s = steps_s((e.step, e.reply.latency_s, e.request.model.local) for e in log.exchanges)
            return asked_s + sum(check.seconds for check in log.checks)
        spans = [Span(began=e.began, ended=e.ended, counts_s=e.reply.latency_s) for e in log.exchanges]
        spans += tools.spans if tools is not None else []
        return critical_path_s(spans, began=began, ended=ended)

    def _module_for(self, example: Example, tools: RunTools | None) -> dspy.Module:
        if self._nearest is None and not self._own:
            return self._module
        module = copy_for_run(self._module, tools.around if tools is not None else None)
        if self._nearest is not None:
            chosen = self._nearest.nearest(example, self.candidate.demo_count)
            for predictor in shown_demos(module).values():
                predictor.demos = demo_rows(chosen, predictor) or predictor.demos
        return module

    def _given(self, prediction: Any, trace: Trace) -> Outcome:
        if len(self._fields.outputs) == 1 and isinstance(prediction, str | int | float | bool | Enum):
            prediction = dspy.Prediction(**dict.fromkeys(self._fields.outputs, prediction))
        if isinstance(prediction, pydantic.BaseModel):
            prediction = dict(prediction)
        elif dataclasses.is_dataclass(prediction) and not isinstance(prediction, type):
            prediction = {field.name: getattr(prediction, field.name) for field in dataclasses.fields(prediction)}
        elif isinstance(prediction, dspy.Example) and not isinstance(prediction, dspy.Prediction):
            prediction = prediction.toDict()
        if not isinstance(prediction, dspy.Prediction | Mapping):
            do = f"Return dspy.Prediction({', '.join(f'{name}=...' for name in self._fields.outputs)})"
            raise TypeError(f"the program returned a value of type {type(prediction).__name__}. {do}")
        missing = [name for name in self._fields.outputs if name not in prediction]
        if missing:
            raise TypeError(f"the program gave {sorted(prediction.keys())}, and the task wants {missing}")
        whole = prediction if isinstance(prediction, dspy.Prediction) else dspy.Prediction(**prediction)
        objects = {name: prediction[name] for name in self._fields.outputs}
        outputs = {name: json_value(value) for name, value in objects.items()}
        return Outcome(outputs=outputs, prediction=whole, objects=objects if self._own else {}, trace=trace)


def _is_cancelled(task: asyncio.Task[Any] | None) -> bool:
    """Whether somebody outside of the program asked for the end of its run."""
    return task is None or task.cancelling() > 0


def _is_refusal(error: BaseException) -> bool:
    """Whether it is a refused call of an undeclared model, which is noted on the run, alone or among others."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(Undeclared) is not None
    return isinstance(error, Undeclared)


def _outcome(given: Outcome | None, error: BaseException | None, log: RunLog) -> Outcome:
    """What a run came to. What was noted on it counts before what the program made of that."""
    exchanges = tuple(log.exchanges)
    if log.infrastructure_error is not None:
        return Outcome(infrastructure_error=log.infrastructure_error, exchanges=exchanges)
    if given is not None:
        return replace(given, exchanges=exchanges)
    if log.program_error is not None:
        return Outcome(program_error=log.program_error, unreadable=log.unreadable, exchanges=exchanges)
    raised: BaseException | None = error
    while isinstance(raised, BaseExceptionGroup):  # of an asyncio.TaskGroup, which ends the others at the first
        raised = raised.exceptions[0]
    if isinstance(raised, AdapterParseError):
        return Outcome(
            program_error=f"unparsable answer: {cut(raised.lm_response)}", unreadable=True, exchanges=exchanges
        )
    if isinstance(raised, ValueError) and not _is_of_dspy(raised):
        if not exchanges:  # on purpose, or a bug that meets every row
            return Outcome(program_error=_crash_words(raised), crash=raised)
        return Outcome(program_error=f"{type(raised).__name__}: {cut(raised)}", exchanges=exchanges)
    if raised is not None and exchanges and _is_of_the_module(raised):
        return Outcome(program_error=_crash_words(raised), crash=raised, exchanges=exchanges)
    if raised is not None and error is not None and not place_of(raised):
        raised = raised.with_traceback(error.__traceback__)
    return Outcome(infrastructure_error=raised, exchanges=exchanges)


def _is_of_dspy(error: BaseException) -> bool:
    """Whether DSPy raised it about how it is used (a positional argument, a thread without a model)."""
    module = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
    return module.partition(".")[0] == "dspy"


def _is_of_the_module(error: BaseException) -> bool:
    """Whether the user's own code is to blame, or what it and DSPy's made of an answer, and not the machine.

    A ValueError, a name that is missing and a failed assertion are about values. Anything else is the machine's where
    it is, or came from, an error of a network or a file system, of an interpreter that does not run or of an import.
    """
    if isinstance(error, ValueError | AttributeError | LookupError | AssertionError):
        return True
    return isinstance(error, Exception) and not any(map(_is_of_the_machine, _came_from(error)))


def _is_of_the_machine(error: BaseException) -> bool:
    """Whether no answer of a model brings it about. DSPy's `CodeExecutionError` is about the code that was run."""
    if isinstance(error, ImportError):
        return _is_of_dspy(error)
    if isinstance(error, ValueError | dspy.CodeExecutionError):  # an address that is none is a ValueError of `requests`
        return False
    return isinstance(error, OSError | MemoryError | OfframpError | dspy.LMError | dspy.CodeInterpreterError)


def _came_from(error: BaseException) -> list[BaseException]:
    """The exception, and those that it was raised from or in the handling of, as Python prints them.

    But for a missing file that is handled: code that looks for a kept answer asks a model there.
    """
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is None or any(each is one for one in found):
            continue
        found.append(each)
        handled = None if isinstance(each.__context__, FileNotFoundError) else each.__context__
        todo.append(each.__cause__ if each.__suppress_context__ else handled)
        todo += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
    return found


def _crash_words(error: BaseException) -> str:
    """`KeyError: 'city' (triage.py:12)`: the last line of the user's own."""
    said = f": {cut(error)}" if str(error) else ""
    return f"{type(error).__name__}{said}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """` (triage.py:12)`: the last line of the user's own that an exception came through; empty where there is none."""
    place = own_place(list(traceback.walk_tb(error.__traceback__))[::-1])
    return f" ({place})" if place else ""


def _names_in(module: dspy.Module) -> dict[int, str]:
    """Names of the predictors by identity, and by that of their signature where no other predictor has it."""
    found = predictors_of(module)
    uses = Counter(id(predictor.signature) for predictor in found.values())
    once = {id(p.signature): name for name, p in found.items() if uses[id(p.signature)] == 1}
    return {**once, **{id(predictor): name for name, predictor in found.items()}}


def _named(trace: Sequence[Any], names: Mapping[int, str]) -> Trace:
    """DSPy's trace by name of predictor; only what the program gives in the end has to have a JSON value."""

    def traced(value: Any) -> Any:
        try:
            return json_value(value)
        except ValueError:
            return str(value)

    return tuple(
        (names[id(predictor)], dict(inputs), {key: traced(value) for key, value in dict(prediction).items()})
        for predictor, inputs, prediction in trace
        if id(predictor) in names
    )


def demo_rows(examples: Sequence[Example], predictor: dspy.Predict) -> list[dict[str, Any]]:
    """The examples as demos of this predictor; none where the data has not all of its fields.

    A `reasoning` output may be missing: the demo then shows the answer alone.
    """
    optional = [name for name in predictor.signature.output_fields if name == REASONING]
    needed = [name for name in predictor.signature.fields if name not in optional]
    rows = [demo_row(example, needed, optional) for example in examples]
    kinds = {name: field.annotation for name, field in predictor.signature.fields.items()}
    inputs = {name for name in predictor.signature.input_fields if kinds[name] is str}

    def typed(name: str, value: Any) -> Any:
        if name in inputs:
            return plain_text(value)
        return as_declared(value, kinds[name]) if media.is_reference(value) else value

    return [{name: typed(name, v) for name, v in row.items()} for row in rows if row is not None]


def labelled_demos(
    candidate: Candidate, *, fields: TaskFields, factory: ModuleFactory | None, train: Sequence[Example],
    balance_by: str | None,
) -> Demos:  # fmt: skip
    """Static demos by predictor for the kinds that need no call (`random`, `balanced`); none it has no data for.

    A module of the user's own may have demos already. `none` removes them, which is an empty list here; a predictor
    that is left out keeps them.
    """
    if candidate.demo_kind is DemoKind.NONE and factory is not None:
        with building():
            return {name: [] for name in predictors_of(factory())}
    if candidate.demo_kind not in (DemoKind.RANDOM, DemoKind.BALANCED):
        return {}
    chosen = choose_demos(candidate.demo_kind, candidate.demo_count, candidate.demo_seed, train, balance_by)
    module = build_module(candidate, fields, factory, {})
    rows = {name: demo_rows(chosen, predictor) for name, predictor in shown_demos(module).items()}
    return {name: found for name, found in rows.items() if found}
