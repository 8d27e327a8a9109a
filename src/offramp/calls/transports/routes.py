"""Which transport a model goes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from offramp.calls.failures import ModelNotFound
from offramp.calls.transports.aside import warnings_aside
from offramp.calls.transports.litellm import LiteLLMTransport
from offramp.calls.transports.local import LocalServers, LocalTransport
from offramp.calls.transports.wire import Rendered
from offramp.records import CallReply, CallRequest, Model


class RouteTransport:
    """llama.cpp for `local/...` routes, LiteLLM for all others."""

    def __init__(self, servers: LocalServers | None, timeout_s: float) -> None:
        self._remote = LiteLLMTransport(timeout_s)
        self._local = None if servers is None else LocalTransport(servers, timeout_s)

    async def prepare(self, model: Model) -> None:
        """Get ready for requests to `model`."""
        await self._for(model).prepare(model)

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """Send by route."""
        with warnings_aside():
            return await self._for(request.model).send(request, attempt)

    def batch_provider(self, model: Model) -> str | None:
        """Whose batch interface a model has; None where it has none."""
        return None if model.local else self._remote.batch_provider(model)

    async def render(self, request: CallRequest) -> Rendered:
        """A request as it would be sent."""
        return await self._remote.render(request)

    async def read(self, request: CallRequest, status: int, content: bytes) -> CallReply:
        """The reply in an answer that came in a batch."""
        return await self._remote.read(request, status, content)

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], **content: Any) -> httpx.Response:
        """One request beside those for answers."""
        return await self._remote.fetch(method, url, headers, **content)

    async def aclose(self) -> None:
        """Close connections."""
        await self._remote.aclose()
        if self._local is not None:
            await self._local.aclose()

    def _for(self, model: Model) -> LiteLLMTransport | LocalTransport:
        if not model.local:
            return self._remote
        if self._local is None:
            raise ModelNotFound(f"{model.name}: no server for local models was given")
        return self._local
