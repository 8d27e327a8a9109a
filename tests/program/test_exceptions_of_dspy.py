"""Exceptions that DSPy's own code raises in a module: what a model wrote scores 0, and what the machine lacks has no score."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

from offramp.calls.failures import ServerFailed
from offramp.program.program import Outcome
from offramp.space.model import OutputField
from program_runs import make_candidate, make_fields, run

FIELDS = make_fields({"category": OutputField()})
OWN = make_candidate(module="own", instructions={}, adapter="chat")


def team_of(number: int) -> str:
    """The team of a case."""
    return ("billing", "returns")[number % 2]


def called(name: str, **args: Any) -> dspy.ToolCalls.ToolCall:
    return dspy.ToolCalls.ToolCall(name=name, args=args)


def in_dspy(work: Callable[[str], Any], *, before: bool = False) -> Outcome:
    """The run of a module that hands an answer to `work`; `before`: that does so before it has one."""

    class Own(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sort = dspy.Predict("message -> category")

        def forward(self, message: str) -> dspy.Prediction:
            if before:
                work(message)
            return dspy.Prediction(category=str(work(self.sort(message=message).category)))

    outcome, _ = run("[[ ## category ## ]]\nboom(\n\n[[ ## completed ## ]]", OWN, fields=FIELDS, factory=Own)
    return outcome


def interpreted(code: str) -> Any:
    with dspy.LocalInterpreter() as interpreter:
        return interpreter(code)


class Unlucky(dspy.Module):
    """Fails at each try, as a tool with the wrong argument does."""

    def forward(self, **_: Any) -> Any:
        return dspy.Tool(team_of)(no=1)

    def get_lm(self) -> Any:
        return dspy.settings.lm


MISTAKES: dict[str, Callable[[str], Any]] = {
    "a tool that does not exist": lambda said: called(said).execute(functions=[dspy.Tool(team_of)]),
    "an argument that a tool lacks": lambda said: dspy.Tool(team_of)(**{said: 1}),
    "an argument of another type": lambda said: dspy.Tool(team_of)(number=said),
    "a tool that fails on its argument": lambda said: called("team_of", number=said).execute([dspy.Tool(team_of)]),
    "code that does not parse": interpreted,
    "code that fails": lambda said: interpreted(f"raise OSError('{said}')"),
    "an image": dspy.Image,
    "an audio": dspy.Audio,
    "a file": dspy.File,
    "every try of BestOfN": lambda said: dspy.BestOfN(Unlucky(), N=3, reward_fn=len, threshold=1, fail_count=1)(said=said),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_what_dspy_raises_about_an_answer_is_a_program_error_with_the_line_of_the_module(what: str) -> None:
    outcome = in_dspy(MISTAKES[what])
    assert outcome.infrastructure_error is None and outcome.program_error is not None
    assert outcome.crash is not None and "test_exceptions_of_dspy.py:" in outcome.program_error


def test_a_program_of_thought_whose_code_never_runs_is_a_program_error() -> None:
    def factory() -> dspy.Module:
        return dspy.ProgramOfThought("message -> category", max_iters=2, interpreter_factory=dspy.LocalInterpreter)

    outcome, requests = run(
        "[[ ## reasoning ## ]]\nx\n\n[[ ## generated_code ## ]]\nboom(\n\n[[ ## completed ## ]]", OWN, fields=FIELDS,
        factory=factory,
    )  # fmt: skip
    assert outcome.infrastructure_error is None and "Max hops" in str(outcome.program_error) and len(requests) == 2


def raising(error: Exception) -> dspy.Tool:
    def team_of() -> str:
        raise error

    return dspy.Tool(team_of)


def wrapped(error: Exception, *, said: bool) -> dspy.Tool:
    """A tool whose own exception comes from another one, in so many words or not."""

    def team_of() -> str:
        try:
            raise error
        except type(error) as cause:
            if said:
                raise RuntimeError("no team") from cause
            raise RuntimeError("no team")  # noqa: B904

    return dspy.Tool(team_of)


def executed(tool: dspy.Tool) -> Callable[[str], Any]:
    return lambda _: called("team_of").execute(functions=[tool])


def without_a_model(_: str) -> None:
    raise dspy.LMNotConfiguredError("no model")


GROUP = ExceptionGroup("of a client", [ValueError("x"), ConnectionError("down")])
OF_THE_MACHINE: dict[str, Callable[[str], Any]] = {
    "a network": executed(raising(ConnectionError("down"))),
    "a time-out": executed(raising(TimeoutError("late"))),
    "a file": executed(raising(PermissionError("no"))),
    "a network behind an exception of the tool": executed(wrapped(ConnectionError("down"), said=True)),
    "a network that the tool does not name": executed(wrapped(ConnectionError("down"), said=False)),
    "a group of exceptions of a client": executed(wrapped(GROUP, said=True)),
    "a network without DSPy in between": lambda _: wrapped(ConnectionError("down"), said=True)(),
    "an interpreter that is not installed": lambda said: dspy.PythonInterpreter(deno_command=["no-such-deno"])(said),
    "no model": without_a_model,
}


@pytest.mark.parametrize("what", OF_THE_MACHINE)
def test_what_comes_from_the_machine_has_no_score_whatever_is_raised_of_it(what: str) -> None:
    outcome = in_dspy(OF_THE_MACHINE[what])
    assert outcome.infrastructure_error is not None and outcome.program_error is None and outcome.exchanges


@pytest.mark.parametrize("what", ["a tool that fails on its argument", "code that does not parse"])
def test_a_kept_answer_that_is_looked_for_first_is_not_to_blame(what: str) -> None:
    def kept(said: str) -> Any:
        try:
            return Path("no-such-file").read_text()
        except FileNotFoundError:
            return MISTAKES[what](said)

    assert in_dspy(kept).crash is not None


def test_a_process_that_cannot_begin_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert isinstance(in_dspy(interpreted).infrastructure_error, dspy.CodeInterpreterError)


def test_a_package_that_dspy_lacks_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dspy.adapters.types.image.PIL_AVAILABLE", False)
    assert isinstance(in_dspy(lambda said: dspy.Image(said.encode())).infrastructure_error, ImportError)


def test_a_cause_that_is_its_own_ends_the_search_for_one() -> None:
    error = RuntimeError("x")
    error.__cause__ = error
    assert in_dspy(executed(raising(error))).crash is not None


@pytest.mark.parametrize("what", ["a tool that does not exist", "an argument that a tool lacks", "an image"])
def test_what_dspy_raises_before_any_answer_has_no_score(what: str) -> None:
    outcome = in_dspy(lambda _: MISTAKES[what]("boom("), before=True)
    assert outcome.infrastructure_error is not None and outcome.program_error is None and not outcome.exchanges


def test_a_request_that_failed_has_no_score_also_where_its_error_is_lost() -> None:
    class Own(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sort = dspy.Predict("message -> category")

        def asked(self, message: str) -> str:
            return str(self.sort(message=message).category)

        def forward(self, message: str) -> dspy.Prediction:
            self.sort(message="a first answer")
            return dspy.Prediction(category=called("asked", message=message).execute([dspy.Tool(self.asked)]))

    sent = iter(["[[ ## category ## ]]\nx\n\n[[ ## completed ## ]]"])

    def answers(_: Any) -> Any:
        return next(sent, None) or ServerFailed(json.dumps("503"))

    outcome, _ = run(answers, OWN, fields=FIELDS, factory=Own)
    assert isinstance(outcome.infrastructure_error, ServerFailed) and outcome.program_error is None
