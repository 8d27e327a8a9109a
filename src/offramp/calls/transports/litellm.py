"""The only door to LiteLLM: one request out, one reply or one of our failures back.

LiteLLM is imported at the first call (it takes seconds), set to read its price table from its own files, and kept from
retrying, caching, dropping parameters, logging and phoning home: all of that is decided elsewhere, or unwanted.

Invariant: a key goes only where its model says. A model with its own address and no key is called with a placeholder,
or the client would send the key of the provider whose dialect it speaks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import httpx

from offramp.calls.estimate import LIMITS, output_tokens
from offramp.calls.failures import (
    BrokenReply,
    CallError,
    InvalidRequest,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from offramp.calls.retries import retry_after_s
from offramp.calls.transports.aside import warnings_aside
from offramp.calls.transports.headers import notice_in
from offramp.calls.transports.replies import (
    failure_for,
    misfit,
    misfit_of,
    read_reply,
    token_usage,
    upstream_failure,
    with_text,
)
from offramp.calls.transports.wire import Arrived, Rendered, Watch, Wire, provider_of, watching
from offramp.media import expanded
from offramp.models.capabilities import allowed_openai_params
from offramp.records import CallReply, CallRequest, Model
from offramp.scrubbing import scrubbed

_SERVE_CLAUDE = ("", "bedrock", "vertex_ai", "azure_ai")
"""Other providers of Claude as routes name them; a name without one is Anthropic's own."""
_NOT_PARAMS = frozenset(
    {
        "model", "messages", "api_base", "base_url", "api_key", "api_version", "custom_llm_provider",
        "num_retries", "max_retries", "caching", "cache", "drop_params", "timeout", "mock_response",
        "mock_tool_calls", "fallbacks", "stream", "stream_options", "extra_headers", "headers", "client",
        "model_list", "organization",
    }
)  # fmt: skip
_BROKE = frozenset(
    {"ConnectionResetError", "BrokenPipeError", "ServerDisconnectedError", "ClientPayloadError"}
    | {"RemoteProtocolError", "ReadError", "WriteError"}
)  # looked for first: LiteLLM's transport raises a reset connection as httpx.ConnectError
_NEVER_CONNECTED = frozenset(
    {"ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionTimeoutError"}
    | {"ConnectionRefusedError", "gaierror"}
)
_LONGEST_BODY = 500
BATCHED = frozenset({"openai", "anthropic", "azure"})
"""Providers whose batch interface is known here, as LiteLLM calls them."""
_PLACEHOLDER = "no-key-needed"
_ready = False
"""Whether LiteLLM has loaded what it loads late."""


class LiteLLMTransport:
    """Sends through LiteLLM.

    Args:
        timeout_s: of one attempt.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._wire = Wire(timeout_s)
        self._learning: defaultdict[tuple[object, ...], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def prepare(self, model: Model) -> None:
        """Import LiteLLM and let it load what it loads late, so that no request's latency or time-out holds it."""
        global _ready
        if not _ready:
            litellm = await asyncio.to_thread(_litellm)
            await litellm.acompletion(model="openai/none", messages=[], mock_response="ready", api_key=_PLACEHOLDER)
            _ready = True

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """One request; `attempt` changes nothing here."""
        key = _key(request)
        kind = self._wire.kind(request, key)
        if kind is None or key is None:
            return await self._through_litellm(request, key, None)
        messages = [expanded(message) for message in request.messages]
        if not self._wire.decided(kind):
            async with self._learning[kind]:  # the others of its kind wait for LiteLLM to write it, not for a reply
                if not self._wire.decided(kind):
                    with suppress(CallError):  # raised below, where it is sent
                        await self._shown(request, key, str(kind[0]), kind, messages)
            self._learning.pop(kind, None)
        if self._wire.known(kind):
            return await self._directly(request, key, kind, messages)
        return await self._through_litellm(request, key, self._wire.client(kind, key, request.model.api_base))

    async def render(self, request: CallRequest) -> Rendered:
        """A request as it would be sent; nothing is sent.

        Raises:
            CallError: LiteLLM does not write it.
        """
        key, provider = _key(request), self.batch_provider(request.model)
        if key is None or provider is None:
            raise Unauthorized(f"{request.model.name}: a batch needs a key; name its variable in `api_key_env`")
        kind, messages = self._wire.kind(request, key), [expanded(message) for message in request.messages]
        if kind is not None and self._wire.known(kind):
            return self._wire.rendered(kind, messages)
        watch = await self._shown(request, key, provider, kind, messages)
        if not watch.sent:
            raise InvalidRequest(f"{request.model.name}: LiteLLM writes no request that a batch could have")
        sent = watch.sent[0]
        return Rendered(str(sent.url), sent.request_headers, json.loads(sent.body))

    async def read(self, request: CallRequest, status: int, content: bytes) -> CallReply:
        """The reply in an answer that came in a batch. Raises what the same answer to a single request would."""
        key, provider = _key(request), self.batch_provider(request.model)
        assert key is not None and provider is not None  # it was rendered
        if status == 200 and (reply := self._wire.plain_answer(provider, content)) is not None:
            return reply
        answer = Arrived(status, {"content-type": "application/json"}, content)
        client = self._wire.playing_back(provider, key, request.model.api_base, answer)
        return await self._through_litellm(request, key, client, took_s=0.0)

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], **content: Any) -> httpx.Response:
        """What a server says to a request beside those for answers. It follows no redirect: a key stays where it is.

        Raises:
            InfrastructureError: it says nothing.
        """
        options: dict[str, Any] = {"headers": dict(headers), "timeout": self._timeout_s, "follow_redirects": False}
        began = time.perf_counter()
        try:
            response = await self._wire.http.request(method, url, **options, **content)
            await response.aread()
        except Exception as error:  # noqa: BLE001 (raised as what it is)
            raise _failure(error, time.perf_counter() - began) from None
        return response

    def batch_provider(self, model: Model) -> str | None:
        """Whose batch interface a model has, as LiteLLM calls it; None where it has none that is known here."""
        _litellm()
        provider = provider_of(model.route, model.api_base)
        return provider if provider in BATCHED else None

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._wire.aclose()

    async def _shown(
        self, request: CallRequest, key: str, provider: str, kind: tuple[object, ...] | None,
        messages: list[dict[str, Any]],
    ) -> Watch:  # fmt: skip
        """What LiteLLM would send for a request, and from that how all of its kind are sent. Nothing is sent.

        Raises:
            CallError: LiteLLM does not write it.
        """
        reply, failed = None, None
        with watching() as watch:
            try:
                client = self._wire.stub(provider, key, request.model.api_base)
                reply = await self._through_litellm(request, key, client, took_s=0.0)
            except CallError as error:
                failed = error
        if kind is not None:
            self._wire.learn(kind, watch, messages, reply)
        if failed is not None and not watch.sent:  # else it is of reading the stub's answer, which matters to nobody
            raise failed
        return watch

    async def _directly(
        self, request: CallRequest, key: str, kind: tuple[object, ...], messages: list[dict[str, Any]]
    ) -> CallReply:
        """A request of a known kind. What is not a plain answer is played back to LiteLLM, which says what it is."""
        began = time.perf_counter()
        outcome: Arrived | Exception
        try:
            reply, outcome, latency_s = await self._wire.send(kind, messages)
        except UnicodeEncodeError:
            return await self._through_litellm(request, key, None)
        except Exception as error:  # noqa: BLE001  LiteLLM says below what it is
            if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
                text = f"no reply within {self._timeout_s:g} s"
                raise TimedOut(text, latency_s=time.perf_counter() - began) from None
            reply, outcome, latency_s = None, error, time.perf_counter() - began
        if reply is not None and self._wire.proven(kind):
            return reply
        client = self._wire.playing_back(str(kind[0]), key, request.model.api_base, outcome)
        theirs: CallReply | None = None
        try:
            theirs = await self._through_litellm(request, key, client, took_s=latency_s)
            return theirs
        finally:
            if reply is not None:
                self._wire.prove(kind, reply, theirs)

    async def _through_litellm(
        self, request: CallRequest, key: str | None, client: Any, *, took_s: float | None = None
    ) -> CallReply:
        """One request by LiteLLM. `client`: what it sends with; its own where None. `took_s`: seconds that it took."""
        heard = _Heard()
        arguments = {**self._arguments(request, key), "logger_fn": heard.logger()}
        if client is not None:
            arguments["client"] = client
        began = time.perf_counter()
        try:
            with warnings_aside():
                reply = await _litellm().acompletion(**arguments)
        except Exception as error:  # noqa: BLE001  the caller records each failure; LiteLLM raises anything at all
            failed = _failure(error, took_s if took_s is not None else time.perf_counter() - began)
            if not isinstance(failed, BrokenReply):
                raise failed from None
            reply = _read_in_parts(heard, failed)
        latency_s = took_s if took_s is not None else time.perf_counter() - began
        answer = read_reply(reply, token_usage(getattr(reply, "usage", None)), latency_s)
        return replace(answer, notice=notice_in(reply))

    def _arguments(self, request: CallRequest, key: str | None) -> dict[str, Any]:
        arguments = {
            **request.params,
            "model": request.model.route,
            "messages": [expanded(message) for message in request.messages],
            "timeout": self._timeout_s,
            "num_retries": 0,
            "max_retries": 0,
            "caching": False,
            "drop_params": False,
        }
        if _needs_limit(request):
            arguments["max_tokens"] = output_tokens(request)
        if allowed := allowed_openai_params(request.model, request.params):
            arguments["allowed_openai_params"] = allowed
        if request.model.api_base is not None:
            arguments["api_base"] = request.model.api_base
        if key is not None:
            arguments["api_key"] = key
        return arguments


def _needs_limit(request: CallRequest) -> bool:
    """Whether LiteLLM would state a limit of its own, up to 128,000 tokens, beyond what is reserved for the request.

    It does for Claude, whose interface asks for one. A budget for thinking brings a limit along.
    """
    route = request.model.route
    provider = route.partition("/")[0] if "/" in route else ""
    claude = provider == "anthropic" or (provider in _SERVE_CLAUDE and "claude" in route)
    return claude and not any(name in request.params for name in (*LIMITS, "thinking", "reasoning_effort"))


def _key(request: CallRequest) -> str | None:
    """The key that a request is sent with; None for one that LiteLLM looks for. Raises where it cannot be sent."""
    if refused := sorted(_NOT_PARAMS & set(request.params)):
        raise InvalidRequest(f"not parameters of a request, or not for a space file to set: {', '.join(refused)}")
    key = None if request.model.api_base is None else _PLACEHOLDER
    if (variable := request.model.api_key_env) is not None and not (key := os.environ.get(variable)):
        raise Unauthorized(f"{request.model.name}: the environment variable {variable} is not set")
    _litellm()
    return key


@cache
def _litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = False
    litellm.num_retries = 0
    litellm.cache = None
    litellm.set_verbose = False
    litellm.redact_messages_in_exceptions = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False
    return litellm


@dataclass(slots=True)
class _Heard:
    """What LiteLLM logs of one request: texts that came, of which the reply is one, and what else it knows."""

    texts: list[Any] = field(default_factory=list)
    details: Mapping[str, Any] = field(default_factory=dict)

    def logger(self) -> Callable[[Mapping[str, Any]], None]:
        """What LiteLLM calls. A function of its own, since LiteLLM copies its arguments, and all they hold."""

        def hear(details: Mapping[str, Any]) -> None:
            if details.get("log_event_type") == "post_api_call":
                self.texts.append(details.get("original_response"))
                self.details = details  # the headers come into it afterwards

        return hear

    def completion(self) -> dict[str, Any] | None:
        """The chat completion that came; None where none did."""
        for text in self.texts:
            with suppress(ValueError, TypeError, RecursionError):
                body = json.loads(text)
                if isinstance(body, dict) and "choices" in body:
                    return body
        return None


def _read_in_parts(heard: _Heard, failed: BrokenReply) -> Any:
    """LiteLLM's reply of a chat completion whose content is parts of text, which it does not read by itself.

    Raises:
        BrokenReply: `failed`, or the same with the field that cannot be read.
    """
    if (body := heard.completion()) is None:
        raise failed from None
    if (wrong := misfit(body)) is not None:
        raise BrokenReply(wrong, latency_s=failed.latency_s) from None
    if (plain := with_text(body)) is None:
        raise failed from None
    from litellm.utils import ModelResponse, convert_to_model_response_object

    headers = dict(heard.details.get("response_headers") or {})
    try:
        with warnings_aside():
            return convert_to_model_response_object(
                response_object=plain, model_response_object=ModelResponse(), _response_headers=headers
            )
    except Exception as error:  # noqa: BLE001  as above
        raise _failure(error, failed.latency_s or 0.0) from None


def _failure(error: Exception, latency_s: float) -> CallError:
    """Our error for LiteLLM's, by what it was raised from where that says more than its own class."""
    chain = _chain(error)
    names = {cls.__name__ for link in chain for cls in type(link).__mro__}
    text = str(getattr(error, "message", None) or error) or type(error).__name__
    if isinstance(error, ImportError):
        return InvalidRequest(f"the provider needs a package that is not installed: {text}", latency_s=latency_s)
    if names & _BROKE:
        return Unreachable(text, sent=True, latency_s=latency_s)
    if names & _NEVER_CONNECTED:
        return Unreachable(text, latency_s=latency_s)
    if "Timeout" in names or "TimeoutException" in names or "APITimeoutError" in names:
        return TimedOut(text, latency_s=latency_s)
    if broken := _broken(chain):
        return BrokenReply(broken, latency_s=latency_s)
    if names & {"TransportError", "ClientConnectionError", "ConnectionError", "APIConnectionError"}:
        return Unreachable(text, sent=True, latency_s=latency_s)
    # What LiteLLM has recognised, in words that `failure_for` knows.
    if "ContextWindowExceededError" in names:
        text += " [context window]"
    elif "ContentPolicyViolationError" in names:
        text += " [content policy]"
    text += _codes(chain, text)
    if type(chain[-1]) is Exception and not any(getattr(link, "body", None) for link in chain):
        return upstream_failure(text, latency_s)  # an error inside a reply of status 200
    return failure_for(_http_status(chain), text, retry_after_s=_retry_after(chain), latency_s=latency_s)


def _codes(chain: list[BaseException], text: str) -> str:
    """What the provider's error says beside the text, its code and type above all: they say more than a status."""
    bodies = [body for link in chain if (body := getattr(link, "body", None))]
    said = [body for body in bodies if isinstance(body, str)]
    errors = [body.get("error") or body for body in bodies if isinstance(body, dict)]
    said += [error for error in errors if isinstance(error, str)]
    objects = [error for error in errors if isinstance(error, dict)]
    found = [str(error[key]) for error in objects for key in ("detail", "code", "type") if error.get(key)]
    found += [scrubbed(text)[:_LONGEST_BODY] for text in said]
    new = [code for code in dict.fromkeys(found) if code not in text and code != "error"]
    return f" [{', '.join(new)}]" if new else ""


def _http_status(chain: list[BaseException]) -> int | None:
    """The status as it came; LiteLLM's own error may carry the one of the class that it chose."""
    for link in reversed(chain):
        status = getattr(getattr(link, "response", None), "status_code", None) or getattr(link, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _broken(chain: list[BaseException]) -> str | None:
    """What was wrong with a reply that arrived but could not be read; None where that was not it."""
    for link in chain:
        if isinstance(link, ValueError | KeyError | TypeError | AttributeError | IndexError):
            return f"the reply cannot be read: {_said_of(link)}"
        if "APIResponseValidationError" in (cls.__name__ for cls in type(link).__mro__):
            return "the reply is not what the protocol says"
    text = str(chain[0])
    if "Empty or invalid response from LLM endpoint" in text:
        return "the reply is not a JSON object"
    return "the reply has no choices" if "choices" in text and "status_code" not in text else None


def _said_of(error: Exception) -> str:
    """What an error of reading says: the field, what it got and what it expected, where it is one of Pydantic's."""
    if isinstance(error, KeyError) and error.args:
        return f"no field {error.args[0]!r}"
    title, errors = getattr(error, "title", None), getattr(error, "errors", None)
    if not callable(errors) or not isinstance(title, str):
        return type(error).__name__
    first = errors(include_url=False)[0]
    expected = str(first["msg"]).replace("Input should be ", "")
    return misfit_of(".".join(map(str, (title.lower(), *first["loc"]))), first["input"], expected)


def _chain(error: BaseException) -> list[BaseException]:
    """The error and everything it was raised from or during."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _retry_after(chain: list[BaseException]) -> float | None:
    for link in chain:
        for headers in (getattr(getattr(link, "response", None), "headers", None), getattr(link, "headers", None)):
            if headers and (header := headers.get("retry-after-ms")) and (ms := retry_after_s(header)) is not None:
                return ms / 1000
            if headers and (header := headers.get("retry-after")) and (seconds := retry_after_s(header)) is not None:
                return seconds
    return None
