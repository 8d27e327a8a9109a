"""The real LiteLLM on one side, a misbehaving server on loopback on the other."""

import asyncio
import datetime as dt
import json
import subprocess
import sys
from email.utils import format_datetime

import pytest
from support_calls import PRICE, make_model, make_request

from offramp.calls.failures import (
    BrokenReply,
    InvalidRequest,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFailed,
    TimedOut,
    TooLong,
    Unauthorized,
    Unreachable,
)
from offramp.calls.transports.litellm import LiteLLMTransport
from offramp.store.ledger import Ledger, priced
from offramp.testing.server import ScriptedServer, ServerReply

KEY = "sk-test-1234567890abcdef"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("SCRIPTED_API_KEY", KEY)


def send(server_reply, *, timeout_s=5.0, request=None, **model):
    """One request through a fresh transport; the server's log comes back too."""

    async def go(server):
        options = {"api_base": server.url, "api_key_env": "SCRIPTED_API_KEY", **model}
        transport = LiteLLMTransport(timeout_s)
        return await transport.send(request or make_request(model=make_model(**options)))

    with ScriptedServer([server_reply]) as server:
        try:
            return asyncio.run(go(server)), server.requests
        except Exception as error:
            assert KEY not in str(error)
            assert len(server.requests) <= 1, "something below has tried again"
            return error, server.requests


def test_a_reply_comes_back_with_text_tokens_and_wall_clock():
    reply, requests = send(ServerReply(text="forty-two"))
    assert (reply.text, reply.finish_reason, reply.usage.input_tokens, reply.usage.output_tokens) == (
        "forty-two", "stop", 10, 5)  # fmt: skip
    assert reply.latency_s > 0
    assert requests[0].body["model"] == "scripted-1" and requests[0].body["max_tokens"] == 20
    assert requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (ServerReply(status=429, text="slow down"), RateLimited),
        (ServerReply(status=429, text="no credit left", code="insufficient_quota"), QuotaExhausted),
        (ServerReply(status=402, text="pay first"), QuotaExhausted),
        (ServerReply(status=401, text=f"Incorrect API key provided: {KEY}"), Unauthorized),
        (ServerReply(status=403, text="not for you"), Unauthorized),
        (ServerReply(status=404, text="The model does not exist", code="model_not_found"), ModelNotFound),
        (ServerReply(status=400, text="bad temperature"), InvalidRequest),
        (ServerReply(status=422, text="bad field"), InvalidRequest),
        (ServerReply(status=400, text="maximum context length is 10", code="context_length_exceeded"), TooLong),
        (ServerReply(status=413, text="too large"), TooLong),
        (ServerReply(status=400, text="rejected by our safety system"), Refused),
        (ServerReply(status=408, text="timed out"), TimedOut),
        (ServerReply(status=504, text="gateway"), TimedOut),
        (ServerReply(status=500, text="oops"), ServerFailed),
        (ServerReply(status=502, text="oops"), ServerFailed),
        (ServerReply(status=503, text="overloaded"), ServerFailed),
        (ServerReply(status=529, text="overloaded"), ServerFailed),
        (ServerReply(body=b"{broken"), BrokenReply),
        (ServerReply(body=b"<html>", headers={"Content-Type": "text/html"}), BrokenReply),
        (ServerReply(body=b"[]"), BrokenReply),
        (ServerReply(body=b"null"), BrokenReply),
        (ServerReply(choices=[]), BrokenReply),
        (ServerReply(choices=[{"index": 0, "finish_reason": "stop"}]), BrokenReply),
        (ServerReply(message={"role": "assistant", "content": None}, finish_reason="content_filter"), Refused),
        (ServerReply(message={"role": "assistant", "content": None, "refusal": "I will not"}), Refused),
    ],
    ids=lambda value: f"{value.status}-{value.text}-{value.body}" if isinstance(value, ServerReply) else value.__name__,
)
def test_every_error_is_classified_by_who_is_to_blame(reply, failure):
    got, requests = send(reply)
    assert type(got) is failure, repr(got)
    assert len(requests) == 1


def test_a_refusal_in_the_reply_carries_its_bill():
    got, _ = send(ServerReply(message={"role": "assistant", "content": None, "refusal": "I will not"}))
    assert (got.usage.input_tokens, got.usage.output_tokens, str(got)) == (10, 5, "I will not")


@pytest.mark.parametrize("seconds", ["7", "0", "1.5"])
def test_retry_after_in_seconds_is_read(seconds):
    got, _ = send(ServerReply(status=429, headers={"Retry-After": seconds}))
    assert got.retry_after_s == float(seconds)


def test_retry_after_as_a_date_is_read():
    when = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
    got, _ = send(ServerReply(status=429, headers={"Retry-After": format_datetime(when, usegmt=True)}))
    assert 50 < got.retry_after_s <= 61


def test_a_hanging_server_is_a_time_out():
    got, _ = send(ServerReply(hang=True), timeout_s=0.2)
    assert type(got) is TimedOut


def test_a_connection_that_is_reset_may_have_been_billed():
    got, _ = send(ServerReply(reset=True))
    assert type(got) is Unreachable and got.sent


def test_a_server_that_is_not_there_was_never_reached():
    got, requests = send(ServerReply(), api_base="http://127.0.0.1:9/v1")
    assert type(got) is Unreachable and not got.sent and requests == []


def test_a_key_that_is_not_set_is_named_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("SCRIPTED_API_KEY")
    got, requests = send(ServerReply())
    assert type(got) is Unauthorized and "SCRIPTED_API_KEY" in str(got) and requests == []


def test_a_server_of_ones_own_never_gets_the_key_of_the_provider_whose_dialect_it_speaks(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    _, requests = send(ServerReply(), api_key_env=None)
    assert KEY not in json.dumps(dict(requests[0].headers))


@pytest.mark.parametrize("name", ["api_base", "mock_response", "num_retries", "stream"])
def test_a_param_that_is_not_the_models_is_refused(name):
    with ScriptedServer([ServerReply()]) as server:
        model = make_model(api_base=server.url)
        got, requests = send(ServerReply(), request=make_request(model=model, params={name: "x"}))
    assert type(got) is InvalidRequest and name in str(got) and requests == []


def test_a_searched_parameter_that_the_model_lacks_is_an_error_and_not_dropped():
    model = make_model(route="openai/o1", api_key_env="SCRIPTED_API_KEY", api_base="http://127.0.0.1:9/v1")
    got, _ = send(ServerReply(), request=make_request(model=model, params={"temperature": 0.3}))
    assert type(got) is InvalidRequest


def test_a_null_answer_is_the_models_own_empty_answer():
    reply, _ = send(ServerReply(message={"role": "assistant", "content": None}))
    assert reply.text == ""


def test_the_sum_of_many_bills_is_right_to_the_nano_dollar(build, store):
    """Cached and reasoning tokens included; the ledger, priced, says the same as the budget."""

    def script(body):
        n = int(body["messages"][0]["content"])
        counts = {"prompt_tokens": 100 + n, "completion_tokens": 50 + n, "total_tokens": 150 + 2 * n}
        details = {
            "prompt_tokens_details": {"cached_tokens": 30},
            "completion_tokens_details": {"reasoning_tokens": 20},
        }
        return ServerReply(usage={**counts, **details})

    async def go(model):
        caller = build(None, budget_id="p", cap_usd=1.0)
        await asyncio.gather(*(caller.send(make_request(str(n), model=model)) for n in range(12)))
        stats = caller.stats()
        await caller.aclose()
        return stats

    with ScriptedServer(script) as server:
        stats = asyncio.run(go(make_model(api_base=server.url, api_key_env="SCRIPTED_API_KEY")))
    expected = sum((70 + n) * 1.0 + 30 * 0.1 + (30 + n) * 10.0 + 20 * 10.0 for n in range(12)) / 1e6
    assert stats.spent_usd == pytest.approx(expected, abs=1e-12)
    assert priced(Ledger(store, "s").totals(), {"m": PRICE}).usd == pytest.approx(expected, abs=1e-12)
    assert stats.calls == 12


def test_a_rate_limited_request_comes_through_at_the_second_try(build, time_):
    replies = [ServerReply(status=429, headers={"Retry-After": "9"}), ServerReply(text="there")]

    async def go(model):
        caller = build(None)
        reply = await caller.send(make_request(model=model))
        await caller.aclose()
        return reply

    with ScriptedServer(replies) as server:
        reply = asyncio.run(go(make_model(api_base=server.url, api_key_env="SCRIPTED_API_KEY")))
        assert len(server.requests) == 2
    assert (reply.text, reply.attempt) == ("there", 2)
    assert time_.now - 1000.0 >= 9.0


def test_opening_a_caller_does_not_import_litellm():
    code = "import sys, offramp.calls.caller, offramp.testing.fakes; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
