"""Embedded models served on this machine, each by a child process of its own that is started when first asked for.

One slot a server by default. Measured on 2 cores with a few-shot prompt of about 400 tokens and answers of a label: two
slots gave 10 to 20 % fewer calls a second than one (the cores are busy either way) and changed up to 5 of 60 answers at
temperature 0, because calls that are decoded together round differently. One slot answers the same every time.

Invariant: only this process's own children are ever stopped; they get a random key and none of the environment's.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import weakref
from collections.abc import Mapping
from types import TracebackType

from offramp.errors import JobError, OfframpError, problem
from offramp.models import embedded
from offramp.models.child import Child, ServeOptions, start_child
from offramp.records import Model


class LocalServers:
    """The servers of one process, at most `max_loaded` at a time (the one unused for longest makes room).

    May be used from several threads and event loops. A server that has died is started again once; if it dies again,
    `url` raises JobError. Ends its servers on `close`, at exit, and when this process dies in whatever way.
    """

    def __init__(
        self, *, max_loaded: int = 3, options: ServeOptions | None = None, ready_timeout_s: float = 120.0
    ) -> None:
        self._max_loaded = max(1, max_loaded)
        self._options = options or ServeOptions()
        self._ready_timeout_s = ready_timeout_s
        self._key = secrets.token_urlsafe(32)
        self._children: dict[str, Child] = {}
        self._restarts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._finalizer = weakref.finalize(self, _stop_all, self._children, self._pid)

    async def url(self, model: Model) -> str:
        """Address of the server of an embedded model, such as `http://127.0.0.1:41234`; started if need be.

        Raises:
            ModelError: llama.cpp or the file is missing, or the server does not start.
            JobError: it died twice.
        """
        child = self._children.get(model.route)
        if child is not None and child.alive and os.getpid() == self._pid:
            self._touch(model.route)
            return child.url
        return await asyncio.to_thread(self.start, model)

    def start(self, model: Model) -> str:
        """As `url`, for callers without an event loop. Blocks until the server is ready."""
        self._check_process()
        with self._lock:
            child = self._children.get(model.route)
            if child is None or not child.alive:
                child = self._started(model, child)
            self._children[model.route] = self._children.pop(model.route, child)
            return child.url

    def headers(self, model: Model) -> dict[str, str]:
        """Request headers that the servers ask for."""
        return {"Authorization": f"Bearer {self._key}"} if model.local else {}

    @property
    def pids(self) -> Mapping[str, int]:
        """Process ids of the running servers by model."""
        return {name: child.pid for name, child in list(self._children.items()) if child.alive}

    async def close(self) -> None:
        """End all servers; they may be started again afterwards."""
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """As `close`, for callers without an event loop."""
        with self._lock:
            _stop_all(self._children, self._pid)
            self._restarts.clear()

    def __enter__(self) -> LocalServers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> LocalServers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _touch(self, name: str) -> None:
        """Make it the most recently used; a start that is under way does that itself."""
        if self._lock.acquire(blocking=False):
            try:
                if name in self._children:
                    self._children[name] = self._children.pop(name)
            finally:
                self._lock.release()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise OfframpError("LocalServers belongs to the process that made it; make one in each process")

    def _started(self, model: Model, dead: Child | None) -> Child:
        if dead is not None:
            self._count_restart(model.route, dead)
        path = embedded.path(model.route)
        while sum(child.alive for child in self._children.values()) >= self._max_loaded:
            self._drop_oldest()
        options = self._options.for_context(model.context_tokens)
        self._children[model.route] = start_child(model.route, path, options, self._key, self._ready_timeout_s)
        return self._children[model.route]

    def _drop_oldest(self) -> None:
        name = next(iter(self._children))
        self._children.pop(name).stop()

    def _count_restart(self, name: str, dead: Child) -> None:
        self._restarts[name] = self._restarts.get(name, 0) + 1
        if self._restarts[name] > 1:
            do = "Look for what ends it, such as memory that runs out; the job can be resumed."
            raise JobError(problem(name, f"its server died twice ({dead.last_words()})", do=do))
        self._children.pop(name).stop()


def _stop_all(children: dict[str, Child], pid: int) -> None:
    """Stop every child at the same time; a forked copy of this process stops nothing."""
    if os.getpid() != pid:
        return
    stopping = [children.pop(name) for name in list(children)]
    for child in stopping:
        child.ask_to_stop()
    for child in stopping:
        child.stop()
