import asyncio
import time

import pytest
from support_calls import make_model, make_request

from offramp.calls.failures import BrokenReply, InvalidRequest, ServerFailed, TimedOut, TooLong, Unreachable
from offramp.calls.transports.local import LocalTransport
from offramp.records import Price
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import let_time_pass

MODEL = make_model(name="local/tiny", route="local/tiny", price=Price(compute_usd_per_hour=1.0))


class Servers:
    """A server that already runs."""

    def __init__(self, address):
        self.address = address

    async def url(self, model):
        return self.address

    def headers(self, model):
        return {"Authorization": "Bearer local-key-123"}


def send(reply, *, timeout_s=60.0, address=None, suffix="", params=None):
    async def go(server):
        transport = LocalTransport(Servers(address or server.root + suffix), timeout_s)
        try:
            return await transport.send(make_request(model=MODEL, params=params))
        finally:
            await transport.aclose()

    with ScriptedServer([reply]) as server:
        try:
            return asyncio.run(go(server)), server.requests
        except Exception as error:
            return error, server.requests


def test_seconds_of_computing_come_from_the_servers_own_timings():
    reply, requests = send(ServerReply(text="hi", extra={"timings": {"prompt_ms": 120.0, "predicted_ms": 380.0}}))
    assert reply.usage.compute_s == 0.5 and (reply.usage.input_tokens, reply.usage.output_tokens) == (10, 5)
    assert requests[0].headers["authorization"] == "Bearer local-key-123"


def test_without_timings_the_whole_latency_was_computing():
    reply, _ = send(ServerReply())
    assert reply.usage.compute_s == reply.latency_s > 0


def test_grammar_and_other_params_go_through_as_they_are():
    params = {"grammar": 'root ::= "a"', "seed": 0, "max_tokens": 3}
    _, requests = send(ServerReply(), params=params)
    assert {name: requests[0].body[name] for name in params} == params


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_address_may_name_the_api_or_not(suffix):
    _, requests = send(ServerReply(), suffix=suffix)
    assert requests[0].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (ServerReply(status=400, text="the request is too large", code="exceed_context_size_error"), TooLong),
        (ServerReply(status=400, text="failed to parse grammar", code="invalid_request_error"), InvalidRequest),
        (ServerReply(status=503, text="Loading model"), ServerFailed),
        (ServerReply(status=500, body=b"oops"), ServerFailed),
        (ServerReply(body=b"{nope"), BrokenReply),
        (ServerReply(body=b"[1]"), BrokenReply),
        (ServerReply(choices=[]), BrokenReply),
        (ServerReply(choices=["x"]), BrokenReply),
        (ServerReply(reset=True), Unreachable),
    ],
)  # fmt: skip
def test_every_error_is_classified_by_who_is_to_blame(reply, failure):
    assert type(send(reply)[0]) is failure


def test_a_hanging_server_is_a_time_out():
    assert type(send(ServerReply(hang=True), timeout_s=0.1)[0]) is TimedOut


def test_a_server_that_is_gone_was_never_reached_and_one_that_broke_off_was():
    gone, broke = send(ServerReply(), address="http://127.0.0.1:9")[0], send(ServerReply(reset=True))[0]
    assert (gone.sent, broke.sent) == (False, True)


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert send(ServerReply(text="direct"))[0].text == "direct"


def test_the_start_of_a_server_is_no_part_of_a_request(build):
    """A model that takes longer to load than a request may take is no time-out."""

    class Slow(Servers):
        ready = False

        async def url(self, model):
            if not self.ready:
                let_time_pass(200)
                await asyncio.sleep(0.3)
                Slow.ready = True
            return self.address

    async def go(server):
        caller = build(None, servers=Slow(server.root), calls={"timeout_s": 100}, attempts=1)
        begun = time.perf_counter()
        reply = await caller.send(make_request(model=MODEL))
        took_s = time.perf_counter() - begun
        await caller.aclose()
        return reply, took_s

    with ScriptedServer([ServerReply()]) as server:
        reply, took_s = asyncio.run(go(server))
    assert reply.latency_s <= took_s - 0.3
