"""Requests to language models by clients that know nothing of DSPy, such as `litellm`, `openai`, `httpx`, `requests`.

All of them send through one of a few methods, which `install` wraps once a process: what is on its way to a model
is shown to a listener first, which may refuse it. Outside of runs nothing changes. A request is known as one to a model
by its method and path (`POST .../chat/completions`), and where other services have such a path too, by its host; one of
gRPC by the name of its call (`GenerativeService/GenerateContent`).

Invariant: no other request is looked at any further: vector stores, search and other services answer as always.
"""

from __future__ import annotations

import functools
import http.client
import importlib
import importlib.util
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_ANY_HOST = re.compile(
    r"(/chat/completions|/v1/completions|:(stream)?generateContent|:(stream)?rawPredict"
    r"|/model/[^/]+/(converse(-stream)?|invoke(-with-response-stream)?))$",
    re.IGNORECASE,
)
"""Paths that only models have: OpenAI and who speaks as it does, Gemini, Bedrock, models of others on Vertex AI."""
_AT_VENDORS = re.compile(r"/(responses|completions?|messages|runs|conversations|chat|generate)$")
_EMBEDS = re.compile(r"(/embeddings|/embed|:(batch)?embedContents?)$", re.IGNORECASE)
_VENDORS = re.compile(
    r"(^|\.)(openai\.com|openai\.azure\.com|ai\.azure\.com|anthropic\.com|cohere\.(com|ai)|mistral\.ai|groq\.com|x\.ai"
    r"|together\.(ai|xyz)|fireworks\.ai|openrouter\.ai|deepseek\.com|perplexity\.ai|ai21\.com|cerebras\.ai"
    r"|generativelanguage\.googleapis\.com|deepinfra\.com|moonshot\.(ai|cn)|nvidia\.com|sambanova\.ai|voyageai\.com)$"
)
_OLLAMA = 11434
"""The port of Ollama on any host."""
_GRPC = re.compile(
    r"/((Stream|Bidi)?GenerateContent|(Stream)?RawPredict|GetCompletion\w*|StartDeferredCompletion|SampleText\w*)$"
    r"|(TextGeneration|TextGenerationAsync|ChatCompletions?|Completions?)(Service)?/\w+$|gigachat\.\S*ChatService/\w+$"
    r"|VllmEngine/Generate$|SglangScheduler/Generate$",
    re.IGNORECASE,
)
"""Calls of gRPC that only models have: Gemini, Vertex AI, xAI, Yandex, GigaChat, TGI, vLLM, SGLang."""
_GRPC_EMBEDS = re.compile(r"/(Batch)?EmbedContents?$|TextEmbedding(Service)?/\w+$|Embedder/\w+$", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s'\"\\]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A request to a language model that does not come from DSPy.

    Attributes:
        address: where it goes, without query.
        model: that it names; None where that cannot be seen.
        embeds: whether it asks for embeddings.
    """

    address: str
    model: str | None = None
    embeds: bool = False

    @property
    def what(self) -> str:
        """`gpt-4o at https://api.openai.com/v1/chat/completions`."""
        return f"{self.model} at {self.address}" if self.model else self.address


Listener = Callable[[ModelRequest], None]


def model_request(method: str, url: str, body: bytes | None = None) -> ModelRequest | None:
    """The request as one to a model; None where it is none."""
    if method.upper() != "POST":
        return None
    parts = urlsplit(url)
    path, host = parts.path.rstrip("/"), parts.hostname or ""
    vendor = bool(_VENDORS.search(host)) or parts.port == _OLLAMA
    embeds = bool(_EMBEDS.search(path)) and vendor
    if not (embeds or _ANY_HOST.search(path) or (vendor and _AT_VENDORS.search(path))):
        return None
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
    return ModelRequest(address=address, model=_model_in(body), embeds=embeds)


def requests_in(command: str) -> ModelRequest | None:
    """The first request to a model that the command of a process names, such as one of `curl`."""
    found = (model_request("POST", url) for url in _URL.findall(command))
    return next((each for each in found if each is not None), None)


def grpc_request(target: str, method: str, model: Any = None) -> ModelRequest | None:
    """A call of gRPC as one to a model; None where it is none.

    Args:
        target: of the channel, such as `dns:///api.x.ai:443`; empty where that cannot be seen.
        method: `/package.Service/Method`.
        model: that the message names.
    """
    embeds = bool(_GRPC_EMBEDS.search(method))
    if not (embeds or _GRPC.search(method)):
        return None
    address = f"grpc://{target.rpartition('/')[2]}{method}" if target else f"grpc:{method}"
    return ModelRequest(address=address, model=model if isinstance(model, str) and model else None, embeds=embeds)


def _model_in(body: bytes | None) -> str | None:
    try:
        asked = json.loads(body or b"")
    except ValueError:
        return None
    name = asked.get("model") if isinstance(asked, Mapping) else None
    return name if isinstance(name, str) else None


def install(listener: Listener, ours: Callable[[], bool] = lambda: False) -> None:
    """Shows requests to models to the listener before they are sent. Once a process.

    Args:
        ours: whether what is sent here is a transport's, which nobody has to look at.
    """

    def unless_ours(read: Callable[..., ModelRequest | None]) -> Callable[..., ModelRequest | None]:
        return lambda *args, **kwargs: None if ours() else read(*args, **kwargs)

    _wrap("http.client", "HTTPConnection", "putrequest", unless_ours(_of_http_client), listener)
    for module in ("httpx", "httpx2"):
        _wrap(module, "Client", "send", unless_ours(_of_httpx), listener)
        _wrap(module, "AsyncClient", "send", unless_ours(_of_httpx), listener)
    _wrap("aiohttp", "ClientSession", "_request", unless_ours(_of_aiohttp), listener)
    for module, owner in (("grpc._channel", "_{}MultiCallable"), ("grpc.aio._channel", "{}MultiCallable")):
        for kind in ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream", "SingleThreadedUnaryStream"):
            for name in ("__call__", "with_call", "future"):
                _wrap(module, owner.format(kind), name, _of_grpc, listener)
    _replace_pycurl(listener)


def _of_http_client(
    connection: http.client.HTTPConnection, method: str, url: str, *_: Any, **__: Any
) -> ModelRequest | None:
    """Of `urllib`, `requests`, `urllib3`, `boto3`."""
    if url.startswith("/"):
        host = getattr(connection, "_tunnel_host", None) or connection.host
        scheme = "https" if isinstance(connection, http.client.HTTPSConnection) else "http"
        url = f"{scheme}://{host}:{connection.port}{url}"
    return model_request(method, url)


def _of_httpx(_: Any, request: Any, *__: Any, **___: Any) -> ModelRequest | None:
    """Of `httpx`, and of the clients of OpenAI, Anthropic and most other vendors."""
    return model_request(request.method, str(request.url), getattr(request, "_content", None))


def _of_aiohttp(session: Any, method: str, url: Any, *_: Any, **__: Any) -> ModelRequest | None:
    base = getattr(session, "_base_url", None)
    return model_request(method, str(base.join(type(base)(str(url))) if base is not None else url))


def _of_grpc(call: Any, request: Any = None, *_: Any, **__: Any) -> ModelRequest | None:
    """Of stubs over a channel of `grpc` or `grpc.aio`, as the clients of Google Cloud and xAI have them."""
    target, method = (getattr(call, name, b"").decode("utf-8", "replace") for name in ("_target", "_method"))
    return grpc_request(target, method, getattr(request, "model", None))


def _replace_pycurl(listener: Listener) -> None:
    """Has `pycurl.Curl` show where it goes: its type cannot be changed, so that a kind of it takes its name."""
    if not _is_here("pycurl"):
        return
    pycurl = importlib.import_module("pycurl")
    if hasattr(pycurl.Curl, "offramp_wraps"):
        return

    class Curl(pycurl.Curl):  # type: ignore[misc, name-defined]
        offramp_wraps = True

        def perform(self) -> Any:
            _show(self)
            return super().perform()

        def perform_rb(self) -> Any:
            _show(self)
            return super().perform_rb()

        def perform_rs(self) -> Any:
            _show(self)
            return super().perform_rs()

    class CurlMulti(pycurl.CurlMulti):  # type: ignore[misc, name-defined]
        def add_handle(self, handle: Any) -> Any:
            _show(handle)
            return super().add_handle(handle)

    def _show(handle: Any) -> None:
        if (asked := model_request("POST", handle.getinfo(pycurl.EFFECTIVE_URL) or "")) is not None:
            listener(asked)

    for kind in (Curl, CurlMulti):
        setattr(pycurl, kind.__name__, kind)


def _is_here(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a part of a package that is not here
        return False


def _wrap(module: str, owner: str, name: str, read: Callable[..., ModelRequest | None], listener: Listener) -> None:
    kind = getattr(importlib.import_module(module), owner, None) if _is_here(module) else None
    method = vars(kind).get(name) if kind is not None else None
    if method is None or hasattr(method, "offramp_wraps"):
        return

    @functools.wraps(method)
    def shown(*args: Any, **kwargs: Any) -> Any:
        if (asked := read(*args, **kwargs)) is not None:
            listener(asked)
        return method(*args, **kwargs)

    @functools.wraps(method)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await shown(*args, **kwargs)

    wrapped: Any = awaited if inspect.iscoroutinefunction(method) else shown
    wrapped.offramp_wraps = True
    setattr(kind, name, wrapped)
