"""Chat completions in OpenAI's dialect, sent as LiteLLM sends them but without its work for each call.

LiteLLM sends the first request of each kind (model, key, parameters, shape of the messages) through a client that is
watched. When it sent the messages as they are, and its reading of the reply is ours, later requests of that kind are
the same request with other messages: rendered here, sent over the same client, and read here. A reply that is not a
plain answer (an error, a call of a tool, a field that is not known) is read by LiteLLM all the same: it is played back
to it as if it had just arrived.

Invariant: what a provider receives, and what is read of its replies and failures, is what LiteLLM would have sent and
read. Playing back sends nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import httpx

from offramp.calls.transports.headers import notice_of
from offramp.calls.transports.replies import read_reply, token_usage
from offramp.ids import canonical_json
from offramp.records import CallReply, CallRequest, Model

_PATH = "/chat/completions"
_ELSEWHERE = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER")
_PER_REQUEST = frozenset({"content-length", "transfer-encoding", "host"})
_OWN_TRANSPORT = "LiteLLMAiohttpTransport"
_MOST_KINDS = 10_000
_BODY = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"})
_CHOICE = frozenset({"index", "message", "finish_reason"})
_MESSAGE = frozenset({"role", "content"})
_REASONS = frozenset({"stop", "length"})
_TOKENS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_DETAILS: Mapping[str, frozenset[str]] = {
    "prompt_tokens_details": frozenset({"cached_tokens", "audio_tokens"}),
    "completion_tokens_details": frozenset(
        {"reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"}
    ),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as LiteLLM sent it, and the reply: `status`, `headers` in lower case, `content`."""

    url: httpx.URL
    request_headers: Mapping[str, str]
    body: bytes
    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(slots=True)
class Watch:
    """What went over a watched client for one request, in order."""

    sent: list[Sent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How requests of one kind are sent: address, headers, and the body before and after the messages."""

    url: httpx.URL
    headers: Mapping[str, str]
    before: bytes
    after: bytes


_watch: ContextVar[Watch | None] = ContextVar("offramp_wire_watch", default=None)


class ChatWire:
    """The requests of one transport. Several event loops may use it, one after another.

    Args:
        timeout_s: of one attempt.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._kinds: dict[tuple[object, ...], _Kind | None] = {}
        self._takes: dict[tuple[str, str | None], bool] = {}
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]
        self._clients = weakref.WeakKeyDictionary()

    def kind(self, request: CallRequest, key: str | None) -> tuple[object, ...] | None:
        """What is alike in all requests of its kind; None for one that is not in this dialect."""
        model = request.model
        if key is None or not self._speaks(model):
            return None
        secret = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        try:
            params = canonical_json(dict(request.params))
        except (TypeError, ValueError):
            return None
        return (model.route, model.api_base, model.stated_params, secret, params, *map(_shape, request.messages))

    def known(self, kind: tuple[object, ...]) -> bool:
        """Whether LiteLLM has shown how this kind is sent, and it can be sent without it."""
        return self._kinds.get(kind) is not None

    def client(self, key: str, api_base: str | None) -> Any:
        """A client for LiteLLM, over the connections of this event loop; `watching` sees what goes over it."""
        return _openai_client(key, api_base, self._timeout_s, self._http())

    async def send(
        self, kind: tuple[object, ...], messages: Sequence[Mapping[str, Any]]
    ) -> tuple[CallReply | None, httpx.Response, float]:
        """A request of a known kind: its reply where it is a plain answer, what arrived, and seconds.

        Raises:
            UnicodeEncodeError: the messages have no bytes.
            Exception: the connection failed.
        """
        found = self._kinds[kind]
        assert found is not None
        text = json.dumps(messages, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        content = found.before + text.encode() + found.after
        began = time.perf_counter()
        response = await self._post(found, content)
        latency_s = time.perf_counter() - began
        return plain_answer(response.status_code, response.headers, response.content, latency_s), response, latency_s

    async def _post(self, kind: _Kind, content: bytes) -> httpx.Response:
        """Over the transport itself where it is LiteLLM's own, which is twice as fast as over the client.

        The client is for what only it can do: a redirect, or a transport of another kind.
        """
        client, timeout_s = self._http(), self._timeout_s
        transport = client._transport_for_url(kind.url)
        if type(transport).__name__ == _OWN_TRANSPORT:
            times = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
            request = httpx.Request(
                "POST", kind.url, content=content, headers=kind.headers, extensions={"timeout": times}
            )
            response = await transport.handle_async_request(request)
            try:
                await response.aread()
            finally:
                await response.aclose()
            if not response.has_redirect_location:
                return response
        return await client.post(kind.url, content=content, headers=kind.headers, timeout=timeout_s)

    def learn(
        self, kind: tuple[object, ...], watch: Watch, messages: Sequence[Mapping[str, Any]], reply: CallReply
    ) -> None:
        """Take from what LiteLLM has just sent how requests of this kind are sent.

        A kind that LiteLLM sends in another way, or reads in another way, stays its own.
        """
        if kind in self._kinds:
            return
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        self._kinds[kind] = _learned(watch, messages, reply)

    async def aclose(self) -> None:
        """Close the connections of this event loop; those of loops that ended went with them."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _speaks(self, model: Model) -> bool:
        asked = (model.route, model.api_base)
        if asked not in self._takes:
            elsewhere = any(os.environ.get(name) for name in _ELSEWHERE)
            self._takes[asked] = not elsewhere and _provider(*asked) == "openai"
        return self._takes[asked]

    def _http(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = _http_client()
            client.event_hooks = {"response": [_seen]}
            self._clients[loop] = client
        return self._clients[loop]


@contextmanager
def watching() -> Iterator[Watch]:
    """What goes over a client of `ChatWire` within goes into a `Watch`."""
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


def playing_back(key: str, api_base: str | None, outcome: httpx.Response | Exception) -> Any:
    """A client for LiteLLM that sends nothing: a request over it gets `outcome`, which has arrived already."""

    def arrived(request: httpx.Request) -> httpx.Response:
        if isinstance(outcome, Exception):
            raise outcome
        headers = [(n, v) for n, v in outcome.headers.items() if n not in ("content-encoding", "transfer-encoding")]
        return httpx.Response(outcome.status_code, headers=headers, content=outcome.content, request=request)

    return _openai_client(key, api_base, None, httpx.AsyncClient(transport=httpx.MockTransport(arrived)))


def _learned(watch: Watch, messages: Sequence[Mapping[str, Any]], reply: CallReply) -> _Kind | None:
    if len(watch.sent) != 1 or not (sent := watch.sent[0]).url.path.endswith(_PATH):
        return None
    body = json.loads(sent.body)
    if not isinstance(body, dict) or body.pop("messages", None) != list(messages) or body.get("stream"):
        return None
    ours = plain_answer(sent.status, sent.headers, sent.content, reply.latency_s)
    if ours is None or ours != reply:
        return None
    rest = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return _Kind(sent.url, sent.request_headers, b'{"messages":', b"," + rest[1:] if body else b"}")


def plain_answer(status: int, headers: Mapping[str, str], content: bytes, latency_s: float) -> CallReply | None:
    """The reply in a plain answer: text that ended by itself or at the limit, with its tokens.

    None for anything else, such as an error, a refusal, a call of a tool, or fields that are not known here.
    """
    if status != 200 or not headers.get("content-type", "").lower().startswith("application/json"):
        return None
    try:
        body = json.loads(content)
    except ValueError:
        return None
    if not isinstance(body, dict) or not _is_plain(body):
        return None
    reply = read_reply(body, token_usage(body["usage"]), latency_s)
    return replace(reply, notice=notice_of(headers if isinstance(headers, dict) else dict(headers)))


def _is_plain(body: Mapping[str, Any]) -> bool:
    choices, usage, name = body.get("choices"), body.get("usage"), body.get("model")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(name, str) or not name:
        return False
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or not isinstance(usage, dict):
        return False
    text = message.get("content")
    if not isinstance(text, str) or not text or ("<" in text and "think" in text.lower()):
        return False
    empty = _empty_but(body, _BODY) and _empty_but(choice, _CHOICE) and _empty_but(message, _MESSAGE)
    known = choice.get("finish_reason") in _REASONS and message.get("role") == "assistant"
    named = all(isinstance(body.get(n), str | None) for n in ("id", "object", "system_fingerprint", "service_tier"))
    return empty and known and named and isinstance(body.get("created"), int) and _counts(usage)


def _empty_but(part: Mapping[str, Any], names: frozenset[str]) -> bool:
    return all(name in names or value is None or value == [] for name, value in part.items())


def _counts(usage: Mapping[str, Any]) -> bool:
    """Whether usage has the plain counts, and details of them that are counts."""
    for name, value in usage.items():
        if name in _DETAILS:
            if value is not None and not (isinstance(value, dict) and _are_counts(value, _DETAILS[name])):
                return False
        elif name not in _TOKENS:
            return False
    return all(type(usage.get(name)) is int and usage[name] >= 0 for name in _TOKENS)


def _are_counts(details: Mapping[str, Any], names: frozenset[str]) -> bool:
    return all(
        value is None or (name in names and type(value) is int and value >= 0) for name, value in details.items()
    )


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
def _provider(route: str, api_base: str | None) -> str | None:
    """LiteLLM's name of who serves a route; None where it knows none."""
    import litellm

    try:
        return str(litellm.get_llm_provider(model=route, api_base=api_base)[1])
    except Exception:  # noqa: BLE001 (LiteLLM itself will say what is wrong with it)
        return None


def _http_client() -> httpx.AsyncClient:
    """A client as LiteLLM makes it: the same proxies, certificates and limits."""
    from litellm.llms.openai.openai import OpenAIChatCompletion

    return OpenAIChatCompletion.get_async_http_client() or httpx.AsyncClient(follow_redirects=True)


def _openai_client(key: str, api_base: str | None, timeout_s: float | None, http: Any) -> Any:
    from litellm.llms.openai.openai import AsyncOpenAI

    return AsyncOpenAI(api_key=key, base_url=api_base, http_client=http, timeout=timeout_s, max_retries=0)
