"""Tools of a module are asked once per input: what they gave is recorded, replayed, and counted with its time."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import pytest

from offramp.evaluate.tool_results import StudyToolResults
from offramp.program.critical_path import Span, critical_path_s
from offramp.program.program import Outcome
from offramp.program.tools import ToolResult, tools_of
from offramp.space.model import OutputField
from offramp.store.engine import open_store
from program_runs import make_candidate, make_example, make_fields, run

FIELDS = make_fields({"answer": OutputField()}, inputs=("question",))


class Memory:
    """Results that are kept in memory."""

    def __init__(self, *effects: str) -> None:
        self.known: dict[str, ToolResult] = {}
        self.effects = effects

    def runs(self, tool: str) -> bool:
        return True

    def replays(self, tool: str) -> bool:
        return tool not in self.effects

    def get(self, key: str) -> ToolResult | None:
        return self.known.get(key)

    def keep(self, key: str, tool: str, result: ToolResult) -> ToolResult:
        return self.known.setdefault(key, result)


class Asks(dspy.Module):
    """Calls its tools with the question, then a model; answers with all that they gave."""

    def __init__(self, *tools: dspy.Tool, times: int = 1) -> None:
        super().__init__()
        self.tools, self.times = list(tools), times
        self.polish = dspy.Predict("question -> said")

    def forward(self, question: str) -> dspy.Prediction:
        given = [tool(word=question) for _ in range(self.times) for tool in self.tools]
        self.polish(question=question)
        return dspy.Prediction(answer=json.dumps(given))


class Waits(Asks):
    async def aforward(self, question: str) -> dspy.Prediction:
        given = [await tool.acall(word=question) for tool in self.tools]
        await self.polish.acall(question=question)
        return dspy.Prediction(answer=json.dumps(given))


class World:
    """Gives another answer each time."""

    def __init__(self) -> None:
        self.asked = 0

    def look(self, word: str) -> Any:
        """Looks it up."""
        self.asked += 1
        return f"{word} {self.asked}"

    async def later(self, word: str) -> Any:
        return self.look(word)


def ran(factory: Callable[[], dspy.Module], results: Any, *, question: str = "Bern", **changes: Any) -> Outcome:
    candidate = make_candidate(module="own", adapter="chat", instructions={}, **changes)
    reply = "[[ ## said ## ]]\nx\n\n[[ ## completed ## ]]"
    example = make_example(question=question, answer="x")
    outcome, _ = run(reply, candidate, example, fields=FIELDS, factory=factory, tool_results=results)
    assert outcome.outputs is not None, outcome
    return outcome


def given(*args: Any, **words: Any) -> list[Any]:
    found: list[Any] = json.loads((ran(*args, **words).outputs or {})["answer"])
    return found


def test_another_candidate_that_asks_the_same_gets_the_same_and_the_tool_is_asked_once() -> None:
    world, results = World(), Memory()
    make = lambda: Asks(dspy.Tool(world.look))  # noqa: E731
    assert given(make, results) == given(make, results, request_params={"temperature": 1.0}) == ["Bern 1"]
    assert given(make, results, question="Basel") == ["Basel 2"] and world.asked == 2
    assert given(make, None) == ["Bern 3"], "without results nothing is replayed"


def test_async_tools_are_replayed_as_coroutines() -> None:
    world, results = World(), Memory()
    make = lambda: Waits(dspy.Tool(world.later))  # noqa: E731
    assert given(make, results) == given(make, results) == ["Bern 1"] and world.asked == 1


def test_mcp_tools_are_replayed_and_two_servers_are_told_apart() -> None:
    pytest.importorskip("mcp", reason="DSPy's MCP tools need the package mcp")
    asked: list[str] = []

    class Client:
        def __init__(self, name: str) -> None:
            self.name = name

        async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
            asked.append(self.name)
            return SimpleNamespace(content=[], isError=False, is_error=False, structured_content={"from": self.name},
                                   structuredContent={"from": self.name})  # fmt: skip

    schema = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
    tool = SimpleNamespace(name="find", description="Finds.", inputSchema=schema, input_schema=schema)
    clients = [Client("a"), Client("b")]
    make = lambda: Waits(*(dspy.Tool.from_mcp_tool(each, tool, result_mode="structured") for each in clients))  # noqa: E731
    results = Memory()
    assert given(make, results) == given(make, results) == [{"from": "a"}, {"from": "b"}] and asked == ["a", "b"]


def test_a_tool_with_effects_runs_each_time() -> None:
    world, results = World(), Memory("look")
    make = lambda: Asks(dspy.Tool(world.look))  # noqa: E731
    assert [given(make, results), given(make, results)] == [["Bern 1"], ["Bern 2"]]


def test_a_run_that_asks_the_same_twice_gets_both_answers_again() -> None:
    world, results = World(), Memory()
    make = lambda: Asks(dspy.Tool(world.look), times=2)  # noqa: E731
    assert given(make, results) == given(make, results) == ["Bern 1", "Bern 2"]


def test_tools_of_one_name_and_source_but_different_objects_are_told_apart() -> None:
    def made(text: str) -> Callable[[str], str]:
        def look(word: str) -> str:
            return f"{text} {word}"

        return look

    make = lambda: Asks(*(dspy.Tool(made(text)) for text in ("a", "b")))  # noqa: E731
    results = Memory()
    assert given(make, results) == given(make, results) == ["a Bern", "b Bern"] and len(results.known) == 2


def test_what_a_partial_function_holds_belongs_to_the_input() -> None:
    def look(word: str, most: int) -> str:
        return f"{word} {most}"

    def with_most(most: int) -> Callable[[], dspy.Module]:
        args = {"name": "look", "args": {"word": {"type": "string"}}, "arg_types": {"word": str}}
        return lambda: Asks(dspy.Tool(functools.partial(look, most=most), **args))

    results = Memory()
    assert [given(with_most(n), results) for n in (1, 2, 1)] == [["Bern 1"], ["Bern 2"], ["Bern 1"]]
    assert len(results.known) == 2


def test_an_edited_tool_is_asked_again(tmp_path: Path) -> None:
    results, found = Memory(), []
    for number, body in enumerate(("word.upper()", "word.lower()", "word.upper()")):
        file = tmp_path / f"tool{number}.py"
        file.write_text(f"def look(word: str) -> str:\n    return {body}\n")
        space: dict[str, Any] = {"__name__": "tool"}
        exec(compile(file.read_text(), file, "exec"), space)
        found.append(given(lambda tool=space["look"]: Asks(dspy.Tool(tool)), results))
    assert found == [["BERN"], ["bern"], ["BERN"]] and len(results.known) == 2


@pytest.mark.parametrize("value", [(1, 2), {1: "x"}, float("nan")])
def test_what_is_not_a_json_value_is_not_recorded_and_said_once(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    def odd(word: str) -> Any:
        asked.append(word)
        return value

    odd.__name__ = f"odd_{type(value).__name__}"
    results = Memory()
    with caplog.at_level(logging.WARNING, "offramp"):
        for _ in range(3):
            ran(lambda: Asks(dspy.Tool(odd)), results)
    assert len(asked) == 3 and not results.known
    assert sum("is not a JSON value" in record.message for record in caplog.records) == 1


def test_exceptions_and_tools_that_ask_a_model_are_not_recorded() -> None:
    asks, asked = dspy.Predict("word -> said"), []

    def expert(word: str) -> str:
        asked.append(word)
        return str(asks(word=word).said)

    def failing(word: str) -> str:
        asked.append(word)
        raise ValueError("no")

    class Catches(Asks):
        def forward(self, question: str) -> dspy.Prediction:
            try:
                return super().forward(question)
            except ValueError:
                self.polish(question=question)
                return dspy.Prediction(answer="[]")

    results = Memory()
    for tool in (expert, failing):
        asked.clear()
        ran(lambda tool=tool: Catches(dspy.Tool(tool)), results)
        ran(lambda tool=tool: Catches(dspy.Tool(tool)), results)
        assert len(asked) == 2 and not results.known


def test_a_replayed_result_belongs_to_its_run_alone() -> None:
    def rows(word: str) -> list[str]:
        return [word]

    class Appends(Asks):
        def forward(self, question: str) -> dspy.Prediction:
            found = self.tools[0](word=question)
            found.append("more")
            self.polish(question=question)
            return dspy.Prediction(answer=json.dumps(found))

    results = Memory()
    for _ in range(3):
        assert given(lambda: Appends(dspy.Tool(rows)), results) == ["Bern", "more"]


def test_a_replayed_result_counts_with_the_time_that_it_took() -> None:
    world, results = World(), Memory()
    make = lambda: Asks(dspy.Tool(world.look))  # noqa: E731
    ran(make, results)
    key, found = next(iter(results.known.items()))
    results.known[key] = ToolResult(text=found.text, seconds=100.0)
    outcome = ran(make, results)
    assert outcome.latency_s is not None and outcome.latency_s >= 100.0
    replayed = [Span(began=1.0, ended=1.0, counts_s=2.0), Span(began=1.0, ended=1.01, counts_s=3.0)]
    assert critical_path_s(replayed, began=1.0, ended=1.01) == 5.0


def test_the_tools_of_a_module_are_named_without_those_that_an_agent_adds() -> None:
    def look(word: str) -> str:
        return word

    for agent in (dspy.ReAct, dspy.ReActV2):
        assert [*tools_of(agent("question -> answer", tools=[look]))] == ["look"]
    assert tools_of(dspy.Predict("question -> answer")) == {}


@pytest.mark.parametrize("stored", [True, False])
def test_results_survive_the_process_where_texts_are_stored(tmp_path: Path, stored: bool) -> None:
    world = World()
    make = lambda: Asks(dspy.Tool(world.look))  # noqa: E731
    found = []
    for study in ("a", "a", "b"):
        with open_store(f"sqlite:///{tmp_path}/offramp.db") as store:
            found.append(given(make, StudyToolResults(store, study, stored=stored)))
    assert found == ([["Bern 1"], ["Bern 1"], ["Bern 2"]] if stored else [["Bern 1"], ["Bern 2"], ["Bern 3"]])


def test_runs_that_ask_at_the_same_time_get_the_result_that_was_recorded_first() -> None:
    async def go() -> list[str]:
        results = Memory()
        return [results.keep("k", "look", ToolResult(text=text, seconds=1)).text for text in ("1", "2")]

    assert asyncio.run(go()) == ["1", "1"]
