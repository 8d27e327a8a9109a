"""`supports` in a space file: a parameter that LiteLLM does not list for a model is sent all the same, and no other."""

import asyncio

import pytest

from offramp.calls.failures import InvalidRequest
from offramp.calls.transports.litellm import LiteLLMTransport
from offramp.models.acceptance import rejection
from offramp.models.catalogue import resolve
from offramp.records import CallRequest
from offramp.space.model import ModelPart
from offramp.testing.server import ScriptedServer, ServerReply

CASES = [
    ("openai/o3-mini", "frequency_penalty", 0.2),
    ("openai/o3-mini", "top_p", 0.5),
    ("openai/gpt-3.5-turbo", "reasoning_effort", "low"),
    ("openai/o1", "parallel_tool_calls", False),
    ("openai/o3-mini", "presence_penalty", 0.5),
]


def sent(route, params, supports):
    """The body of the one request."""
    with ScriptedServer([ServerReply()]) as server:
        model = resolve(ModelPart(name=route, api_base=server.url, supports=supports), "test")
        request = CallRequest(model=model, messages=({"role": "user", "content": "hello"},), params=params)
        asyncio.run(LiteLLMTransport(30).send(request))
        return server.requests[0].body


@pytest.mark.parametrize(("route", "name", "value"), CASES)
def test_a_stated_parameter_is_accepted_and_is_in_the_body(route, name, value):
    model = resolve(ModelPart(name=route, supports=[f"+{name}"]), "test")
    assert rejection(model, {name: value}) is None
    body = sent(route, {name: value}, [f"+{name}"])
    assert body[name] == value and "allowed_openai_params" not in body


@pytest.mark.parametrize(("route", "name", "value"), CASES)
def test_the_same_parameter_is_refused_where_nobody_states_it_or_another_is_stated(route, name, value):
    for supports in (None, ["+max_tokens"]):
        assert rejection(resolve(ModelPart(name=route, supports=supports), "test"), {name: value}) is not None
        with pytest.raises(InvalidRequest):
            sent(route, {name: value}, supports)
