"""Scrubbing, Retry-After, estimates, and the fakes that others build on."""

import asyncio
import datetime as dt

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_calls import PRICE, make_model, make_request

from offramp.calls.estimate import input_tokens, output_tokens, worst_usd
from offramp.calls.failures import CallError, FatalCallError, InfrastructureError, ProgramError, scrubbed
from offramp.calls.retries import retry_after_s
from offramp.calls.transports.replies import failure_for
from offramp.records import Price, Usage
from offramp.testing.fakes import FunctionTransport, ScriptedTransport
from offramp.testing.server import ScriptedServer, ServerReply

NOW = dt.datetime(2030, 1, 1, 12, 0, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "text",
    [
        "the value hidden-in-env here",
        "Authorization: Bearer abcdef1234567890",
        "Incorrect API key provided: sk-proj-abcdEFGH12345678.",
        "https://host/v1?key=abcdef1234567890&x=1",
        "api_key='abcdef1234567890'",
        "AIzaabcdef1234567890abcdef1234567890",
        "postgresql://user:abcdef1234567890@host/db",
    ],
)
def test_secrets_are_masked_by_value_and_by_shape(text):
    out = scrubbed(text, {"MY_API_KEY": "hidden-in-env", "SHORT_TOKEN": "the"})
    assert "***" in out and "hidden" not in out and "1234567890" not in out and "12345678" not in out


def test_what_is_not_a_secret_stays_as_it_is():
    text = "the task-based asking-for-help token count of skills is 12"
    assert scrubbed(text, {"HOME": "/home/token-count", "SHORT_TOKEN": "the"}) == text


def test_a_page_of_error_text_is_cut():
    assert len(scrubbed("x" * 10**6, {})) == 2000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), (None, None), ("soon", None), ("-1", None), ("nan", None), ("inf", None),
     ("Tue, 01 Jan 2030 12:00:09 GMT", 9.0), ("Tue, 01 Jan 2030 11:00:00 GMT", 0.0)],
)  # fmt: skip
def test_a_retry_after_is_seconds_or_a_date_or_nothing(value, seconds):
    assert retry_after_s(value, lambda: NOW) == seconds


@given(status=st.integers(400, 599), text=st.text(max_size=50))
def test_every_http_status_is_one_kind_of_error(status, text):
    kinds = (ProgramError, InfrastructureError, FatalCallError)
    assert sum(isinstance(failure_for(status, text), kind) for kind in kinds) == 1


def test_every_failure_has_a_status_of_its_own():
    def leaves(cls):
        return [cls] if not cls.__subclasses__() else [leaf for sub in cls.__subclasses__() for leaf in leaves(sub)]

    statuses = [leaf.status for leaf in leaves(CallError) if leaf.__module__ == CallError.__module__]
    assert len(statuses) == len(set(statuses)) == 13


def test_the_output_bound_comes_from_the_request_then_the_model_then_a_default():
    model = make_model(max_output_tokens=900)
    assert output_tokens(make_request(params={"max_tokens": 20}, model=model)) == 20
    assert output_tokens(make_request(params={"max_completion_tokens": 30, "n": 3})) == 90
    assert output_tokens(make_request(params={}, model=model)) == 900
    assert output_tokens(make_request(params={})) == 4096


@given(text=st.text(max_size=200), tokens=st.integers(0, 100), cached=st.integers(0, 100))
def test_the_worst_case_covers_any_bill_within_its_bounds(text, tokens, cached):
    price = Price(input_usd=1.0, cached_input_usd=0.1, cache_write_usd=1.25, output_usd=10.0, reasoning_usd=12.0)
    request = make_request(text, model=make_model(price=price), params={"max_tokens": 100})
    most = input_tokens(request)
    usage = Usage(input_tokens=max(0, most - cached), cache_write_tokens=min(cached, most), reasoning_tokens=tokens)
    assert price.cost_usd(usage) <= worst_usd(request, 60.0) + 1e-12


def test_a_schema_among_the_params_counts_as_prompt():
    schema = {"type": "json_schema", "json_schema": {"name": "x" * 400}}
    assert input_tokens(make_request(params={"response_format": schema})) > input_tokens(make_request()) + 200


def test_a_local_model_is_bounded_by_the_time_of_an_attempt():
    local = make_model(route="local/x", price=Price(compute_usd_per_hour=60.0))
    assert worst_usd(make_request(model=local), 600.0) == pytest.approx(10.0)
    assert worst_usd(make_request(model=local), 6.0) == pytest.approx(0.1)


def test_an_unknown_price_bounds_nothing():
    assert worst_usd(make_request(model=make_model(price=None)), 60.0) == 0.0
    assert PRICE.known


def test_a_script_fails_when_it_is_empty_and_says_for_what():
    fake = ScriptedTransport(["one"])
    assert asyncio.run(fake.send(make_request())).text == "one" and fake.left == 0
    with pytest.raises(AssertionError, match="hello there"):
        asyncio.run(fake.send(make_request()))


def test_a_function_answers_and_its_requests_are_kept():
    fake = FunctionTransport(lambda request: request.messages[0]["content"].upper())
    reply = asyncio.run(fake.send(make_request("a b c")))
    assert (reply.text, reply.usage.input_tokens, reply.usage.output_tokens, len(fake.requests)) == ("A B C", 3, 3, 1)


def test_a_scripted_server_answers_in_order_and_repeats_the_last():
    with ScriptedServer([ServerReply(text="a"), ServerReply(text="b", delay_s=0.001)]) as server:
        texts = [
            httpx.post(f"{server.url}/chat/completions", json={"n": n}, trust_env=False).json()["choices"][0]["message"]
            for n in range(3)
        ]
    assert [text["content"] for text in texts] == ["a", "b", "b"]
    assert [request.body["n"] for request in server.requests] == [0, 1, 2]
