"""Requests in well-known dialects, sent as LiteLLM sends them but without its work for each call.

LiteLLM writes the first request of each kind (model, key, parameters, shape of the messages) to a client that sends
nothing and is watched. When the messages are written as the dialect says, all requests of that kind are the same
request with other messages: rendered here, sent over LiteLLM's connections, and read here. Until LiteLLM has read one
reply of the kind as it is read here, and whenever a reply is not a plain answer, LiteLLM reads it: the reply is played
back to it as if it had just arrived.

Invariant: what a provider receives, and what is read of its replies and failures, is what LiteLLM would have sent and
read. Playing back sends nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import httpx

from offramp.calls.transports.dialects import DIALECTS, Dialect
from offramp.calls.transports.headers import notice_of
from offramp.ids import canonical_json
from offramp.records import CallReply, CallRequest, Model

_ELSEWHERE = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER")
_PER_REQUEST = frozenset({"content-length", "transfer-encoding", "host"})
_OWN_TRANSPORT = "LiteLLMAiohttpTransport"
_MOST_KINDS = 10_000


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as LiteLLM sent it, and the reply: `status`, `headers` in lower case, `content`."""

    url: httpx.URL
    request_headers: Mapping[str, str]
    body: bytes
    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request as LiteLLM would send it, with the keys in its headers."""

    url: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


@dataclass(slots=True)
class Watch:
    """What went over a watched client for one request, in order."""

    sent: list[Sent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came back for one request: `headers` in lower case, `content` unpacked."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def redirects(self) -> bool:
        """Whether it says where to ask instead."""
        return self.status in (301, 302, 303, 307, 308) and "location" in self.headers

    def response(self, request: httpx.Request) -> httpx.Response:
        """The same for httpx."""
        headers = [(n, v) for n, v in self.headers.items() if n not in ("content-encoding", "transfer-encoding")]
        return httpx.Response(self.status, headers=headers, content=self.content, request=request)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request of a kind without content, as httpx makes it: the same for all of them."""

    request: httpx.Request
    url: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class _Kind:
    """How requests of one kind are sent: address, headers, and the body but for the messages, as JSON."""

    dialect: Dialect
    url: httpx.URL
    headers: Mapping[str, str]
    rest: bytes

    @cached_property
    def asked(self) -> _Asked:
        """What its requests have in common, for aiohttp."""
        from litellm.llms.custom_httpx.aiohttp_transport import aiohttp

        request = httpx.Request("POST", self.url, content=b"-", headers=self.headers)
        url = aiohttp.client.URL(str(request.url), encoded=True)
        return _Asked(request, url, dict(request.headers.items()))


_watch: ContextVar[Watch | None] = ContextVar("offramp_wire_watch", default=None)


class Wire:
    """The requests of one transport. Several event loops may use it, one after another.

    Args:
        timeout_s: of one attempt.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._kinds: dict[tuple[object, ...], _Kind | None] = {}
        self._proven: set[tuple[object, ...]] = set()
        self._dialects: dict[tuple[str, str | None], str | None] = {}
        self._clients: dict[asyncio.AbstractEventLoop, Any] = {}
        self._timeout: Any = None

    def kind(self, request: CallRequest, key: str | None) -> tuple[object, ...] | None:
        """What is alike in all requests of its kind; None for one that is LiteLLM's alone."""
        model = request.model
        dialect = None if key is None else self._dialect(model)
        if key is None or dialect is None or DIALECTS[dialect].fields(request.messages) is None:
            return None
        secret = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        try:
            params = canonical_json(dict(request.params))
        except (TypeError, ValueError):
            return None
        return (
            dialect,
            model.route,
            model.api_base,
            model.stated_params,
            secret,
            params,
            *map(_shape, request.messages),
        )

    def decided(self, kind: tuple[object, ...]) -> bool:
        """Whether LiteLLM has shown how this kind is sent; it may be its own to send."""
        return kind in self._kinds

    def known(self, kind: tuple[object, ...]) -> bool:
        """Whether this kind can be sent without LiteLLM."""
        return self._kinds.get(kind) is not None

    def proven(self, kind: tuple[object, ...]) -> bool:
        """Whether LiteLLM has read a reply of this kind as it is read here."""
        return kind in self._proven

    def prove(self, kind: tuple[object, ...], ours: CallReply, theirs: CallReply | None) -> None:
        """Compare how a reply is read here and by LiteLLM; None: it refused it. A kind where they differ is its own."""
        if ours == theirs:
            self._proven.add(kind)
        else:
            self._kinds[kind] = None

    def client(self, kind: tuple[object, ...], key: str, api_base: str | None) -> Any:
        """A client for LiteLLM, over the connections of this event loop; `watching` sees what goes over it."""
        return self._client(str(kind[0]), key, api_base, self._handler())

    def playing_back(self, provider: str, key: str, api_base: str | None, outcome: Arrived | Exception) -> Any:
        """A client for LiteLLM that sends nothing: a request over it gets `outcome`, which has arrived already."""
        return self._client(provider, key, api_base, _http_handler(transport=_arrived(outcome)))

    def rendered(self, kind: tuple[object, ...], messages: Sequence[Mapping[str, Any]]) -> Rendered:
        """A request of a known kind, as `send` would send it."""
        found = self._kinds[kind]
        assert found is not None
        return Rendered(str(found.url), found.headers, {**(found.dialect.fields(messages) or {}), **_rest(found)})

    def stub(self, provider: str, key: str, api_base: str | None) -> Any:
        """A client for LiteLLM that sends nothing and answers a word, so that `watching` sees what it would send."""
        transport = httpx.MockTransport(lambda _: httpx.Response(200, json=_STUBS[provider]))
        handler = _http_handler(transport=transport, event_hooks={"response": [_seen]})
        return self._client(provider, key, api_base, handler)

    def plain_answer(self, provider: str, content: bytes) -> CallReply | None:
        """The reply in the body of a plain answer; None for any other."""
        headers = {"content-type": "application/json"}
        return None if provider not in DIALECTS else _plain_answer(DIALECTS[provider], 200, headers, content, 0.0)

    @property
    def http(self) -> httpx.AsyncClient:
        """LiteLLM's client of this event loop: the same proxies, certificates and limits."""
        client: httpx.AsyncClient = self._handler().client
        return client

    async def send(
        self, kind: tuple[object, ...], messages: Sequence[Mapping[str, Any]]
    ) -> tuple[CallReply | None, Arrived, float]:
        """A request of a known kind: its reply where it is a plain answer, what arrived, and seconds.

        Raises:
            UnicodeEncodeError: the messages have no bytes.
            Exception: the connection failed.
        """
        found = self._kinds[kind]
        assert found is not None
        text = json.dumps(found.dialect.fields(messages), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        content = text[:-1].encode() + found.rest
        began = time.perf_counter()
        arrived = await self._post(found, content)
        latency_s = time.perf_counter() - began
        reply = _plain_answer(found.dialect, arrived.status, arrived.headers, arrived.content, latency_s)
        return reply, arrived, latency_s

    async def _post(self, kind: _Kind, content: bytes) -> Arrived:
        """Over the connections themselves where they are LiteLLM's own, which is faster than the client.

        The client is for what only it can do: a redirect, or a transport of another kind.
        """
        client: httpx.AsyncClient = self._handler().client
        transport: Any = client._transport_for_url(kind.url)
        if type(transport).__name__ == _OWN_TRANSPORT:
            arrived = await self._connected(transport, kind, content)
            if not arrived.redirects:
                return arrived
        response = await client.post(kind.url, content=content, headers=kind.headers, timeout=self._timeout_s)
        return Arrived(response.status_code, dict(response.headers), response.content)

    async def _connected(self, transport: Any, kind: _Kind, content: bytes) -> Arrived:
        """Sends, reads and fails as LiteLLM's transport for httpx does.

        What that works out for each request (headers, address, limits of time) is the same for all of a kind.
        """
        from litellm.llms.custom_httpx.aiohttp_transport import AiohttpResponseStream, map_aiohttp_exceptions

        asked = kind.asked
        session = transport.get_valid_client_session()
        proxy = await transport._get_proxy_settings(asked.request)
        verify = transport._ssl_verify
        with map_aiohttp_exceptions():
            response = await session.request(
                "POST", asked.url, headers={**asked.headers, "content-length": str(len(content))}, data=content,
                allow_redirects=False, auto_decompress=False, timeout=self._limits(), proxy=proxy,
                **({} if verify is None else {"ssl": verify}),
            )  # fmt: skip
        try:
            body = b"".join([part async for part in AiohttpResponseStream(response)])
        finally:
            response.release()
        headers: dict[str, str] = {}
        for name, value in response.headers.items():
            lower = name.lower()
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
        if (packed := headers.get("content-encoding")) is not None:
            body = httpx.Response(200, headers={"content-encoding": packed}, content=body).content
        return Arrived(response.status, headers, body)

    def _limits(self) -> Any:
        if self._timeout is None:
            from litellm.llms.custom_httpx.aiohttp_transport import aiohttp

            seconds = self._timeout_s
            self._timeout = aiohttp.ClientTimeout(sock_connect=seconds, sock_read=seconds, connect=seconds)
        return self._timeout

    def learn(
        self, kind: tuple[object, ...], watch: Watch, messages: Sequence[Mapping[str, Any]], reply: CallReply | None
    ) -> None:
        """Take from what LiteLLM has just written how requests of this kind are sent.

        A kind that LiteLLM writes or reads in another way stays its own; so does one without a reply, which it refused.
        """
        if kind in self._kinds:
            return
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
            self._proven.clear()
        self._kinds[kind] = None if reply is None else _learned(DIALECTS[str(kind[0])], watch, messages, reply)

    async def aclose(self) -> None:
        """Close the connections of this event loop; those of loops that ended went with them."""
        handler = self._clients.pop(asyncio.get_running_loop(), None)
        if handler is not None:
            await handler.client.aclose()

    def _client(self, provider: str, key: str, api_base: str | None, handler: Any) -> Any:
        if provider == "azure":
            return _azure_client(key, api_base, handler.client)
        return handler if provider != "openai" else _openai_client(key, api_base, self._timeout_s, handler.client)

    def _dialect(self, model: Model) -> str | None:
        asked = (model.route, model.api_base)
        if asked not in self._dialects:
            elsewhere = any(os.environ.get(name) for name in _ELSEWHERE)
            provider = None if elsewhere else provider_of(*asked)
            self._dialects[asked] = provider if provider in DIALECTS else None
        return self._dialects[asked]

    def _handler(self) -> Any:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            for ended in [one for one in self._clients if one.is_closed()]:  # a client holds its loop
                del self._clients[ended]
            self._clients[loop] = _http_handler(timeout=self._timeout_s, event_hooks={"response": [_seen]})
        return self._clients[loop]


@contextmanager
def watching() -> Iterator[Watch]:
    """What goes over a client of `Wire` within goes into a `Watch`."""
    found = Watch()
    token = _watch.set(found)
    try:
        yield found
    finally:
        _watch.reset(token)


async def _seen(response: httpx.Response) -> None:
    watch = _watch.get()
    if watch is None:
        return
    content = await response.aread()
    request = response.request
    headers = {name: value for name, value in request.headers.items() if name not in _PER_REQUEST}
    watch.sent.append(
        Sent(request.url, headers, request.content, response.status_code, dict(response.headers), content)
    )


def _arrived(outcome: Arrived | Exception) -> httpx.AsyncBaseTransport:
    """A transport that has only this to give."""

    def give(request: httpx.Request) -> httpx.Response:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome.response(request)

    return httpx.MockTransport(give)


def _learned(dialect: Dialect, watch: Watch, messages: Sequence[Mapping[str, Any]], reply: CallReply) -> _Kind | None:
    if len(watch.sent) != 1 or not (sent := watch.sent[0]).url.path.endswith(dialect.path):
        return None
    body, ours = json.loads(sent.body), dialect.fields(messages)
    if not isinstance(body, dict) or ours is None or {name: body.pop(name, None) for name in ours} != ours:
        return None
    read = _plain_answer(dialect, sent.status, sent.headers, sent.content, reply.latency_s)
    if read != reply or body.get("stream"):
        return None
    rest = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return _Kind(dialect, sent.url, sent.request_headers, b"," + rest[1:] if body else b"}")


def _rest(kind: _Kind) -> dict[str, Any]:
    """The parts of the body that do not come of the messages."""
    found: dict[str, Any] = json.loads(b"{" + kind.rest[1:]) if kind.rest != b"}" else {}
    return found


def _plain_answer(
    dialect: Dialect, status: int, headers: Mapping[str, str], content: bytes, latency_s: float
) -> CallReply | None:
    """The reply in a plain answer; None for anything else, such as an error."""
    if status != 200 or not headers.get("content-type", "").lower().startswith("application/json"):
        return None
    try:
        body = json.loads(content)
    except ValueError:
        return None
    reply = dialect.read(body, latency_s) if isinstance(body, dict) else None
    notice = None if reply is None else notice_of(headers)
    return reply if reply is None or notice is None else replace(reply, notice=notice)


def _shape(message: Mapping[str, Any]) -> tuple[object, ...]:
    """What LiteLLM may decide by in a message, apart from its words."""
    calls = len(message.get("tool_calls") or ())
    return (message.get("role"), *sorted(message), _shape_of(message.get("content")), calls)


def _shape_of(content: Any) -> object:
    if isinstance(content, str):
        return (bool(content), bool(content.strip()))
    if isinstance(content, list):
        return tuple(_shape_of_part(part) for part in content)
    return type(content).__name__


def _shape_of_part(part: Any) -> object:
    if isinstance(part, Mapping):
        return tuple((name, value if name == "type" else _shape_of_part(value)) for name, value in sorted(part.items()))
    return bool(part)


@cache
def provider_of(route: str, api_base: str | None) -> str | None:
    """LiteLLM's name of who serves a route; None where it knows none, or is set up to send it elsewhere."""
    import litellm

    try:
        provider = str(litellm.get_llm_provider(model=route, api_base=api_base)[1])
    except Exception:  # noqa: BLE001 (LiteLLM itself will say what is wrong with it)
        return None
    return None if litellm.api_base or litellm.aclient_session is not None else provider


def _http_handler(**options: Any) -> Any:
    """LiteLLM's own client for HTTP: the same proxies, certificates and limits."""
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    return AsyncHTTPHandler(**options)


def _openai_client(key: str, api_base: str | None, timeout_s: float | None, http: Any) -> Any:
    from litellm.llms.openai.openai import AsyncOpenAI

    return AsyncOpenAI(api_key=key, base_url=api_base, http_client=http, timeout=timeout_s, max_retries=0)


def _azure_client(key: str, api_base: str | None, http: Any) -> Any:
    import litellm
    from litellm.llms.azure.azure import AsyncAzureOpenAI

    version = os.environ.get("AZURE_API_VERSION") or litellm.AZURE_DEFAULT_API_VERSION
    endpoint = api_base or os.environ.get("AZURE_API_BASE", "")
    return AsyncAzureOpenAI(
        api_key=key, azure_endpoint=endpoint, api_version=version, http_client=http, max_retries=0
    )  # fmt: skip


_USED = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_SAID = {"index": 0, "message": {"role": "assistant", "content": "-"}, "finish_reason": "stop"}
_COMPLETION = {
    "id": "-", "object": "chat.completion", "created": 0, "model": "-", "choices": [_SAID], "usage": _USED
}  # fmt: skip
_STUBS: Mapping[str, Any] = {
    "openai": _COMPLETION,
    "azure": _COMPLETION,
    "anthropic": {
        "id": "-", "type": "message", "role": "assistant", "model": "-", "content": [{"type": "text", "text": "-"}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": "-"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
        "modelVersion": "-", "responseId": "-",
    },
}  # fmt: skip
"""The answer of `stub`, by provider."""
