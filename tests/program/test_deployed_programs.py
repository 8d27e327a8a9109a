"""A loaded program in an app: typed answers, streams, threads, event loops, and inside larger programs of DSPy."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
from dspy.clients.lm15_boundary import request_kwargs
from dspy.lm15 import response_from_openai_chat

from offramp.errors import UsageError
from offramp.program.background import BACKGROUND
from offramp.program.deployed import DeployedProgram
from offramp.program.program import Program
from offramp.records import Model
from offramp.space.model import OutputField
from program_runs import HOSTED, make_candidate, make_fields, transport

FIELDS = make_fields(
    {
        "invoice": OutputField(type="object", fields={"vendor": "str", "total": "float"}),
        "lines": OutputField(type="list[object]", fields={"item": "str", "count": "int"}),
        "paid": OutputField(type="bool"),
    }
)
VALUES = {"invoice": {"vendor": "Acme", "total": 9.5}, "lines": [{"item": "nut", "count": 3}], "paid": True}


def deployed(answer: Any, *, fields: Any = FIELDS, **changes: Any) -> DeployedProgram:
    wire = transport(answer)

    async def make() -> Program:
        candidate = make_candidate(**{"adapter": "json", **changes})
        return Program(candidate, fields=fields, model=HOSTED, send=wire.send)

    program = BACKGROUND.wait(make())
    return DeployedProgram(lambda: [program], feature="invoices")


@pytest.mark.parametrize("adapter", ["plain", "chat", "json"])
def test_answers_have_the_types_that_the_task_declares(adapter: str) -> None:
    texts = {name: json.dumps(value) for name, value in VALUES.items()}
    answer = {
        "json": json.dumps(VALUES),
        "plain": "\n".join(f"{name}: {text}" for name, text in texts.items()),
        "chat": "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in texts.items()),
    }[adapter]
    found = deployed(answer, adapter=adapter)(message="m")
    assert isinstance(found, dspy.Prediction)
    assert found.invoice.vendor == "Acme" and found.invoice.total == 9.5
    assert found.invoice["vendor"] == "Acme", "as in the JSON"
    assert [line.count for line in found.lines] == [3] and found.paid is True
    with pytest.raises(KeyError):
        found.invoice["buyer"]


def test_what_a_program_gives_beside_its_outputs_is_there_too() -> None:
    fields = make_fields({"category": OutputField()})
    answer = json.dumps({"reasoning": "as asked", "category": "billing"})
    found = deployed(answer, fields=fields, module="chain_of_thought")(message="m")
    assert (found.reasoning, found.category) == ("as asked", "billing")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("listeners", [False, True])
def test_a_stream_of_a_loaded_program_is_one_whole_answer(is_async: bool, listeners: bool) -> None:
    program = deployed("billing", fields=make_fields({"category": OutputField()}), adapter="plain")

    async def stream() -> list[Any]:
        options: dict[str, Any] = {"is_async_program": is_async}
        if listeners:
            heard = dspy.streaming.StreamListener(signature_field_name="category", predict=program.predictors()[0])
            options["stream_listeners"] = [heard]
        return [value async for value in dspy.streamify(program, **options)(message="m")]

    values = [value for value in asyncio.run(stream()) if not isinstance(value, dspy.streaming.StatusMessage)]
    assert len(values) == 1 and values[0].category == "billing"


def test_threads_and_event_loops_may_call_it_at_once() -> None:
    program = deployed("billing", fields=make_fields({"category": OutputField()}), adapter="plain")

    async def together() -> list[Any]:
        return await asyncio.gather(*(program.acall(message=f"m{i}") for i in range(8)))

    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(lambda i: program(message=f"m{i}").category, range(8)))
    assert threads == ["billing"] * 8
    assert [found.category for found in asyncio.run(together())] == ["billing"] * 8


class Larger(dspy.Module):
    """A program of an app that uses a promoted one."""

    def __init__(self, sort: dspy.Module) -> None:
        super().__init__()
        self.sort = sort
        self.reply = dspy.Predict("category -> reply")

    def forward(self, message: str) -> dspy.Prediction:
        return self.reply(category=self.sort(message=message).category)


def test_it_is_a_part_of_a_larger_program_that_is_copied_saved_and_optimised(tmp_path: Any) -> None:
    sort = deployed("billing", fields=make_fields({"category": OutputField()}), adapter="plain")
    larger = Larger(sort)
    lm = dspy.utils.DummyLM([{"reply": "done"}] * 20)
    trainset = [dspy.Example(message=f"m{i}", reply="done").with_inputs("message") for i in range(4)]
    with dspy.context(lm=lm):
        assert larger.deepcopy()(message="m").reply == copy.deepcopy(larger)(message="m").reply == "done"
        better = dspy.BootstrapFewShot(metric=lambda gold, pred, trace=None: pred.reply == gold.reply).compile(
            larger, trainset=trainset
        )
        assert better(message="m").reply == "done" and better.reply.demos
    better.save(tmp_path / "state.json")
    again = Larger(sort)
    again.load(tmp_path / "state.json")
    assert len(again.reply.demos) == len(better.reply.demos)


class Two(dspy.Module):
    """Two predictors, one of them with tools."""

    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.ChainOfThought("message -> thought")
        self.sort = dspy.ReAct("message, thought -> category", tools=[lookup])

    def forward(self, message: str) -> dspy.Prediction:
        return self.sort(message=message, thought=self.think(message=message).thought)


def lookup(word: str) -> str:
    """What a word means here."""
    return f"{word} means billing"


def one() -> dspy.Module:
    return dspy.ChainOfThought("message -> category")


SCRIPT = [
    {"reasoning": "r", "thought": "money"},
    {"next_thought": "look", "next_tool_name": "lookup", "next_tool_args": {"word": "money"}},
    {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}},
    {"reasoning": "r", "category": "billing"},
]


def in_chat(values: dict[str, Any]) -> str:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in texts.items()) + "\n\n[[ ## completed ## ]]"


class Recording:
    """An engine of DSPy's that answers from a script and keeps what it was sent."""

    def __init__(self, answers: list[str]) -> None:
        self.answers, self.sent = list(answers), []  # type: ignore[var-annotated]

    def complete(self, request: Any) -> Any:
        self.sent.append(request_kwargs(request, "chat")["messages"])
        message = {"role": "assistant", "content": self.answers[len(self.sent) - 1]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return response_from_openai_chat(
            {"model": request.model, "choices": [choice], "usage": usage}, model=request.model
        )


@pytest.mark.parametrize("adapter", ["chat", "json"])
@pytest.mark.parametrize("factory", [Two, one])
@pytest.mark.parametrize("whole", [False, True])
def test_what_it_saves_sends_the_same_requests_in_plain_dspy(
    tmp_path: Any, factory: Any, whole: bool, adapter: str
) -> None:
    script = SCRIPT if factory is Two else SCRIPT[-1:]
    answers = [in_chat(values) if adapter == "chat" else json.dumps(values) for values in script]
    texts = {"think.predict": "Think of the bill.", "sort.react": "Sort it."} if factory is Two else {"main": "Sort."}
    shown = "think.predict" if factory is Two else "main"
    demo = {"message": "m0", "reasoning": "r0", "thought" if factory is Two else "category": "t0"}
    wire = transport(list(answers))

    async def make() -> Program:
        candidate = make_candidate(module="own", adapter=adapter, instructions=texts)
        fields, demos = make_fields({"category": OutputField()}), {shown: [demo]}
        return Program(candidate, fields=fields, model=HOSTED, send=wire.send, factory=factory, demos=demos)

    program = BACKGROUND.wait(make())
    loaded = DeployedProgram(lambda: [program], feature="sorting")
    assert loaded(message="m").category == "billing"

    loaded.save(tmp_path / "program" if whole else tmp_path / "state.json", save_program=whole)
    if whole:
        plain = dspy.load(str(tmp_path / "program"), allow_pickle=True)
    else:
        plain = factory()
        plain.load(tmp_path / "state.json")
    engine = Recording(answers)
    own_adapter = dspy.ChatAdapter() if adapter == "chat" else dspy.JSONAdapter()
    with dspy.context(lm=dspy.LM("openai/x", engine=engine, cache=False), adapter=own_adapter):
        assert plain(message="m").category == "billing"
    assert [list(request.messages) for request in wire.requests] == engine.sent


@pytest.mark.parametrize(
    ("model", "params", "says"),
    [
        (Model(name="house", route="openai/x", api_base="http://ada:secret@house/v1"), {}, "which may hold a secret"),
        (Model(name="house", route="openai/x", api_base="http://house/v1?key=secret"), {}, "which may hold a secret"),
        (Model(name="here", route="local/x"), {}, "'main' runs on here, which offramp itself serves on this machine"),
        (Model(name="gpt", route="openai/gpt-5"), {"max_tokens": 50}, "DSPy cannot be given as it runs"),
    ],
)
def test_what_it_cannot_save_so_that_the_same_server_is_asked_is_refused(
    tmp_path: Any, model: Model, params: dict[str, Any], says: str
) -> None:
    async def make() -> Program:
        candidate = make_candidate(module="own", adapter="chat", models={"main": model.name}, request_params=params)
        return Program(
            candidate, fields=make_fields({"category": OutputField()}), model=HOSTED, send=transport([]).send,
            factory=one, models={model.name: model},
        )  # fmt: skip

    program = BACKGROUND.wait(make())
    with pytest.raises(UsageError, match=says) as refused:
        DeployedProgram(lambda: [program], feature="sorting").save(tmp_path / "state.json")
    assert "secret@" not in str(refused.value) and "key=" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_predictor_with_parameters_of_its_own_is_saved_with_them() -> None:
    own = {"main": {"temperature": 0.9, "top_p": None}}

    async def make() -> Program:
        params = {"temperature": 0.0, "top_p": 0.5, "max_tokens": 50}
        candidate = make_candidate(module="own", adapter="chat", request_params=params, predictor_params=own)
        fields = make_fields({"category": OutputField()})
        return Program(candidate, fields=fields, model=HOSTED, send=transport([]).send, factory=one)

    program = BACKGROUND.wait(make())
    (state,) = (state["lm"] for state in DeployedProgram(lambda: [program], feature="sorting").dump_state().values())
    assert state["model"] == HOSTED.route and (state["temperature"], state["max_tokens"]) == (0.9, 50)
    assert "top_p" not in state


def test_a_promoted_program_takes_no_other_state() -> None:
    program = deployed("billing", fields=make_fields({"category": OutputField()}), adapter="plain")
    with pytest.raises(UsageError, match="takes no other state"):
        program.load_state(program.dump_state())


def test_a_copy_runs_the_same_programs_also_where_they_are_behind_a_lock() -> None:
    class Followed:
        def __init__(self) -> None:
            self.lock, self.made = threading.Lock(), deployed(json.dumps(VALUES))._programs()

        def current(self) -> Any:
            with self.lock:
                return self.made

    program = DeployedProgram(Followed().current, feature="invoices", on_unreadable="retry", default={"paid": False})
    outer = dspy.Module()
    outer.inner = program
    for copied in (copy.deepcopy(program), program.deepcopy(), copy.deepcopy(outer).inner, outer.reset_copy().inner):
        assert copied(message="m").paid is True and copied is not program
        assert (copied._tries, copied._default) == (2, {"paid": False})
