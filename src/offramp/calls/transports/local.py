"""Requests to llama.cpp on this machine, over its OpenAI-compatible address.

Parameters go through as they are (`grammar`, `response_format`, `seed`, ...). What a call costs here is time: the
seconds of computing that the server reports, so that waiting for a slot is not billed.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Mapping
from typing import Any, Protocol

import httpx

from offramp.calls.failures import BrokenReply, InvalidRequest, TimedOut, Unreachable
from offramp.calls.transports.replies import failure_for, read_reply, token_usage
from offramp.media import kinds_in
from offramp.records import CallReply, CallRequest, Model


class LocalServers(Protocol):
    """Who serves local models."""

    async def url(self, model: Model) -> str:
        """Address of a server that is ready, started when it has to be."""
        ...

    def headers(self, model: Model) -> Mapping[str, str]:
        """Headers that the server wants, such as its key."""
        ...


class LocalTransport:
    """Sends to the servers of local models.

    Args:
        servers: who serves them; the time to start is not part of the latency.
        timeout_s: of one attempt.
    """

    def __init__(self, servers: LocalServers, timeout_s: float) -> None:
        self._servers, self._timeout_s = servers, timeout_s
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]
        self._clients = weakref.WeakKeyDictionary()

    async def prepare(self, model: Model) -> None:
        """Start the server of `model`; loading a model takes longer than a request may."""
        await self._servers.url(model)

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """One request; `attempt` changes nothing here."""
        base = (await self._servers.url(request.model)).rstrip("/").removesuffix("/v1")
        headers = dict(self._servers.headers(request.model))
        if any(map(kinds_in, request.messages)):
            raise InvalidRequest(f"{request.model.name} takes text alone, and the program sends images, audio or files")
        messages = [dict(message) for message in request.messages]
        body = {**request.params, "model": request.model.name, "messages": messages, "stream": False}
        began = time.perf_counter()
        try:
            response = await self._client().post(f"{base}/v1/chat/completions", json=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(f"the local server does not answer: {error}") from None
        except httpx.TimeoutException:
            raise TimedOut("the local server did not answer in time", latency_s=time.perf_counter() - began) from None
        except httpx.HTTPError as error:
            text = f"the connection to the local server broke: {type(error).__name__}"
            raise Unreachable(text, sent=True, latency_s=time.perf_counter() - began) from None
        return _read(response, time.perf_counter() - began)

    async def aclose(self) -> None:
        """Close the connections of this event loop; those of loops that ended went with them."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = httpx.AsyncClient(timeout=self._timeout_s, trust_env=False)
        return self._clients[loop]


def _read(response: httpx.Response, latency_s: float) -> CallReply:
    if response.status_code != 200:
        raise failure_for(response.status_code, _error_text(response), latency_s=latency_s)
    try:
        body = response.json()
    except ValueError:
        raise BrokenReply("the local server's reply is not JSON", latency_s=latency_s) from None
    if not isinstance(body, dict):
        raise BrokenReply("the local server's reply is not a JSON object", latency_s=latency_s)
    usage = token_usage(body.get("usage"), compute_s=_compute_s(body.get("timings"), latency_s))
    return read_reply(body, usage, latency_s)


def _compute_s(timings: Any, latency_s: float) -> float:
    """Seconds of computing; the whole latency where the server does not say."""
    if not isinstance(timings, Mapping):
        return latency_s
    parts = [timings.get(name) for name in ("prompt_ms", "predicted_ms")]
    known = [float(part) for part in parts if isinstance(part, int | float) and part >= 0]
    return sum(known) / 1000 if len(known) == 2 else latency_s


def _error_text(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return " ".join(str(error[name]) for name in ("type", "message") if name in error)
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
