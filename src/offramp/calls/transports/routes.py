"""Which transport a model goes through."""

from __future__ import annotations

from offramp.calls.failures import ModelNotFound
from offramp.calls.transports.litellm import LiteLLMTransport
from offramp.calls.transports.local import LocalServers, LocalTransport
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
        return await self._for(request.model).send(request, attempt)

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
