"""A promoted program as an app calls it: a `dspy.Module` that answers with a `dspy.Prediction`, sync and async.

It runs the same `Program` that was measured. When a model gives no answer for reasons that are not the program's own,
the next one of its list is asked.

Invariant: a prediction has every output of the task; anything else is an exception.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args
from urllib.parse import urlsplit

import dspy
from pydantic import TypeAdapter, ValidationError

from offramp.calls.failures import CallError, InvalidRequest, ProgramError
from offramp.errors import JobError, OfframpError, UsageError, nearest, problem
from offramp.program.background import BACKGROUND
from offramp.program.program import Outcome
from offramp.program.signature import annotation_of
from offramp.records import Candidate, Example
from offramp.task.fields import TaskFields

_log = logging.getLogger("offramp")
OnUnreadable = Literal["raise", "retry", "default"]
"""An exception; the same request once more, then the default or an exception; the default at once."""


class Runnable(Protocol):
    """A `Program`, or a cascade of several."""

    @property
    def candidate(self) -> Candidate:
        """Of the program, or of the first."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        ...

    @property
    def required(self) -> tuple[str, ...]:
        """Inputs that an app has to give."""
        ...

    @property
    def module(self) -> dspy.Module:
        """The module, or the members' modules together."""
        ...

    def for_dspy(self) -> dspy.Module:
        """The module as DSPy alone runs it."""
        ...

    async def run(self, example: Example) -> Outcome:
        """Runs on one example. Raises nothing but cancellation."""
        ...


class AnswerError(OfframpError):
    """The model answered, but not with what the program can use: the answer could not be parsed, or is a refusal."""


class DeployedProgram(dspy.Module):  # type: ignore[misc]
    """A promoted program.

    Args:
        programs: those to run, as of now: the first one's model, then its fallbacks.
        feature: for messages.
        on_unreadable: what an answer that the program cannot use comes to.
        default: the outputs that stand for it, of their types; None where it is an exception.
        again: loads the same in another process, for pickle; a partial of `offramp.load`.
    """

    def __init__(
        self, programs: Callable[[], Sequence[Runnable]], *, feature: str, on_unreadable: OnUnreadable = "raise",
        default: Mapping[str, Any] | None = None, again: Callable[[], DeployedProgram] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._programs, self._feature, self._again = programs, feature, again
        self._tries, self._default = 2 if on_unreadable == "retry" else 1, default

    def __deepcopy__(self, memo: dict[int, Any]) -> DeployedProgram:
        """Another that runs the same programs, as optimizers copy a module that holds this one."""
        return DeployedProgram(
            self._programs, feature=self._feature, on_unreadable="retry" if self._tries > 1 else "raise",
            default=self._default, again=self._again,
        )  # fmt: skip

    def __reduce__(self) -> Any:
        """Where it is unpickled, the feature is loaded again with the same arguments."""
        return self._again, ()

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The answer.

        Raises:
            UsageError: the inputs do not fit.
            AnswerError: the model's answer cannot be used, and there is no default for it.
            CallError: no model of the list gave an answer.
        """
        return BACKGROUND.wait(self.prepared(inputs)()).prediction

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The answer, without blocking the caller's event loop."""
        return (await BACKGROUND.awaited(self.prepared(inputs)())).prediction

    def named_predictors(self) -> list[tuple[str, Any]]:
        """Predictors of the program as it is now, with their instructions and static demos."""
        return list(self._programs()[0].module.named_predictors())

    def save(self, path: Any, save_program: bool = False, modules_to_serialize: Any = None) -> None:
        """Saves the program as it is now for DSPy: its state (.json), which a module of its class loads, or all of it.

        Model, parameters and adapter are not part of a module; the promotion has them. Predictors that run on another
        model than the rest have it in their state, with the address of a server of your own, and without its key.

        Raises:
            UsageError: DSPy alone cannot run it as it is.
        """
        module = self._programs()[0].for_dspy()
        module.save(path, save_program, modules_to_serialize)
        if not save_program and (there := sorted(_hosts_in(module))):
            do = "load it with allow_unsafe_lm_state=True, or DSPy sends their requests to the vendor of the model"
            _log.warning("note: %s: predictors run on servers of your own (%s): %s", path, ", ".join(there), do)

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """The state of the program as it is now, as `save` writes it."""
        return dict(self._programs()[0].for_dspy().dump_state(json_mode))

    def load_state(self, state: Any, **_options: Any) -> None:
        """Raises UsageError: what a label points at is not changed from within an app."""
        do = "Load the state into a module of your own, or promote another version."
        raise UsageError(problem(self._feature, "a promoted program takes no other state", do=do))

    def prepared(self, inputs: Mapping[str, Any]) -> Callable[[], Coroutine[Any, Any, Outcome]]:
        """The work of one call, on the version as it is now; its outcome has a prediction.

        To be called on the app's own thread: a version that is new is made ready by the loop that runs the work.
        """
        programs = self._programs()
        names = programs[0].inputs
        for name in inputs:
            if name not in names:
                do = nearest(name, names) or f"Its inputs are {list(names)}."
                raise UsageError(problem(self._feature, "no such input", got=name, do=do))
        if missing := [name for name in programs[0].required if name not in inputs]:
            raise UsageError(problem(self._feature, f"inputs are missing: {missing}"))
        example = Example(id="", content_hash="", values=MappingProxyType(dict(inputs)), row=0)
        return lambda: self._usable(programs, example)

    async def _usable(self, programs: Sequence[Runnable], example: Example) -> Outcome:
        """The outcome, asked for again or replaced by the default where the answer cannot be used."""
        for left in reversed(range(self._tries)):
            try:
                return await _answered(programs, example)
            except AnswerError as error:
                if left:
                    _log.warning("%s: %s; asking once more", self._feature, error)
                elif self._default is None:
                    raise
                else:
                    _log.warning("%s: %s; the default is returned", self._feature, error)
        return Outcome(outputs=self._default, prediction=dspy.Prediction(**copy.deepcopy(dict(self._default or {}))))


def _hosts_in(module: dspy.Module) -> set[str]:
    """Where predictors' language models state an address, which DSPy's `load` drops by default: its host and port."""
    held = [predictor.lm for _, predictor in module.named_predictors() if predictor.lm is not None]
    stated = [lm.kwargs.get("api_base") or lm.kwargs.get("base_url") for lm in held]
    return {urlsplit(str(address)).netloc.rpartition("@")[2] for address in stated if address is not None}


def default_outputs(
    feature: str, on_unreadable: str, default: Mapping[str, Any] | None, fields: TaskFields, *, typed: bool
) -> Mapping[str, Any] | None:
    """The outputs that stand for an answer that cannot be used, of the types that the task declares; None for none.

    Args:
        typed: whether the types are those of `fields`; a module of one's own has its own.

    Raises:
        UsageError: an unknown choice, or a default that is missing, without effect, or not what the task gives.
    """
    known = get_args(OnUnreadable)
    if on_unreadable not in known:
        expected = f"one of {', '.join(known)}"
        do = nearest(str(on_unreadable), known)
        raise UsageError(problem(feature, "on_unreadable", got=on_unreadable, expected=expected, do=do))
    if default is None:
        if on_unreadable == "default":
            example = ", ".join(f"{name!r}: ..." for name in fields.outputs)
            do = f"Pass it: load(..., on_unreadable='default', default={{{example}}})."
            raise UsageError(problem(feature, "on_unreadable='default' needs a default", do=do))
        return None
    if on_unreadable == "raise":
        do = "Pass on_unreadable='default', or 'retry' to ask once more before it."
        raise UsageError(problem(feature, "default has no effect with on_unreadable='raise'", do=do))
    if not isinstance(default, Mapping) or set(default) != set(fields.outputs):
        got = list(default) if isinstance(default, Mapping) else default
        raise UsageError(problem(feature, "default", got=got, expected=f"a value for each of {list(fields.outputs)}"))
    if not typed:
        return dict(default)
    checked = {}
    for name, output in fields.outputs.items():
        try:
            checked[name] = TypeAdapter(annotation_of(name, output)).validate_python(default[name], strict=True)
        except ValidationError as error:
            expected = error.errors()[0]["msg"]
            raise UsageError(problem(feature, f"default[{name!r}]", got=default[name], expected=expected)) from None
    return checked


async def _answered(programs: Sequence[Runnable], example: Example) -> Outcome:
    error: BaseException | None = None
    failed = ""
    for program in programs:
        if error is not None:
            _log.warning("%s gave no answer (%s); asking %s", failed, error, program.candidate.model)
        outcome = await program.run(example)
        if outcome.infrastructure_error is None:
            if outcome.crash is not None and outcome.exchanges:
                raise outcome.crash
            if outcome.program_error is not None:
                raise AnswerError(f"{program.candidate.model}: {outcome.program_error}")
            return outcome
        error, failed = outcome.infrastructure_error, program.candidate.model
        if not isinstance(error, CallError | JobError) or isinstance(error, InvalidRequest | ProgramError):
            break  # of the request or the program's own code: another model would fail alike
    assert error is not None
    raise error
