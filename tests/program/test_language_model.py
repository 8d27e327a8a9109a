"""The candidate's language model asks and answers as `dspy.LM` does, whether or not it takes DSPy's way through a request."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import dspy
import pytest
from dspy.clients._deprecation import adapter_message_call
from dspy.utils.callback import BaseCallback
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp import media
from offramp.calls.failures import Refused, ServerFailed
from offramp.program.engine import CallerEngine, SyncCallerEngine, recording
from offramp.program.language_model import CandidateLM
from offramp.program.program import Outcome
from offramp.program.run_log import RunLog
from offramp.records import CallReply, CallRequest, Candidate, Example, Purpose, Usage
from offramp.space.model import OutputField
from offramp.task.fields import TaskFields
from program_runs import HOSTED, LABELS, make_candidate, make_example, make_fields, run

USAGE = Usage(input_tokens=3, cached_input_tokens=1, output_tokens=2, reasoning_tokens=1)
CALL = {"id": "c1", "name": "look", "arguments": '{"at": 1}'}


class Plain(dspy.LM):  # type: ignore[misc]
    """`dspy.LM` alone over the same engine."""


def lm_of(kind: type[dspy.LM], engine: CallerEngine, temperature: float | None) -> dspy.LM:
    if kind is CandidateLM:
        return CandidateLM(engine, temperature)
    return Plain(
        "offramp/candidate", temperature=temperature, engine=SyncCallerEngine(engine), async_engine=engine,
        cache=False, num_retries=0,
    )  # fmt: skip


def asked(
    kind: type[dspy.LM], messages: Any, kwargs: dict[str, Any], answer: CallReply | Exception, *,
    params: dict[str, Any], prompt: str | None = None, **context: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """What a call came to, what was sent, and what is noted of it on the run."""
    sent: list[CallRequest] = []

    async def send(request: CallRequest) -> CallReply:
        sent.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def go() -> tuple[Any, RunLog]:
        log = RunLog(purpose=Purpose.PROGRAM, replicate=0)
        lm = lm_of(kind, CallerEngine(HOSTED, params, send, constrained=False), params.get("temperature"))
        used = {"disable_history": True, "send_stream": None, **context}
        with recording(log), dspy.context(**used), adapter_message_call(lm, messages):
            found = []
            for _ in range(2):  # the second has what the first has learnt
                try:
                    found.append(await lm.acall(prompt, messages=messages, **kwargs))
                except Exception as error:
                    cause = error.__cause__
                    found.append((type(error), str(error), type(cause), str(cause)))
        return found, log

    found, log = asyncio.run(go())
    noted = [(e.request, e.reply, e.predictor, e.step) for e in log.exchanges]
    failed = (
        None if log.infrastructure_error is None else (type(log.infrastructure_error), str(log.infrastructure_error))
    )
    wire = [(list(request.messages), dict(request.params), request.hash, request.replicate) for request in sent]
    orders = [[list(message) for message in request.messages] for request in sent]
    types = [{name: type(value) for name, value in request.params.items()} for request in sent]
    return found, wire, orders, types, noted, failed, log.program_error


def reply(text: str, *calls: dict[str, str]) -> CallReply:
    return CallReply(text=text, finish_reason="stop", usage=USAGE, latency_s=0.1, tool_calls=calls)


TEXTS = st.one_of(
    st.sampled_from(["", " ", "hello", "\n a \n", "ünï \U0001f600", "\ud800", "\x00"]), st.text(max_size=8)
)
CONTENTS = st.one_of(
    TEXTS,
    st.none(),
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=2),
)
MESSAGES = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS},
        ),
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(["system", "user", "assistant", "developer", "tool", "other"]),
                "content": CONTENTS,
            },
            optional={"name": st.just("n"), "tool_call_id": st.just("c1")},
        ),
    ),
    max_size=5,
)
VALUES: dict[str, Any] = {
    "temperature": st.sampled_from([0, 0.0, 1, 0.5, None, True, "hot"]),
    "max_tokens": st.sampled_from([5, 5.0, None, 0]), "top_p": st.sampled_from([0.5, 1, None]),
    "top_k": st.just(3), "seed": st.sampled_from([1, None]), "stop": st.sampled_from(["x", ["x", "y"], None]),
    "n": st.sampled_from([1, 2, None]), "num_generations": st.just(2), "logprobs": st.booleans(),
    "rollout_id": st.sampled_from([None, 3]), "cache": st.just(False), "reasoning_effort": st.sampled_from(["low", "?"]),
    "response_format": st.sampled_from([{"type": "json_object"}, None]), "user": st.just("u"),
    "presence_penalty": st.just(0.1), "api_key": st.sampled_from(["sk", None]), "unknown": st.just(1),
    "service_tier": st.just("flex"), "chat_template_kwargs": st.just({"enable_thinking": False}),
    "parallel_tool_calls": st.just(True), "tool_choice": st.sampled_from(["auto", None]), "verbosity": st.just("low"),
}  # fmt: skip
ANSWERS = st.one_of(
    st.builds(reply, TEXTS),
    st.builds(lambda text: reply(text, CALL), TEXTS),
    st.builds(lambda: Refused("no", latency_s=0.2)),
    st.builds(lambda: ServerFailed("broken")),
    st.builds(lambda: ValueError("odd")),
)


@given(
    messages=MESSAGES,
    kwargs=st.fixed_dictionaries({}, optional=VALUES),
    params=st.fixed_dictionaries({}, optional={"temperature": st.sampled_from([0, 0.0, 0.7, 1]), "seed": st.just(4)}),
    answer=ANSWERS,
)
@settings(max_examples=150, deadline=None)
def test_it_asks_and_answers_as_dspy_s_own(
    messages: list[Any], kwargs: dict[str, Any], params: dict[str, Any], answer: Any
) -> None:
    given_: tuple[Any, ...] = (messages, kwargs, answer)
    assert asked(CandidateLM, *given_, params=params) == asked(Plain, *given_, params=params)


@given(turns=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), min_size=1, max_size=6), system=TEXTS)
@settings(max_examples=100, deadline=None)
def test_texts_arrive_as_dspy_sends_them(turns: list[tuple[str, str]], system: str) -> None:
    messages = [{"role": "system", "content": system}, *({"role": role, "content": text} for role, text in turns)]
    given_: tuple[Any, ...] = (messages, {}, reply("a"))
    assert asked(CandidateLM, *given_, params={"temperature": 0}) == asked(Plain, *given_, params={"temperature": 0})


USER = [{"role": "user", "content": "hello"}]


def slow(*_: Any) -> bool:
    return False


class Noting(BaseCallback):  # type: ignore[misc]
    """Keeps what it is told of the language model."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.told.append(inputs)

    def on_lm_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
        self.told.append(outputs)


def test_callbacks_usage_and_histories_have_what_they_have_of_dspy_s_own() -> None:
    found = []
    for kind in (CandidateLM, Plain):
        noting = Noting()
        with dspy.track_usage() as tracker:
            asked(kind, USER, {}, reply("a"), params={}, callbacks=[noting])
            asked(kind, USER, {}, reply("a"), params={})
        found.append((noting.told, tracker.get_total_tokens()))
    assert found[0] == found[1]
    assert found[0][0] and found[0][1]


def test_a_prompt_is_answered_as_by_dspy_s_own() -> None:
    given_: tuple[Any, ...] = (None, {}, reply("a"))
    assert asked(CandidateLM, *given_, params={}, prompt="hi") == asked(Plain, *given_, params={}, prompt="hi")


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether each request went directly."""
    taken: list[bool] = []
    asked, complete, converted = CallerEngine.asked, CallerEngine.complete, ContextVar("converted", default=False)

    async def counted(engine: CallerEngine, written: Any) -> CallReply:
        if not converted.get():
            taken.append(True)
        return await asked(engine, written)

    async def by_dspy(engine: CallerEngine, request: Any) -> Any:
        converted.set(True)
        return await complete(engine, request)

    monkeypatch.setattr(CallerEngine, "asked", counted)
    monkeypatch.setattr(CallerEngine, "complete", by_dspy)
    yield taken


FIELDS: dict[str, tuple[TaskFields, Example]] = {
    "a label": (make_fields(), make_example()),
    "several outputs": (
        make_fields({"category": OutputField(type="enum", values=LABELS), "count": OutputField(type="int"),
                     "sure": OutputField(type="bool", optional=True)}, inputs=("message", "other")),
        make_example(message="first\nsecond", other='"quoted" ünï', category=LABELS[0], count=3, sure=None),
    ),
    "objects": (
        make_fields({"things": OutputField(type="list[object]", fields={"name": "str", "size": "float"})}),
        make_example(message="a thing", things=[{"name": "a", "size": 1.5}]),
    ),
}  # fmt: skip
PICTURE = base64.b64decode("iVBORw0KGgo=")
RIGHT = {
    "a label": {"category": LABELS[0]},
    "several outputs": {"category": LABELS[1], "count": 4, "sure": True},
    "objects": {"things": [{"name": "b", "size": 2.0}]},
    "a picture": {"category": LABELS[2]},
}


def field_set(name: str) -> tuple[TaskFields, Example]:
    if name != "a picture":
        return FIELDS[name]
    output = OutputField(type="enum", values=LABELS)
    fields = TaskFields(inputs=("message", "shown"), outputs={"category": output}, media={"shown": "image"})
    return fields, make_example(message="what?", shown=media.of_bytes(PICTURE), category=LABELS[0])


def shown(outcome: Outcome) -> tuple[Any, ...]:
    return (
        outcome.outputs, None if outcome.prediction is None else outcome.prediction.toDict(), outcome.program_error,
        outcome.unreadable, repr(outcome.crash), repr(outcome.infrastructure_error), outcome.latency_s, outcome.trace,
        [(e.reply, e.request, e.predictor, e.adapter, e.step) for e in outcome.exchanges], outcome.confidence,
    )  # fmt: skip


def answers(name: str, adapter: str, reasoning: bool) -> list[str]:
    """A right answer in the format, and wrong ones."""
    import json

    values = {**({"reasoning": "because"} if reasoning else {}), **RIGHT[name]}
    texts = {field: v if isinstance(v, str) else json.dumps(v) for field, v in values.items()}
    marked = "\n\n".join(f"[[ ## {field} ## ]]\n{text}" for field, text in texts.items()) + "\n\n[[ ## completed ## ]]"
    lines = "\n".join(f"{field}: {text}" for field, text in texts.items())
    right = {
        "chat": marked,
        "json": json.dumps(values),
        "plain": lines if len(texts) > 1 else next(iter(texts.values())),
    }
    return [right[adapter], "no such thing", "", "{", '{"category": 1}']


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("module", ["predict", "chain_of_thought", "best_of 2"])
@pytest.mark.parametrize("adapter", ["plain", "chat", "json"])
@pytest.mark.parametrize("name", [*FIELDS, "a picture"])
def test_a_candidate_runs_as_over_dspy_s_own(
    name: str, adapter: str, module: str, constrained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "a picture" and adapter == "plain":
        return  # it is refused before any run
    fields, example = field_set(name)
    for demos in [{}, {"main": [dict(example.values)]}]:
        for params in [{}, {"temperature": 0, "max_tokens": 9}, {"temperature": 0.7, "seed": 2}]:
            candidate: Candidate = make_candidate(
                adapter=adapter, module=module, constrained=constrained, request_params=params,
                instructions={"main": "Sort it.", "verify": "Check it."},
            )  # fmt: skip
            for text in answers(name, adapter, module == "chain_of_thought"):
                options: dict[str, Any] = {"fields": fields, "demos": demos}
                directly = run(text, candidate, example, **options)
                with monkeypatch.context() as patched:
                    patched.setattr(CandidateLM, "_is_plain", slow)
                    through = run(text, candidate, example, **options)
                assert [(r, r.hash) for r in directly[1]] == [(r, r.hash) for r in through[1]]
                assert [[list(m) for m in r.messages] for r in directly[1]] == [
                    [list(m) for m in r.messages] for r in through[1]
                ]
                assert shown(directly[0]) == shown(through[0])


@pytest.mark.parametrize("adapter", ["plain", "chat", "json"])
def test_a_plain_candidate_goes_directly(adapter: str, ways: list[bool]) -> None:
    run(LABELS[0], make_candidate(adapter=adapter, request_params={"temperature": 0.0}))
    assert ways == [True]
