"""OpenTelemetry spans for requests, off by default: `OFFRAMP_OTEL=1` turns them on.

Each physical request is a span of the process's tracer provider, by the conventions of `gen_ai`: model, parameters,
tokens, why the answer ended, the server. Messages and answers are not part of it. Answers from the ledger are none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from offramp.calls.transports import Preparing, Transport
from offramp.errors import UsageError, problem
from offramp.records import CallReply, CallRequest, Model

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

SWITCH = "OFFRAMP_OTEL"
_ON = {"1", "true", "yes", "on"}
_PARAMS = ("temperature", "max_tokens", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")
_PROVIDERS = {
    "bedrock": "aws.bedrock", "gemini": "gcp.gemini", "vertex_ai": "gcp.vertex_ai", "azure": "azure.ai.openai",
    "mistral": "mistral_ai", "xai": "x_ai", "local": "llama_cpp",
}  # fmt: skip
"""LiteLLM's names of providers to those of the conventions, where they differ."""


def traced(transport: Transport) -> Transport:
    """The transport, with a span around each request where that is turned on.

    Raises:
        UsageError: it is turned on, and OpenTelemetry's API is not installed.
    """
    if os.environ.get(SWITCH, "").strip().lower() not in _ON:
        return transport
    if find_spec("opentelemetry") is None:
        do = "Run: pip install 'offramp[otel]'"
        raise UsageError(problem(SWITCH, "spans need the package opentelemetry-api", do=do))
    from opentelemetry import trace

    return TracedTransport(transport, trace.get_tracer("offramp"))


class TracedTransport:
    """Sends as another transport does, within a span."""

    def __init__(self, transport: Transport, tracer: Tracer) -> None:
        self._transport, self._tracer = transport, tracer

    async def prepare(self, model: Model) -> None:
        """Get ready; not part of a request."""
        if isinstance(self._transport, Preparing):
            await self._transport.prepare(model)

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """Send within a span."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        model = request.model.route.partition("/")[2] or request.model.route
        with self._tracer.start_as_current_span(
            f"chat {model}", kind=SpanKind.CLIENT, attributes=dict(_asked(request, model, attempt)),
            record_exception=False, set_status_on_exception=False,
        ) as span:  # fmt: skip
            try:
                reply = await self._transport.send(request, attempt)
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR, str(error)))
                raise
            span.set_attributes(dict(_answered(reply)))
            return reply

    async def aclose(self) -> None:
        """Close connections."""
        if (close := getattr(self._transport, "aclose", None)) is not None:
            await close()


def _asked(request: CallRequest, model: str, attempt: int) -> Iterator[tuple[str, Any]]:
    provider = request.model.route.partition("/")[0]
    yield "gen_ai.operation.name", "chat"
    yield "gen_ai.provider.name", _PROVIDERS.get(provider, provider)
    yield "gen_ai.request.model", model
    for name in _PARAMS:
        if isinstance(value := request.params.get(name), int | float):
            yield f"gen_ai.request.{name}", value
    if (address := urlsplit(request.model.api_base or "")).hostname is not None:
        yield "server.address", address.hostname
        if address.port is not None:
            yield "server.port", address.port
    yield "offramp.model", request.model.name
    yield "offramp.purpose", request.purpose.value
    yield "offramp.attempt", attempt


def _answered(reply: CallReply) -> Iterator[tuple[str, Any]]:
    usage = reply.usage
    yield "gen_ai.usage.input_tokens", usage.prompt_tokens
    yield "gen_ai.usage.output_tokens", usage.output_tokens + usage.reasoning_tokens
    for name, tokens in (
        ("cache_read.input_tokens", usage.cached_input_tokens),
        ("cache_creation.input_tokens", usage.cache_write_tokens),
        ("reasoning.output_tokens", usage.reasoning_tokens),
    ):  # fmt: skip
        if tokens:
            yield f"gen_ai.usage.{name}", tokens
    if reply.finish_reason is not None:
        yield "gen_ai.response.finish_reasons", (reply.finish_reason,)
    if reply.answered_by is not None:
        yield "gen_ai.response.model", reply.answered_by
