"""Tools by a provider's own interface: what is asked, what comes back, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import dspy
import pytest

from offramp.calls.transports.replies import read_reply
from offramp.errors import JobError
from offramp.program.program import Outcome
from offramp.records import CallReply, CallRequest, Ending, Usage
from offramp.space.model import OutputField
from program_runs import HOSTED, make_candidate, make_example, make_fields, run

FIELDS = make_fields({"answer": OutputField()}, inputs=("question",))
TOOLED = replace(HOSTED, supported_params=frozenset({"tools", "tool_choice", "temperature"}))
USAGE = Usage(input_tokens=40, output_tokens=8)


def population(city: str) -> str:
    """How many people live there."""
    return {"Bern": "134,000"}.get(city, "unknown")


class Agent(dspy.Module):
    """DSPy's second agent, under an adapter of its own that uses native tools."""

    native = True

    def __init__(self) -> None:
        super().__init__()
        self.agent = dspy.ReActV2("question -> answer", tools=[population], max_iters=4)

    def forward(self, question: str) -> dspy.Prediction:
        if not self.native:
            return self.agent(question=question)
        with dspy.context(adapter=dspy.ChatAdapter(use_native_function_calling=True)):
            return self.agent(question=question)


class TextAgent(Agent):
    native = False


def native_reply(request: CallRequest) -> CallReply:
    """Looks the city up, then submits what the tool said."""
    seen = [message for message in request.messages if message["role"] == "tool"]
    name, arguments = "population", {"city": "Bern"}
    if seen:
        name, arguments = "submit", {"answer": str(seen[-1]["content"])}
    call = {"id": f"call-{len(seen)}", "name": name, "arguments": json.dumps(arguments)}
    return CallReply(text="", finish_reason="tool_calls", usage=USAGE, latency_s=0.1, tool_calls=(call,))


def text_reply(request: CallRequest) -> CallReply:
    text = json.dumps([dict(message) for message in request.messages])
    name, args = ("submit", {"answer": "134,000"}) if "134,000" in text else ("population", {"city": "Bern"})
    calls = json.dumps({"tool_calls": [{"name": name, "args": args}]})
    said = f"[[ ## next_thought ## ]]\nlook\n\n[[ ## tool_calls ## ]]\n{calls}\n\n[[ ## completed ## ]]"
    return CallReply(text=said, finish_reason="stop", usage=USAGE, latency_s=0.1)


def asked(factory: Any, answers: Any, model: Any = TOOLED) -> tuple[Outcome, list[CallRequest]]:
    candidate = make_candidate(module="own", adapter="chat", instructions={})
    example = make_example(question="Bern?", answer="134,000")
    return run(answers, candidate, fields=FIELDS, factory=factory, model=model, example=example)


def test_an_agent_calls_its_tools_natively_where_its_adapter_says_so() -> None:
    outcome, requests = asked(Agent, native_reply)
    assert outcome.outputs == {"answer": "134,000"}, outcome
    assert len(requests) == len(outcome.replies) == 2
    names = [tool["function"]["name"] for tool in requests[0].params["tools"]]
    assert names == ["population", "submit"]
    roles = [message["role"] for message in requests[1].messages]
    assert "tool" in roles and any(message.get("tool_calls") for message in requests[1].messages)
    assert requests[0].hash != requests[1].hash and all(reply.ending is Ending.ANSWERED for reply in outcome.replies)


def test_the_same_agent_calls_its_tools_in_text_where_nothing_says_so() -> None:
    outcome, requests = asked(TextAgent, text_reply)
    assert outcome.outputs == {"answer": "134,000"}, outcome
    assert all("tools" not in request.params for request in requests)
    assert "How many people live there." in requests[0].messages[0]["content"] + requests[0].messages[-1]["content"]


def test_a_model_without_native_tools_is_asked_in_text_as_dspy_does() -> None:
    outcome, requests = asked(Agent, text_reply, HOSTED)
    assert outcome.outputs == {"answer": "134,000"} and all("tools" not in request.params for request in requests)


def test_tools_that_a_model_cannot_take_are_refused_with_what_to_do() -> None:
    class Raw(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = dspy.Predict("question -> answer")

        def forward(self, question: str) -> dspy.Prediction:
            tool = dspy.Tool(population).format_as_litellm_function_call()
            dspy.settings.lm(question, tools=[tool])
            return dspy.Prediction(answer="x")

    outcome, requests = asked(Raw, native_reply, HOSTED)
    assert not requests and isinstance(outcome.infrastructure_error, JobError)
    assert "list `tools` under `supports`" in str(outcome.infrastructure_error)


@pytest.mark.parametrize("arguments", ['{"city": "Bern"}', {"city": "Bern"}])
def test_calls_in_a_reply_are_read_whether_their_arguments_are_text_or_an_object(arguments: Any) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "population", "arguments": arguments}}]
    body = {"choices": [{"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    reply = read_reply(body, Usage(), 0.1)
    assert reply.text == "" and json.loads(reply.tool_calls[0]["arguments"]) == {"city": "Bern"}
    assert reply.ending is Ending.ANSWERED
