"""A transport that sends each request once and remembers the reply, for benchmarks on real models."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

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


class Speeds:
    """How long an embedded model takes for a request, by what it has read before: as measured over many replies.

    A reply that is remembered took as long as it did because of what was asked just before it; in another job another
    request comes first. So its latency is that of tokens to read and tokens to write, whose speeds are fitted to all
    replies of the model, and of what it has read in this job.
    """

    FEWEST = 50

    def __init__(self, replies: Iterable[CallReply]) -> None:
        rows: defaultdict[str, list[tuple[float, ...]]] = defaultdict(list)
        for reply in replies:
            rows[reply.answered_by or ""].append(
                (1.0, reply.usage.input_tokens, reply.usage.output_tokens, reply.latency_s)
            )
        self._speeds = {
            name: np.maximum(np.linalg.lstsq(np.array(found)[:, :3], np.array(found)[:, 3], rcond=None)[0], 0.0)
            for name, found in rows.items()
            if len(found) >= self.FEWEST
        }
        self._read: defaultdict[str, list[str]] = defaultdict(list)

    def reply(self, request: CallRequest, reply: CallReply) -> CallReply:
        """The reply with the latency and the cached tokens that it has in this job."""
        speeds = self._speeds.get(request.model.name)
        if speeds is None or not request.model.local:
            return reply
        text, tokens = json.dumps(request.messages), reply.usage.input_tokens + reply.usage.cached_input_tokens
        read = max((_common(text, before) for before in self._read[request.model.name]), default=0) / len(text)
        if read < 0.9:
            self._read[request.model.name].append(text)
        new = round((1 - read) * tokens)
        usage = replace(reply.usage, input_tokens=new, cached_input_tokens=tokens - new)
        return replace(reply, usage=usage, latency_s=float(speeds @ (1.0, new, usage.output_tokens)))


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


class Remembering:
    """The transport.

    Attributes:
        timing: of a job whose clock moves by the latencies of `Speeds`, and not by how fast this machine is now.
    """

    def __init__(self, replies: dict[str, CallReply]) -> None:
        self._replies, self._servers, self._speeds = replies, LocalServers(), Speeds(replies.values())
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
        reply = self._speeds.reply(request, self._replies[request.hash])
        self._seconds += reply.latency_s
        return reply

    async def _sleep(self, seconds: float) -> None:
        self._seconds += seconds
        await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Stops the models."""
        await self._inner.aclose()
        await self._servers.close()


def _reply(found: dict[str, Any]) -> CallReply:
    return CallReply(**{**found, "usage": Usage(**found["usage"]), "tool_calls": tuple(found["tool_calls"])})
