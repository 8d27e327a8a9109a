"""Who is to blame, by what providers really send: failures inside a 200, retired models, one row that is rejected."""

import asyncio
import json

import pytest

from offramp.calls.failures import (
    BrokenReply,
    InvalidRequest,
    ModelNotFound,
    QuotaExhausted,
    Refused,
    RequestRejected,
    ServerFailed,
    TooLong,
    Unauthorized,
)
from offramp.calls.transports.litellm import LiteLLMTransport
from offramp.calls.transports.replies import failure_for
from offramp.records import CallRequest, Model
from offramp.testing.server import ScriptedServer, ServerReply


def body(**keys):
    return ServerReply(body=json.dumps({"id": "r", "object": "chat.completion", "model": "m", **keys}).encode())


def sent(reply, text="hello"):
    """What one request through the real client comes to."""
    with ScriptedServer([reply]) as server:
        model = Model(name="m", route="openai/m", api_base=server.url)
        request = CallRequest(model=model, messages=({"role": "user", "content": text},), params={})
        return asyncio.run(LiteLLMTransport(30).send(request))


CHOICE = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "error", "error": {"code": 502}}


@pytest.mark.parametrize(
    "reply",
    [
        ServerReply(choices=[CHOICE], usage=None),
        ServerReply(choices=[{**CHOICE, "message": {"role": "assistant", "content": "half an ans"}}]),
        ServerReply(text="half an ans", finish_reason="error"),
        ServerReply(message={"role": "assistant", "content": None, "error": {"message": "upstream"}}, usage=None),
        body(choices=None, error={"message": "Overloaded", "type": "overloaded_error", "code": 529}),
        body(choices=None, error={"message": "Provider returned error", "code": 502}),
        body(error={"message": "The engine is currently overloaded, please try again later", "type": "server_error"}),
        ServerReply(body=b'{"error": {"message": "Internal error"}}'),
        ServerReply(body=b'{"error": "overloaded"}'),
        ServerReply(status=400, text="The server is overloaded, please try again later"),
        ServerReply(status=529, text="Overloaded", code="overloaded_error"),
        ServerReply(status=409, text="conflict"),
    ],
)
def test_an_upstream_failure_is_retried_and_never_an_answer(reply):
    with pytest.raises(ServerFailed):
        sent(reply)


@pytest.mark.parametrize(
    "reply",
    [
        ServerReply(text="", usage=None),
        ServerReply(message={"role": "assistant", "content": None}, usage=None, finish_reason=None),
        ServerReply(choices=[]),
        ServerReply(body=b"<html>502 Bad Gateway</html>"),
        ServerReply(body=b'{"detail": "upstream connect error"}'),
    ],
)
def test_a_reply_without_an_answer_and_without_tokens_is_broken(reply):
    with pytest.raises(BrokenReply):
        sent(reply)


def test_an_empty_answer_that_was_counted_is_the_models_own():
    reply = sent(ServerReply(text="", usage={"prompt_tokens": 30, "completion_tokens": 0, "total_tokens": 30}))
    assert (reply.text, reply.finish_reason) == ("", "stop")


def test_an_answer_that_was_all_reasoning_is_cut_and_counted():
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 50,
        "total_tokens": 80,
        "completion_tokens_details": {"reasoning_tokens": 50},
    }
    reply = sent(ServerReply(text="", finish_reason="length", usage=usage))
    assert (reply.finish_reason, reply.usage.output_tokens, reply.usage.reasoning_tokens) == ("length", 0, 50)


def test_the_model_that_answered_is_kept():
    reply = sent(ServerReply(extra={"model": "m-2026-01-01", "system_fingerprint": "fp_1"}))
    assert (reply.answered_by, reply.fingerprint) == ("m-2026-01-01", "fp_1")


RETIRED = [
    (410, "Model kimi-k2.5 has been retired. model_gone"),
    (400, "The model `gpt-4-0314` has been deprecated, learn more here: https://example.com model_not_found"),
    (404, "The model `claude-2.1` does not exist or you do not have access to it."),
    (404, "model: claude-2.1 not_found_error"),
    (400, "The requested model 'text-davinci-003' was shut down on 2024-01-04"),
    (400, "This model version is no longer supported. Please use gemini-2.5-flash."),
    (
        404,
        "Publisher Model `gemini-1.0-pro` was not found or your project does not have access to it. models/gemini-1.0-pro is not found",
    ),
    (400, "The model `llama-3.1-70b-versatile` has been decommissioned and is no longer supported."),
    (403, "Access denied. This Model is marked by provider as Legacy and you have not been actively using the model."),
    (404, "This model version has reached the end of its life."),
    (400, "Deployment gpt-35 has been removed"),
    (400, "mistral-small-2312 is a retired model"),
    (400, "The model command-light was renamed to command-r7b"),
    (422, "Unknown model: grok-1"),
    (400, "The provided model identifier is invalid."),
    (400, "Model Not Exist"),
    (400, "openai/gpt-4-32k is not a valid model ID"),
]


@pytest.mark.parametrize(("status", "text"), RETIRED)
def test_a_model_that_is_retired_renamed_or_unknown_is_one_kind_whatever_the_status(status, text):
    assert isinstance(failure_for(status, text), ModelNotFound)


@pytest.mark.parametrize("code", ["model_gone", "model_not_found", "model_retired"])
def test_the_code_of_the_error_says_that_a_model_is_retired(code):
    with pytest.raises(ModelNotFound):
        sent(ServerReply(status=410 if code == "model_gone" else 400, text="Sorry.", code=code))


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "`temperature` is deprecated for this model.", InvalidRequest),
        (400, "Unsupported parameter: 'max_tokens' is not supported with this model.", InvalidRequest),
        (400, "The model does not support this: the parameter top_p is no longer supported", InvalidRequest),
        (400, "messages: text content blocks must be non-empty", InvalidRequest),
        (422, "Input should be a valid string", InvalidRequest),
        (413, "Request too large", TooLong),
        (400, "the response was filtered by content management policy", Refused),
        (401, "Incorrect API key provided", Unauthorized),
        (403, "You do not have permission", Unauthorized),
        (402, "Payment required", QuotaExhausted),
        (429, "insufficient_quota: check your plan", QuotaExhausted),
    ],
)
def test_what_is_not_about_the_model_keeps_its_own_kind(status, text, kind):
    assert type(failure_for(status, text)) is kind


def rejecting(status, *, delay_s=0.0):
    """A script that rejects the message `bad` and answers others."""

    def script(request):
        bad = request["messages"][-1]["content"] == "bad"
        text = "messages: text content blocks must be non-empty"
        return ServerReply(status=status, text=text) if bad else ServerReply(delay_s=delay_s)

    return script


def request(server, text):
    model = Model(name="m", route="openai/m", api_base=server.url)
    return CallRequest(model=model, messages=({"role": "user", "content": text},), params={})


async def ask(caller, server, texts):
    """The replies, or errors, to these messages at the same time."""
    try:
        return await asyncio.gather(*(caller.send(request(server, text)) for text in texts), return_exceptions=True)
    finally:
        await caller.aclose()


@pytest.mark.parametrize("status", [400, 422])
def test_a_request_that_is_rejected_after_an_answer_ends_nothing_and_is_not_retried(build, status):
    with ScriptedServer(rejecting(status)) as server:
        asyncio.run(ask(build(LiteLLMTransport(30)), server, ["good"]))
        (bad,) = asyncio.run(ask(build(LiteLLMTransport(30)), server, ["bad"]))
        assert isinstance(bad, RequestRejected)
        assert [sent.body["messages"][-1]["content"] for sent in server.requests] == ["good", "bad"]


def test_a_request_that_is_rejected_before_any_answer_is_fatal(build):
    with ScriptedServer(rejecting(400)) as server:
        assert [type(error) for error in asyncio.run(ask(build(LiteLLMTransport(30)), server, ["bad"]))] == [
            InvalidRequest
        ]


def test_a_rejected_request_waits_for_those_in_flight_before_it_is_fatal(build):
    with ScriptedServer(rejecting(400, delay_s=0.3)) as server:
        good, bad = asyncio.run(ask(build(LiteLLMTransport(30)), server, ["good", "bad"]))
        assert good.text == "ok"
        assert isinstance(bad, RequestRejected)


def test_a_retired_model_is_not_asked_again_and_its_failure_says_which_and_what_was_said(build):
    with ScriptedServer([ServerReply(status=410, text="Model m has been retired.", code="model_gone")]) as server:
        caller = build(LiteLLMTransport(30))

        async def one_after_another():
            errors = []
            for text in "abcd":
                with pytest.raises(ModelNotFound) as raised:
                    await caller.send(request(server, text))
                errors.append(raised.value)
            await caller.aclose()
            return errors

        for error in asyncio.run(one_after_another()):
            assert (error.model, error.retired) == ("m", True)
            assert str(error).startswith("m: the model has retired") and "Model m has been retired." in error.said
        assert len(server.requests) == 1


def test_a_model_that_was_not_found_before_is_asked_one_question_at_a_time_until_it_answers(build):
    gone = ServerReply(status=404, text="The model `m` does not exist", code="model_not_found")
    with ScriptedServer([gone, gone, ServerReply(delay_s=0.05)]) as server:
        asyncio.run(ask(build(LiteLLMTransport(30)), server, ["a"]))
        asyncio.run(ask(build(LiteLLMTransport(30)), server, list("bcde")))
        assert len(server.requests) == 2, "the others were told without being sent"
        replies = asyncio.run(ask(build(LiteLLMTransport(30)), server, list("bcde")))
        assert [reply.text for reply in replies] == ["ok"] * 4
