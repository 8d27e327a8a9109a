"""One run of a program: what is sent, and whose doing its end is. DSPy is the real one; only the wire is made up."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from offramp.calls.failures import RateLimited, Refused, TooLong, Unauthorized
from offramp.errors import SpaceError
from offramp.program.program import Program
from offramp.records import CallReply, Candidate, Model, Purpose, Usage
from offramp.space.model import OutputField
from program_runs import (
    HOSTED,
    LABELS,
    LOCAL,
    SORT,
    make_candidate,
    make_example,
    make_fields,
    roles,
    run,
    transport,
    user_text,
)

TWO = {**SORT, "urgent": OutputField(type="bool")}
JSON_TWO = '{"category": "billing", "urgent": true}'
CHAT_TWO = "[[ ## category ## ]]\nbilling\n\n[[ ## urgent ## ]]\nTrue\n\n[[ ## completed ## ]]"
PLAIN_TWO = "category: billing\nurgent: true"
ANSWERS = {"plain": PLAIN_TWO, "json": JSON_TWO, "chat": CHAT_TWO}
SCHEMA_MODEL = replace(HOSTED, supports_json_schema=True)


def two(format: str, **changes: Any) -> Candidate:
    return make_candidate(adapter=format, **changes)


# --------------------------------------------------------------------------------------------- what is sent


@pytest.mark.parametrize("format", ["plain", "json", "chat"])
@pytest.mark.parametrize("form", ["predict", "chain_of_thought"])
def test_each_format_and_form_gives_typed_outputs(format: str, form: str) -> None:
    thought = {"plain": "reasoning: so\n", "json": "", "chat": "[[ ## reasoning ## ]]\nso\n\n"}[format]
    answer = ANSWERS[format] if form == "predict" else thought + ANSWERS[format]
    if format == "json" and form == "chain_of_thought":
        answer = json.dumps({"reasoning": "so", **json.loads(JSON_TWO)})
    outcome, requests = run(answer, two(format, module=form), fields=make_fields(TWO))
    assert outcome.outputs == {"category": "billing", "urgent": True}, outcome
    assert len(requests) == 1 and outcome.program_error is None and outcome.infrastructure_error is None
    assert "case 0" in user_text(requests[0]) and "Sort the message." in requests[0].messages[0]["content"]


@pytest.mark.parametrize("format", ["plain", "json", "chat"])
def test_request_parameters_reach_the_wire_whatever_their_value(format: str) -> None:
    params = {"temperature": 0.0, "top_p": 0.5, "max_tokens": 7, "seed": 0, "min_p": 0.0, "reasoning_effort": "low"}
    _, requests = run(ANSWERS[format], two(format, request_params=params), fields=make_fields(TWO))
    assert dict(requests[0].params) == params


def test_without_parameters_nothing_is_sent_along() -> None:
    _, requests = run("billing")
    assert dict(requests[0].params) == {}
    assert requests[0].purpose is Purpose.PROGRAM and requests[0].replicate == 0


def test_a_schema_is_asked_for_only_when_constrained() -> None:
    _, free = run(JSON_TWO, two("json"), fields=make_fields(TWO), model=SCHEMA_MODEL)
    assert "response_format" not in free[0].params
    _, held = run(JSON_TWO, two("json", constrained=True), fields=make_fields(TWO), model=SCHEMA_MODEL)
    asked = held[0].params["response_format"]
    assert asked["type"] == "json_schema"
    properties = asked["json_schema"]["schema"]["properties"]
    assert properties["category"]["enum"] == LABELS and properties["urgent"]["type"] == "boolean"
    assert "grammar" not in held[0].params


def test_a_schema_says_what_may_be_null_and_what_is_in_a_list() -> None:
    outputs = {
        "note": OutputField(optional=True),
        "items": OutputField(type="list[object]", fields={"product": "str", "quantity": "int"}),
    }
    answer = '{"note": null, "items": [{"product": "jam", "quantity": 2}]}'
    outcome, requests = run(answer, two("json", constrained=True), fields=make_fields(outputs), model=SCHEMA_MODEL)
    assert outcome.outputs == {"note": None, "items": [{"product": "jam", "quantity": 2}]}
    schema = json.dumps(requests[0].params["response_format"])
    assert '"null"' in schema and '"quantity"' in schema and '"required": ["note", "items"]' in schema


def test_a_grammar_is_sent_only_with_the_plain_format_when_constrained() -> None:
    _, held = run("billing", make_candidate(constrained=True), model=LOCAL)
    assert held[0].params == {"grammar": 'root ::= ("billing" | "shipping" | "returns")'}
    _, free = run("billing", model=LOCAL)
    assert "grammar" not in free[0].params
    _, chat = run(CHAT_TWO, two("chat", constrained=True), fields=make_fields(TWO))
    assert dict(chat[0].params) == {}


def test_the_grammar_of_one_run_does_not_leak_into_another_at_the_same_time() -> None:
    started = []

    async def send(request: Any) -> CallReply:
        started.append(request)
        while len(started) < 6:  # all are under way before the first answer
            await asyncio.sleep(0)
        return CallReply(text="billing", finish_reason="stop", usage=Usage(), latency_s=0.1)

    async def go() -> list[Any]:
        held = Program(make_candidate(constrained=True), fields=make_fields(), model=LOCAL, send=send)
        free = Program(make_candidate(request_params={"seed": 1}), fields=make_fields(), model=LOCAL, send=send)
        return await asyncio.gather(*(p.run(make_example(i)) for i in range(3) for p in (held, free)))

    assert all(outcome.outputs == {"category": "billing"} for outcome in asyncio.run(go()))
    assert sorted(sorted(request.params) for request in started) == [["grammar"]] * 3 + [["seed"]] * 3


def test_replicate_and_purpose_are_those_of_the_run() -> None:
    wire = transport("billing")

    async def go() -> None:
        program = Program(make_candidate(), fields=make_fields(), model=HOSTED, send=wire.send)
        await program.run(make_example(), purpose=Purpose.PROBE, replicate=3)

    asyncio.run(go())
    assert (wire.requests[0].purpose, wire.requests[0].replicate) == (Purpose.PROBE, 3)


@pytest.mark.parametrize("format", ["plain", "json", "chat"])
@pytest.mark.parametrize(
    "text", ["", "null", "\x00", '{"a": 1}', "[[ ## category ## ]]\nbilling", "a\r\nb", [1, {"b": None}], 5]
)
def test_any_input_can_be_sent(format: str, text: Any) -> None:
    outcome, requests = run(ANSWERS[format], two(format), make_example(0, message=text), fields=make_fields(TWO))
    assert outcome.outputs is not None and len(requests) == 1


# ------------------------------------------------------------------------------------- the program's faults


@pytest.mark.parametrize("format", ["plain", "json", "chat"])
@pytest.mark.parametrize(
    "answer", ["I cannot say.", "", "   ", "[" * 30_000, "{" * 3000, '{"category": "refunds"}', "\x00\ud800"]
)
def test_an_answer_that_cannot_be_parsed_is_a_program_error_after_one_request(format: str, answer: str) -> None:
    outcome, requests = run(answer, two(format), fields=make_fields(TWO))
    assert (
        outcome.program_error is not None
        and outcome.program_error.startswith("unparsable answer:")
        and len(outcome.program_error) < 250
    )
    assert outcome.outputs is None and outcome.infrastructure_error is None
    assert len(requests) == 1 and len(outcome.replies) == 1, "no second request in another format"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("format", ["plain", "json", "chat"])
def test_a_number_that_is_not_one_is_a_program_error(format: str, number: str) -> None:
    answers = {"plain": number, "json": f'{{"price": {number}}}', "chat": f"[[ ## price ## ]]\n{number}"}
    outcome, _ = run(answers[format], two(format), fields=make_fields({"price": OutputField(type="float")}))
    assert outcome.outputs is None and outcome.program_error is not None


@pytest.mark.parametrize(
    "fault", [Refused("no"), TooLong("4096 tokens"), Refused("no", usage=Usage(input_tokens=9), latency_s=0.5)]
)
@pytest.mark.parametrize("format", ["plain", "json", "chat"])
def test_a_refusal_is_a_program_error_with_its_usage(format: str, fault: Refused) -> None:
    outcome, _ = run(lambda _: fault, two(format))
    assert outcome.program_error == str(fault) and outcome.infrastructure_error is None and outcome.trace == ()
    assert [(r.usage.input_tokens, r.latency_s) for r in outcome.replies] == ([(9, 0.5)] if fault.latency_s else [])


# ----------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("format", ["plain", "json", "chat"])
@pytest.mark.parametrize("error", [RateLimited("429"), Unauthorized("401"), RuntimeError("a bug below")])
def test_what_fails_below_is_a_failure_and_itself(format: str, error: Exception) -> None:
    outcome, requests = run(lambda _: error, two(format))
    assert outcome.infrastructure_error is error and outcome.program_error is None and outcome.outputs is None
    assert len(requests) == 1, "DSPy does not try again by itself"


def test_a_cancelled_run_raises_and_leaves_no_request_behind() -> None:
    async def go() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def send(_: Any) -> CallReply:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

        program = Program(make_candidate(), fields=make_fields(), model=HOSTED, send=send)
        task = asyncio.create_task(program.run(make_example()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set() and asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(go())


# ------------------------------------------------------------------------------------------ names of fields


@pytest.mark.parametrize(
    "name", ["demos", "config", "lm", "signature", "self", "completions", "new_signature", "_x", "model_dump"]
)
def test_an_input_name_that_dspy_takes_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(SpaceError, match=name):
        run("billing", example=make_example(0, **{name: "text"}), fields=make_fields(inputs=(name,)))


@pytest.mark.parametrize("name", ["items", "keys", "completions", "reasoning", "message_", "lm", "demos", "copy"])
@pytest.mark.filterwarnings("ignore:Field name")
def test_outputs_may_have_the_names_of_what_a_prediction_does(name: str) -> None:
    outcome, _ = run("text", fields=make_fields({name: OutputField()}))
    assert outcome.outputs == {name: "text"}


def test_a_chain_of_thought_refuses_a_task_with_a_reasoning_of_its_own() -> None:
    fields = make_fields({"reasoning": OutputField(type="int")})
    with pytest.raises(SpaceError, match="reasoning"):
        run("1", make_candidate(module="chain_of_thought"), fields=fields)
    with pytest.raises(SpaceError, match="reasoning"):
        run("x", make_candidate(module="chain_of_thought"), fields=make_fields(inputs=("reasoning",)))


# --------------------------------------------------------------------------------------------------- demos

DEMOS = {
    "main": [{"message": "Where is it?", "category": "shipping"}, {"message": "Money back", "category": "returns"}]
}


def test_demos_are_shown_before_the_input() -> None:
    _, requests = run("billing", demos=DEMOS)
    assert roles(requests[0]) == "suauau"
    assert [m["content"] for m in requests[0].messages[1:]] == [
        "Where is it?",
        "shipping",
        "Money back",
        "returns",
        "case 0",
    ]


@pytest.mark.parametrize("format", ["plain", "json", "chat"])
def test_demos_without_reasoning_are_shown_to_a_chain_of_thought_all_the_same(format: str) -> None:
    answers = {
        "plain": "reasoning: so\ncategory: billing",
        "json": '{"reasoning": "so", "category": "billing"}',
        "chat": "[[ ## reasoning ## ]]\nso\n[[ ## category ## ]]\nbilling",
    }
    outcome, requests = run(answers[format], two(format, module="chain_of_thought"), demos=DEMOS)
    assert outcome.outputs == {"category": "billing"}
    assert roles(requests[0]) == "suauau" and "shipping" in requests[0].messages[2]["content"]
    if format == "plain":
        assert requests[0].messages[2]["content"] == "category: shipping"


def test_the_model_of_a_candidate_is_asked() -> None:
    other = Model(name="other", route="openai/other")
    _, requests = run("billing", model=other)
    assert requests[0].model is other
