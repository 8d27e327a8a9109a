"""Spans of OpenTelemetry: one for each physical request where they are turned on, by the conventions of gen_ai."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import offramp
from offramp.calls.transports.traced import SWITCH
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import server_reply, write_space


@pytest.fixture(scope="module")
def exporter():
    """A process has one provider; this is the only module of the tests that sets it."""
    made = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    trace.set_tracer_provider(provider)
    return made


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path, exporter):
    monkeypatch.setenv("OPENAI_API_KEY", "dummy")
    monkeypatch.chdir(tmp_path)
    exporter.clear()


@pytest.mark.parametrize("value", [None, "0"])
def test_there_are_none_unless_they_are_turned_on(exporter, tmp_path, monkeypatch, value: str | None):
    monkeypatch.delenv(SWITCH, raising=False)
    if value is not None:
        monkeypatch.setenv(SWITCH, value)
    with ScriptedServer(server_reply) as server:
        offramp.optimize(write_space(tmp_path, base=server.url), trials=1)
        assert server.requests
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("value", ["1", "ON"])
def test_every_request_of_a_run_is_a_span_of_the_caller(exporter, tmp_path, monkeypatch, value: str):
    monkeypatch.setenv(SWITCH, value)
    with ScriptedServer(server_reply) as server, trace.get_tracer("app").start_as_current_span("app") as app:
        offramp.optimize(write_space(tmp_path, base=server.url), trials=2)
        sent = len(server.requests)
    spans = [span for span in exporter.get_finished_spans() if span.name != "app"]
    assert len(spans) == sent > 0
    for span in spans:
        seen = dict(span.attributes)
        assert span.kind is SpanKind.CLIENT and span.name == f"chat {seen['gen_ai.request.model']}"
        assert seen["gen_ai.operation.name"] == "chat" and seen["gen_ai.provider.name"] == "openai"
        assert seen["gen_ai.request.model"] in ("small", "large") and seen["gen_ai.request.max_tokens"] == 16
        assert seen["gen_ai.usage.input_tokens"] >= 100 and seen["gen_ai.usage.output_tokens"] >= 3
        assert seen["gen_ai.response.finish_reasons"] == ("stop",)
        assert seen["server.address"] == "127.0.0.1" and seen["server.port"] > 0
        assert span.parent is not None and span.context.trace_id == app.get_span_context().trace_id
        assert not [name for name in seen if "case " in str(seen[name])], "texts are not part of a span"
    assert {dict(span.attributes)["offramp.purpose"] for span in spans} == {"program"}


def test_tokens_of_caches_and_of_reasoning_are_part_of_the_whole(exporter, tmp_path, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    usage = {
        "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 20},
    }  # fmt: skip
    with ScriptedServer(lambda _: ServerReply(text="billing", usage=usage)) as server:
        offramp.optimize(write_space(tmp_path, base=server.url), trials=1)
    seen = exporter.get_finished_spans()[0].attributes
    assert (seen["gen_ai.usage.input_tokens"], seen["gen_ai.usage.output_tokens"]) == (100, 30)
    assert (seen["gen_ai.usage.cache_read.input_tokens"], seen["gen_ai.usage.reasoning.output_tokens"]) == (60, 20)


def test_what_is_answered_from_the_ledger_is_none(exporter, tmp_path, monkeypatch):
    with ScriptedServer(server_reply) as server:
        space = write_space(tmp_path, base=server.url)
        offramp.optimize(space, trials=1)
        monkeypatch.setenv(SWITCH, "1")
        offramp.optimize(space, trials=1)
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("reply", [ServerReply(status=401, text="no"), ServerReply(status=404, text="no such model")])
def test_a_request_that_fails_is_a_span_with_its_error(exporter, tmp_path, monkeypatch, reply):
    monkeypatch.setenv(SWITCH, "1")
    with ScriptedServer(lambda _: reply) as server, pytest.raises(offramp.OfframpError):
        offramp.optimize(write_space(tmp_path, base=server.url), trials=1)
    spans = exporter.get_finished_spans()
    assert spans and all(span.status.status_code is StatusCode.ERROR for span in spans)
    assert all(span.attributes["error.type"] for span in spans)


def test_each_attempt_of_a_request_is_one(exporter, tmp_path, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    asked = []

    def first_fails(body):
        asked.append(1)
        return ServerReply(status=503, headers={"Retry-After": "0"}) if len(asked) == 1 else server_reply(body)

    with ScriptedServer(first_fails) as server:
        offramp.optimize(write_space(tmp_path, base=server.url), trials=1, concurrency=1)
        sent = len(server.requests)
    spans = exporter.get_finished_spans()
    assert len(spans) == sent
    assert [s.attributes["offramp.attempt"] for s in spans][:2] == [1, 2]
    assert [s.status.status_code for s in spans].count(StatusCode.ERROR) == 1


def test_a_loaded_feature_has_them_too(exporter, tmp_path, monkeypatch):
    with ScriptedServer(server_reply) as server:
        offramp.optimize(write_space(tmp_path, base=server.url), trials=2)
        offramp.promote(force=True, why="a test")
        monkeypatch.setenv(SWITCH, "1")
        offramp.load("landscape", api_base=server.url)(message="case 003")
    (span,) = exporter.get_finished_spans()
    assert span.attributes["gen_ai.operation.name"] == "chat"
