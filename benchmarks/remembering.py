"""A transport that sends each request once and remembers the reply, for benchmarks on real models."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from offramp.calls.transports.routes import RouteTransport
from offramp.job.clock import Timing
from offramp.models.server import LocalServers
from offramp.records import CallReply, CallRequest, Usage

TIMEOUT_S = 120.0


class Replies(dict[str, CallReply]):
    """Replies by request, kept in a file of JSON lines where one is named."""

    def __init__(self, path: str | None) -> None:
        super().__init__()
        self._path = None if path is None else Path(path)
        if self._path is not None and self._path.exists():
            for line in self._path.read_text().splitlines():
                name, found = json.loads(line)
                super().__setitem__(name, _reply(found))

    def __setitem__(self, name: str, reply: CallReply) -> None:
        super().__setitem__(name, reply)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([name, asdict(reply)]) + "\n")


class Remembering:
    """The transport. Its latencies are those of the first time.

    Attributes:
        timing: of a job whose clock moves by these latencies, and not by how fast this machine is now.
    """

    def __init__(self, replies: dict[str, CallReply]) -> None:
        self._replies, self._servers = replies, LocalServers()
        self._inner = RouteTransport(self._servers, TIMEOUT_S)
        self._one = asyncio.Lock()
        self._seconds = 0.0
        self.timing = Timing(now=lambda: self._seconds, sleep=self._sleep)

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The first reply to this request; requests are sent one at a time, as the models run on the same machine."""
        async with self._one:
            if request.hash not in self._replies:
                await self._inner.prepare(request.model)
                self._replies[request.hash] = await self._inner.send(request, attempt)
        self._seconds += self._replies[request.hash].latency_s
        return self._replies[request.hash]

    async def _sleep(self, seconds: float) -> None:
        self._seconds += seconds
        await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Stops the models."""
        await self._inner.aclose()
        await self._servers.close()


def _reply(found: dict[str, Any]) -> CallReply:
    return CallReply(**{**found, "usage": Usage(**found["usage"]), "tool_calls": tuple(found["tool_calls"])})
