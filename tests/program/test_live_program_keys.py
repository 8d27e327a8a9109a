"""What makes a program or a metric in memory another one: all that it does depends on, and nothing that it does not."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import httpx
import numpy as np
import pytest

from offramp.program.fingerprint import MOST_BYTES, MOST_ITEMS, fingerprint
from offramp.program.live_program import LiveProgram

PREDICT = dspy.Predict("question -> answer")


def key(metric: Any, program: dspy.Module = PREDICT) -> str:
    return LiveProgram(program=program, metric=metric, rows=({"q": 1},)).key


def code(text: str, **names: Any) -> Any:
    """`metric` of a notebook's cell, which has no file."""
    exec(compile(textwrap.dedent(text), "<cell>", "exec"), names)
    return names["metric"]


def closure(goal: bool) -> Callable[..., bool]:
    def metric(example: Any, pred: Any, trace: Any = None) -> bool:
        return bool(pred.answer == goal)

    return metric


def default(goal: bool) -> Callable[..., bool]:
    def metric(example: Any, pred: Any, trace: Any = None, *, wanted: bool = goal) -> bool:
        return bool(pred.answer == wanted)

    return metric


def base(goal: Any, example: Any, pred: Any, trace: Any = None) -> bool:
    return bool(pred.answer == goal)


def other(goal: Any, example: Any, pred: Any, trace: Any = None) -> bool:
    return False


class Slots:
    __slots__ = ("goal",)

    def __init__(self, goal: Any) -> None:
        self.goal = goal


class Held:
    def __init__(self, goal: Any) -> None:
        self.goal = goal
        self.itself = self  # a cycle
        self.lock = threading.Lock()

    def __call__(self, example: Any, pred: Any, trace: Any = None) -> bool:
        return bool(pred.answer == self.goal)

    def method(self, example: Any, pred: Any, trace: Any = None) -> bool:
        return self(example, pred)


def with_attribute(value: Any) -> Callable[..., bool]:
    metric = closure(True)
    metric.tolerance = value  # type: ignore[attr-defined]
    return metric


def of_class(text: str) -> Any:
    cell = """
    class Grader:
        def grade(self, pred):
            return {text}

    grader = Grader()

    def metric(example, pred, trace=None):
        return grader.grade(pred)
    """
    return code(cell.replace("{text}", text))


CELL = "def metric(example, pred, trace=None): return helper(pred)"
MODULE = "def metric(example, pred, trace=None): return helpers.inner.grade(pred)"


def module_with(text: str) -> types.ModuleType:
    helpers, inner = types.ModuleType("helpers"), types.ModuleType("inner")
    exec(text, vars(inner))
    helpers.inner = inner  # type: ignore[attr-defined]
    return helpers


DIFFERENT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "a closure over another value": (lambda: closure(True), lambda: closure(False)),
    "another default": (lambda: default(True), lambda: default(False)),
    "a partial with other arguments": (lambda: functools.partial(base, 1), lambda: functools.partial(base, 2)),
    "a partial of another function": (lambda: functools.partial(base, 1), lambda: functools.partial(other, 1)),
    "an object with another state": (lambda: Held(1), lambda: Held(2)),
    "a method of another object": (lambda: Held(1).method, lambda: Held(2).method),
    "an object in slots": (lambda: Held(Slots(1)), lambda: Held(Slots(2))),
    "a number of another type": (lambda: Held(1), lambda: Held(1.0)),
    "an attribute of the function": (lambda: with_attribute(1), lambda: with_attribute(2)),
    "a changed global": (lambda: code("GOAL = 1\ndef metric(e, p, trace=None): return p.answer == GOAL"),
                         lambda: code("GOAL = 2\ndef metric(e, p, trace=None): return p.answer == GOAL")),
    "an edited helper": (lambda: code("def helper(p): return 1\n" + CELL), lambda: code("def helper(p): return 0\n" + CELL)),
    "a helper of a helper": (
        lambda: code("def last(p): return 1\ndef helper(p): return last(p)\n" + CELL),
        lambda: code("def last(p): return 0\ndef helper(p): return last(p)\n" + CELL),
    ),
    "an edited method": (lambda: of_class("1.0"), lambda: of_class("0.0")),
    "an edited function of an imported module": (
        lambda: code(MODULE, helpers=module_with("def grade(p): return 1")),
        lambda: code(MODULE, helpers=module_with("def grade(p): return 0")),
    ),
    "code without a source": (lambda: code("def metric(e, p, trace=None): return 1.0"),
                              lambda: code("def metric(e, p, trace=None): return 0.0")),
    "another default of a lambda in it": (lambda: Held(lambda x: x + 1), lambda: Held(lambda x: x + 2)),
    "a set": (lambda: Held({"a", "b"}), lambda: Held({"a", "c"})),
    "one item of a long list": (lambda: Held([*range(50_000)]), lambda: Held([*range(49_999), 7])),
    "an array": (lambda: Held(np.arange(9)), lambda: Held(np.arange(9) + 1)),
    "the order of a dict": (lambda: Held({"a": 1, "b": 2}), lambda: Held({"b": 2, "a": 1})),
    "another model": (lambda: Held(dspy.LM("openai/a")), lambda: Held(dspy.LM("openai/b"))),
    "another signature of a judge": (lambda: Held(dspy.Predict("a -> b")), lambda: Held(dspy.Predict("a -> b: int"))),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_metric_that_does_something_else_is_another_one(name: str) -> None:
    one, two = DIFFERENT[name]
    assert key(one()) != key(two())
    assert key(one()) == key(one()), "made again it is the same"


class Calls(dspy.Module):
    def __init__(self, step: Callable[[str], str]) -> None:
        super().__init__()
        self.step = step
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.answer(question=self.step(question))


def test_a_program_that_calls_something_else_is_another_one() -> None:
    assert key(base, Calls(str.strip)) != key(base, Calls(str.upper)) == key(base, Calls(str.upper))
    assert key(base, Calls(lambda text: text + "1")) != key(base, Calls(lambda text: text + "2"))
    agents = [dspy.ReAct("question -> answer", tools=[tool]) for tool in (code_tool("1"), code_tool("2"))]
    assert key(base, agents[0]) != key(base, agents[1])


def code_tool(text: str) -> Any:
    return code(f"def metric(city: str) -> str:\n    'A tool.'\n    return {text!r}")


def test_comments_places_and_what_is_kept_of_calls_do_not_count() -> None:
    plain = code("def metric(e, p, trace=None): return p.answer == 1")
    moved = code("\n\n# a comment\ndef metric(e, p, trace=None):\n    # another\n    return p.answer == 1")
    assert key(plain) == key(moved)
    counting = "calls = {}\ndef metric(e, p, trace=None):\n    global calls\n    calls += 1\n    return calls"
    assert key(code(counting.format(0))) == key(code(counting.format(5)))

    @functools.cache
    def kept(number: int) -> int:
        return number

    before = fingerprint(kept)
    kept(3)
    assert fingerprint(kept) == before
    program = dspy.Predict("question -> answer")
    before = key(base, program)
    program.history.append({"asked": 1})
    program.traces.append(object())
    assert key(base, program) == before


def test_clients_locks_and_keys_count_by_their_class_and_never_by_an_address() -> None:
    assert fingerprint(Held(httpx.Client())) == fingerprint(Held(httpx.Client()))
    assert fingerprint(Held(threading.Lock())) == fingerprint(Held(threading.Lock()))
    lms = [dspy.LM("openai/a", api_key=secret, temperature=0.5) for secret in ("one", "two")]
    assert fingerprint(Held(lms[0])) == fingerprint(Held(lms[1]))


def test_what_is_large_deep_or_refers_to_itself_is_read_in_bounded_time() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    one, two = Held(None), Held(None)
    one.goal, two.goal = {one, two}, one
    for value in (deep, one, np.zeros(2**40 // 2**8, dtype="u1"), "x" * (MOST_BYTES + 1), [*range(MOST_ITEMS + 1)]):
        assert fingerprint(value) == fingerprint(value)
    assert fingerprint(np.zeros(2**32, dtype="u1")) != fingerprint(np.zeros(2**32 + 1, dtype="u1"))


def test_a_long_chain_of_functions_counts_to_its_end() -> None:
    def chain(last: str) -> Any:
        steps = "".join(f"def step{i}(p): return step{i + 1}(p)\n" for i in range(400))
        return code(f"{steps}def step400(p): return {last}\ndef metric(e, p, trace=None): return step0(p)")

    assert key(chain("1")) != key(chain("2")) == key(chain("2"))


SCRIPT = """
import dspy, functools, re, types
from dataclasses import dataclass, field
from enum import Enum
from offramp.program.live_program import LiveProgram

class Team(Enum):
    BILLING = "billing"

@dataclass
class Rules:
    words: set = field(default_factory=lambda: {"b", "a", "c"})
    pattern: object = re.compile("x+")

class Sort(dspy.Signature):
    '''Sort it.'''
    question: str = dspy.InputField(desc="what")
    team: Team = dspy.OutputField()

RULES, TABLE = Rules(), {name: {name, "z"} for name in "abc"}

def helper(pred):
    return pred.team in {"billing", "sales", "support"} and RULES.words and TABLE and re.sub("a", "b", "a")

class Mine(dspy.Module):
    def __init__(self):
        super().__init__()
        self.think, self.tools = dspy.ChainOfThought(Sort), dspy.ReAct("question -> answer", tools=[helper])

    def forward(self, question):
        return self.think(question=question)

class Metric:
    def __init__(self):
        self.client, self.names = object(), frozenset({"p", "q", "r"})

    def __call__(self, example, pred, trace=None):
        return helper(pred)

print(LiveProgram(program=Mine(), metric=functools.partial(Metric(), trace=None), rows=({"q": 1},)).key)
"""


def test_the_same_cells_have_the_same_key_in_every_process(tmp_path: Path) -> None:
    found = set()
    for seed, name in (("1", "one.py"), ("2", "two.py"), ("3", "-")):
        place = tmp_path / name
        text = SCRIPT if name != "two.py" else f"# moved\n\n{SCRIPT}"
        place.write_text(text)
        done = subprocess.run(
            [sys.executable, "-" if name == "-" else str(place)], input=SCRIPT if name == "-" else None, text=True,
            capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed}, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.add(done.stdout.strip().rpartition("\n")[2])
    assert len(found) == 1, found
