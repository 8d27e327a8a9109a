"""A request that goes directly means the same as LiteLLM's: what the provider receives, and what is read of what it says."""

import asyncio
import json
import random
import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_calls import make_model

from offramp.calls.estimate import output_tokens
from offramp.calls.failures import CallError
from offramp.calls.transports import litellm as litellm_transport
from offramp.calls.transports import wire
from offramp.calls.transports.dialects import DIALECTS
from offramp.calls.transports.litellm import LiteLLMTransport
from offramp.records import CallRequest
from offramp.testing.server import ScriptedServer, ServerReply

KEY = "sk-test-1234567890abcdef"
PRIME = "prime: "
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("SCRIPTED_API_KEY", KEY)


class Both:
    """One request through LiteLLM, and one alike directly; `asked` counts what LiteLLM was asked for."""

    def __init__(self, server, replies, monkeypatch):
        self.server, self.replies = server, replies
        self.asked = []
        original = litellm_transport._litellm().acompletion

        async def counted(**arguments):
            self.asked.append(arguments.get("client"))
            return await original(**arguments)

        monkeypatch.setattr(litellm_transport._litellm(), "acompletion", counted)

    def request(self, messages, params=None, **model):
        model = {"api_base": self.server.url, "api_key_env": "SCRIPTED_API_KEY", **model}
        return CallRequest(model=make_model(**model), messages=tuple(messages), params=params or {})

    def run(self, messages, reply, params=None, first=None, **model):
        """Outcome and what the server received: by LiteLLM, then directly. The last is how often LiteLLM sent."""

        first = first or ServerReply()

        async def go():
            request = self.request(messages, params, **model)
            alike = self.request([worded(m, PRIME) for m in messages], params, **model)
            self.replies[:] = [reply]
            reference = LiteLLMTransport(5.0)
            reference._wire.kind = lambda *_: None  # LiteLLM alone, with its own client
            one = await outcome(reference, request)
            transport = LiteLLMTransport(5.0)
            self.replies[:] = [first, reply]
            await outcome(transport, alike)
            self.asked.clear()
            other = await outcome(transport, request)
            await transport.aclose()
            return one, other

        before = len(self.server.requests)
        one, other = asyncio.run(go())
        received = self.server.requests[before:]
        return one, other, received


def worded(message, word):
    content = message.get("content")
    return {**message, "content": word + content} if isinstance(content, str) and content.strip() else message


async def outcome(transport, request):
    """What a request came to, but for the time that it took."""
    try:
        reply = await transport.send(request)
    except CallError as error:
        more = {name: value for name, value in vars(error).items() if name != "latency_s"}
        return type(error).__name__, str(error), more, error.latency_s is None
    made_up = [{**call, "id": "made up by LiteLLM"} for call in reply.tool_calls if call["id"].startswith("call_")]
    found = {name: getattr(reply, name) for name in reply.__slots__ if name != "latency_s"}
    return {**found, "tool_calls": made_up or reply.tool_calls}, reply.latency_s > 0


@pytest.fixture(scope="module")
def scripted():
    replies = []
    with ScriptedServer(lambda _: replies.pop(0) if len(replies) > 1 else replies[0]) as server:
        yield server, replies


@pytest.fixture
def both(scripted, monkeypatch):
    return Both(*scripted, monkeypatch)


USER = {"role": "user", "content": "hello there"}
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "look", "description": "d", "parameters": {"type": "object", "properties": {}}},
    }
]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
MESSAGES = {
    "one": [USER],
    "system": [{"role": "system", "content": "Be brief."}, USER],
    "demos": [USER, {"role": "assistant", "content": "a"}, USER],
    "blank": [{"role": "system", "content": ""}, {"role": "user", "content": "  "}],
    "unicode": [{"role": "user", "content": 'ünï "quoted" \\ \n\t \u2028 \U0001f600 \x00'}],
    "picture": [{"role": "user", "content": [{"type": "text", "text": "what?"}, PICTURE]}],
    "sound": [{"role": "user", "content": [{"type": "text", "text": "what?"}, SOUND]}],
    "tools": [USER, {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
              {"role": "tool", "tool_call_id": "c1", "content": "found"}],
    "two users": [USER, USER],
    "assistant last": [USER, {"role": "assistant", "content": "a"}],
}  # fmt: skip
PARAMS = {
    "none": {},
    "usual": {"temperature": 0.0, "max_tokens": 20, "top_p": 0.9, "seed": 3, "stop": ["x"]},
    "own server": {"top_k": 5, "chat_template_kwargs": {"enable_thinking": False}, "extra_body": {"min_p": 0.1}},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
    "tools": {"tools": TOOLS, "tool_choice": "auto"},
    "thinking": {"reasoning_effort": "low", "max_completion_tokens": 50},
    "tier": {"service_tier": "flex"},
}
ROUTES = ["openai/scripted-1", "openai/gpt-4o-mini", "openai/gpt-5-mini", "openai/o3-mini", "openai/some/org-model"]


def same(both, messages, reply, params=None, first=None, **model):
    one, other, received = both.run(messages, reply, params, first, **model)
    assert other == one
    if len(received) == 3:  # as LiteLLM sent it, one alike, and directly
        first, _, last = received
        assert last.body == first.body and last.path == first.path
        assert {**last.headers, "content-length": ""} == {**first.headers, "content-length": ""}
    return received


@pytest.mark.parametrize("name", MESSAGES)
def test_every_kind_of_message_arrives_as_litellm_sends_it(both, name):
    assert len(same(both, MESSAGES[name], ServerReply())) == 3


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", PARAMS)
def test_every_parameter_arrives_as_litellm_sends_it_or_is_refused_alike(both, name, route):
    same(both, MESSAGES["system"], ServerReply(), PARAMS[name], route=route)


@pytest.mark.parametrize("route", ["hosted_vllm/m", "litellm_proxy/m", "azure/m"])
def test_other_dialects_stay_with_litellm(both, route):
    one, other, _ = both.run(MESSAGES["one"], ServerReply(), route=route)
    assert other == one
    assert both.asked == [None], "no client is handed to it"


def test_a_plain_answer_is_read_without_litellm(both):
    same(both, MESSAGES["demos"], ServerReply(text="b"), PARAMS["usual"])
    assert both.asked == []


def plain(**changes):
    return ServerReply(text="fine", **changes)


REPLIES = {
    "headers": plain(headers={"Deprecation": "@1777507200", "Sunset": "Sat, 31 Jan 2027 00:00:00 GMT"}),
    "length": plain(finish_reason="length"),
    "no reason": plain(finish_reason=None),
    "odd reason": plain(finish_reason="eos"),
    "filter": plain(finish_reason="content_filter"),
    "thinking": ServerReply(text="<think>because</think>yes"),
    "Thinking": ServerReply(text="<thinking>because</thinking>yes"),
    "reasoning": ServerReply(message={"role": "assistant", "content": "yes", "reasoning_content": "because"}),
    "vllm": ServerReply(
        message={"role": "assistant", "content": "yes", "reasoning_content": None, "tool_calls": [], "refusal": None},
        extra={"prompt_logprobs": None, "kv_transfer_params": None, "service_tier": None, "system_fingerprint": None},
    ),
    "parts": ServerReply(message={"role": "assistant", "content": [{"type": "text", "text": "yes"}]}),
    "empty": ServerReply(text=""),
    "no content": ServerReply(message={"role": "assistant", "content": None}),
    "refusal": ServerReply(message={"role": "assistant", "content": None, "refusal": "no"}),
    "tools": ServerReply(message={"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}, finish_reason="stop"),
    "cached": plain(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}}),
    "cached on top": plain(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 40}}),
    "reasoned": plain(usage={**USAGE, "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": None}}),
    "deepseek": plain(usage={**USAGE, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}),
    "no usage": plain(usage=None),
    "odd usage": plain(usage={"prompt_tokens": None, "completion_tokens": 5, "total_tokens": 5}),
    "tier": plain(extra={"service_tier": "flex", "system_fingerprint": "fp_1", "model": "scripted-1-2026-01-01"}),
    "no model": plain(extra={"model": None}),
    "two choices": ServerReply(choices=[
        {"index": n, "message": {"role": "assistant", "content": "ab"[n]}, "finish_reason": "stop"} for n in range(2)
    ]),
    "error in 200": plain(extra={"error": {"message": "upstream", "code": 502}}),
    "error in choice": ServerReply(choices=[{"index": 0, "message": {"role": "assistant", "content": "x"},
                                             "finish_reason": "error", "error": {"message": "upstream", "code": 429}}]),
    "no choices": ServerReply(choices=[]),
    "no message": ServerReply(choices=[{"index": 0, "finish_reason": "stop"}]),
    "not json": ServerReply(body=b"{broken"),
    "html": ServerReply(body=b"<html>", headers={"Content-Type": "text/html"}),
    "list": ServerReply(body=b"[]"),
    "null": ServerReply(body=b"null"),
    "rate": ServerReply(status=429, text="slow down", headers={"Retry-After": "7"}),
    "rate ms": ServerReply(status=429, text="slow down", headers={"retry-after-ms": "1500"}),
    "quota": ServerReply(status=429, text="no credit left", code="insufficient_quota"),
    "key": ServerReply(status=401, text=f"Incorrect API key provided: {KEY}"),
    "forbidden": ServerReply(status=403, text="not for you"),
    "model": ServerReply(status=404, text="The model does not exist", code="model_not_found"),
    "gone": ServerReply(status=410, text="The model has been retired"),
    "invalid": ServerReply(status=400, text="bad temperature"),
    "long": ServerReply(status=400, text="maximum context length is 10", code="context_length_exceeded"),
    "large": ServerReply(status=413, text="too large"),
    "safety": ServerReply(status=400, text="rejected by our safety system"),
    "server": ServerReply(status=503, text="overloaded", headers={"Retry-After": "2"}),
    "gateway": ServerReply(status=504, text="gateway"),
    "html error": ServerReply(status=502, body=b"<html>bad gateway</html>", headers={"Content-Type": "text/html"}),
    "reset": ServerReply(reset=True),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
@pytest.mark.parametrize("name", REPLIES)
def test_every_reply_and_failure_is_read_as_litellm_reads_it(both, name):
    received = same(both, MESSAGES["one"], REPLIES[name])
    assert len(received) == 3, "nothing is sent twice"


COUNT = st.one_of(st.integers(0, 50), st.none())
DETAILS = st.dictionaries(
    st.sampled_from(["cached_tokens", "reasoning_tokens", "audio_tokens", "text_tokens", "odd"]), COUNT
)
MORE = ("refusal", "reasoning", "audio", "annotations", "logprobs", "service_tier", "system_fingerprint", "id", "odd")
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=5), st.just([]), st.just({}))


@st.composite
def bodies(draw):
    """Bodies that are near to a plain answer, with anything put into them."""
    usage = draw(st.fixed_dictionaries({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}, optional={
        "prompt_tokens_details": st.one_of(st.none(), DETAILS), "completion_tokens_details": st.one_of(st.none(), DETAILS),
        "cache_read_input_tokens": COUNT, "service_tier": st.sampled_from(["flex", None]),
    }))  # fmt: skip
    message = {"role": draw(st.sampled_from(["assistant", "assistant", "user", None])), "content": draw(
        st.one_of(st.text(max_size=12), st.sampled_from(["<think>a</think>b", " a ", None, "yes", "yes"])))}  # fmt: skip
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": draw(st.sampled_from(["stop", "length", "tool_calls", None, "x"])),
    }
    body = {"id": "r", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    for part in (body, choice, message):
        part |= draw(st.dictionaries(st.sampled_from(MORE), SCALAR, max_size=1))
    return json.dumps(body).encode()


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies())
def test_whatever_a_server_says_is_read_as_litellm_reads_it(both, body):
    same(both, MESSAGES["one"], ServerReply(body=body))


# ------------------------------------------------------------------------------------------ Anthropic and Gemini


def claude(**changes):
    part = {"type": "text", "text": changes.pop("text", "yes")}
    usage = {"input_tokens": 10, "output_tokens": 3, **changes.pop("usage", {})}
    body = {"id": "m1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": [part],
            "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}  # fmt: skip
    return ServerReply(body=json.dumps({**body, **changes}).encode())


def gemini(**changes):
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13, **changes.pop("usage", {})}
    part = changes.pop("part", {"text": changes.pop("text", "yes")})
    candidate = {
        "content": {"parts": [part], "role": "model"},
        "finishReason": changes.pop("reason", "STOP"),
        "index": 0,
    }
    candidate |= changes.pop("candidate", {})
    body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "r1"}
    return ServerReply(body=json.dumps({**body, **changes}).encode())


OTHERS = {"anthropic/claude-haiku-4-5": claude, "gemini/gemini-2.5-flash": gemini}
TURNS = {
    "long": [
        {"role": "system", "content": "Be brief. " * 2000 + "."},
        {"role": "user", "content": "word " * 9000 + "."},
    ],
    "spaces": [{"role": "system", "content": " a "}, {"role": "user", "content": "b\n"}],
    "two systems": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, USER],
    "system alone": [{"role": "system", "content": "a"}],
    **MESSAGES,
}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}
MORE_PARAMS = {**PARAMS, "thinking budget": THINKING, "top_k": {"top_k": 5}}


@pytest.mark.parametrize("route", OTHERS)
@pytest.mark.parametrize("name", TURNS)
def test_messages_in_other_dialects_arrive_as_litellm_sends_them(both, name, route):
    reply = OTHERS[route]()
    received = same(both, TURNS[name], reply, first=reply, route=route)
    if name in ("one", "system", "demos", "unicode", "long"):
        assert len(received) == 3 and both.asked == []


@pytest.mark.parametrize("route", OTHERS)
@pytest.mark.parametrize("name", MORE_PARAMS)
def test_parameters_in_other_dialects_arrive_as_litellm_sends_them(both, name, route):
    reply = OTHERS[route]()
    same(both, MESSAGES["system"], reply, MORE_PARAMS[name], first=reply, route=route)


ANTHROPIC_REPLIES = {
    "cached": claude(usage={"cache_read_input_tokens": 7, "cache_creation_input_tokens": 2, "service_tier": "priority"}),
    "written": claude(usage={"cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 0}}),
    "length": claude(stop_reason="max_tokens"),
    "stopped": claude(stop_reason="stop_sequence", stop_sequence="x"),
    "refusal": claude(stop_reason="refusal"),
    "thinking": claude(content=[{"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "text", "text": "b"}]),
    "two texts": claude(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    "tool": claude(content=[{"type": "tool_use", "id": "t", "name": "look", "input": {}}], stop_reason="tool_use"),
    "nothing": claude(content=[]),
    "think": claude(text="<think>a</think>b"),
    "no usage": claude(usage={"input_tokens": 0, "output_tokens": 0}),
    "another model": claude(model="claude-3-haiku-20240307"),
    "odd": claude(context_management={"applied_edits": []}, container=None),
    "rate": ServerReply(status=429, body=b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}',
                        headers={"retry-after": "3"}),
    "overloaded": ServerReply(status=529, body=b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'),
    "invalid": ServerReply(status=400, body=b'{"type":"error","error":{"type":"invalid_request_error","message":"bad"}}'),
    "long": ServerReply(status=400, body=b'{"type":"error","error":{"type":"invalid_request_error",'
                                         b'"message":"prompt is too long: 9 tokens > 8 maximum"}}'),
    "html": ServerReply(status=502, body=b"<html>", headers={"Content-Type": "text/html"}),
    "not json": ServerReply(body=b"{broken"),
    "reset": ServerReply(reset=True),
}  # fmt: skip
GEMINI_REPLIES = {
    "cached": gemini(usage={"cachedContentTokenCount": 4}),
    "details": gemini(usage={"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}]}),
    "pictures": gemini(usage={"promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 8}]}),
    "thoughts": gemini(usage={"thoughtsTokenCount": 20, "totalTokenCount": 33}),
    "sum": gemini(usage={"totalTokenCount": 20}),
    "length": gemini(reason="MAX_TOKENS"),
    "safety": gemini(reason="SAFETY"),
    "recitation": gemini(candidate={"finishReason": "RECITATION", "content": {}}),
    "blocked": ServerReply(body=b'{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}'),
    "tool": gemini(part={"functionCall": {"name": "look", "args": {}}}),
    "thought": gemini(part={"text": "hm", "thought": True}),
    "signed": gemini(part={"text": "yes", "thoughtSignature": "abc"}),
    "scores": gemini(candidate={"avgLogprobs": -0.1, "safetyRatings": []}),
    "another model": gemini(modelVersion="gemini-2.5-flash-002"),
    "no version": gemini(modelVersion=None),
    "rate": ServerReply(status=429, body=b'{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}'),
    "invalid": ServerReply(status=400, body=b'{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}'),
    "server": ServerReply(status=503, body=b'{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}'),
    "not json": ServerReply(body=b"{broken"),
    "reset": ServerReply(reset=True),
}  # fmt: skip


@pytest.mark.parametrize(
    ("route", "name"),
    [(route, name) for route, found in zip(OTHERS, (ANTHROPIC_REPLIES, GEMINI_REPLIES), strict=True) for name in found],
)
def test_replies_in_other_dialects_are_read_as_litellm_reads_them(both, route, name):
    replies = ANTHROPIC_REPLIES if route.startswith("anthropic") else GEMINI_REPLIES
    received = same(both, MESSAGES["system"], replies[name], first=OTHERS[route](), route=route)
    assert len(received) == 3, "nothing is sent twice"


@pytest.mark.parametrize("seed", range(3))
def test_many_at_once_get_each_its_own_answer(scripted, seed):
    _, _ = scripted
    waits = random.Random(seed)

    def script(body):
        return ServerReply(text=body["messages"][-1]["content"], delay_s=waits.random() / 50)

    async def go(server):
        transport = LiteLLMTransport(5.0)
        model = make_model(api_base=server.url, api_key_env="SCRIPTED_API_KEY")
        requests = [
            CallRequest(model=model, messages=({"role": "user", "content": f"say {n}"},), params={}) for n in range(40)
        ]
        first = await transport.send(requests[0])
        rest = await asyncio.gather(*(transport.send(request) for request in requests[1:]))
        await transport.aclose()
        return [reply.text for reply in (first, *rest)]

    with ScriptedServer(script) as server:
        assert asyncio.run(go(server)) == [f"say {n}" for n in range(40)]
        assert len(server.requests) == 40


def test_requests_of_a_new_kind_leave_together_and_litellm_writes_one_of_them(both):
    all_here = threading.Barrier(8, timeout=20)

    def script(body):
        all_here.wait()
        return ServerReply(text=body["messages"][-1]["content"])

    async def go(server):
        transport = LiteLLMTransport(30.0)
        model = make_model(api_base=server.url, api_key_env="SCRIPTED_API_KEY")
        asked = [{"role": "user", "content": f"say {n}"} for n in range(8)]
        replies = await asyncio.gather(
            *(transport.send(CallRequest(model=model, messages=(message,), params={})) for message in asked)
        )
        await transport.aclose()
        return [reply.text for reply in replies]

    with ScriptedServer(script) as server:
        assert asyncio.run(go(server)) == [f"say {n}" for n in range(8)]
        assert len(server.requests) == 8
        assert 2 <= len(both.asked) <= 9, "LiteLLM writes one, and reads replies until it has read one as we do"


def test_a_kind_whose_reply_litellm_reads_otherwise_stays_its_own(both, monkeypatch):
    def read_wrongly(body, latency_s):
        found = openai.read(body, latency_s)
        return None if found is None else replace(found, text=found.text + "!")

    openai = DIALECTS["openai"]
    request = both.request(MESSAGES["system"])

    async def go():
        transport, texts = LiteLLMTransport(5.0), []
        both.replies[:] = [ServerReply(text="right")]
        kind = transport._wire.kind(request, KEY)
        for turn in range(3):
            texts.append((await transport.send(request)).text)
            if not turn:  # the stub's answer was read alike, and the server's is not
                assert not transport._wire.known(kind)
        await transport.aclose()
        return texts

    stub_read = replace(openai, read=lambda body, s: (read_wrongly if body["model"] != "-" else openai.read)(body, s))
    monkeypatch.setattr(wire, "DIALECTS", {**DIALECTS, "openai": stub_read})
    before = len(both.server.requests)
    assert asyncio.run(go()) == ["right"] * 3
    assert len(both.server.requests) - before == 3, "nothing is sent twice"


def test_another_key_is_another_kind_and_the_new_one_is_sent(both, monkeypatch):
    async def go():
        transport = LiteLLMTransport(5.0)
        both.replies[:] = [ServerReply()]
        for key in (KEY, KEY, "sk-another-key-0987654321"):
            monkeypatch.setenv("SCRIPTED_API_KEY", key)
            await transport.send(both.request(MESSAGES["one"]))
        await transport.aclose()

    before = len(both.server.requests)
    asyncio.run(go())
    sent = [request.headers["authorization"] for request in both.server.requests[before:]]
    assert sent == [f"Bearer {KEY}", f"Bearer {KEY}", "Bearer sk-another-key-0987654321"]


def test_loops_that_ended_leave_no_connections_behind(scripted):
    server, replies = scripted
    replies[:] = [ServerReply()]
    transport = LiteLLMTransport(5.0)
    model = make_model(api_base=server.url, api_key_env="SCRIPTED_API_KEY")
    for _ in range(5):  # as an app does that calls asyncio.run for each answer
        asyncio.run(transport.send(CallRequest(model=model, messages=(USER,), params={})))
    assert len(transport._wire._clients) == 1


def test_a_hanging_server_and_a_closed_one_are_what_they_were(both):
    async def go(transport, request):
        return await outcome(transport, request)

    async def closed():
        with ScriptedServer([ServerReply()]) as server:
            transport, fresh = LiteLLMTransport(0.3), LiteLLMTransport(0.3)
            model = make_model(api_base=server.url, api_key_env="SCRIPTED_API_KEY")
            request = CallRequest(model=model, messages=(USER,), params={})
            await transport.send(request)
            server._script = lambda _: ServerReply(hang=True)
            hung = [await go(each, request) for each in (transport, fresh)]
        gone = [await go(each, request) for each in (transport, fresh)]
        return hung, gone

    hung, gone = asyncio.run(closed())
    assert [one[0] for one in hung] == ["TimedOut"] * 2
    assert [one[0] for one in gone] == ["Unreachable"] * 2
    assert gone[0][2] == gone[1][2]


@pytest.mark.parametrize(
    ("route", "params", "stated"),
    [
        ("anthropic/claude-next", {}, 4096),  # neither known nor stated: what is reserved
        ("anthropic/claude-next", {"max_tokens": 20}, 20),
        ("openai/claude-next", {}, None),  # a proxy decides
    ],
)
def test_no_more_tokens_are_asked_for_than_are_reserved(both, route, params, stated):
    reply = claude() if route.startswith("anthropic") else ServerReply()
    _, _, received = both.run([USER], reply, params=params, first=reply, route=route)
    assert [request.body.get("max_tokens") for request in received] == [stated] * len(received)
    assert stated is None or output_tokens(both.request([USER], params, route=route)) == stated
