"""Single requests, gathered into batches: written down, submitted, waited for, and handed to whoever asked.

Requests come in as ever, from many runs at the same time. Those of one model that come without a pause between them
make a batch. Its lines, with the money reserved for them, are stored before it is submitted; a job that was killed
finds them by the hashes of its requests, waits for the batch that is out, and asks nothing again.

Invariants: a request that is out is not sent again by this study until its batch has ended. What a batch holds stays
reserved until its answer is booked. Every waiting request gets an outcome or an error.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import httpx

from offramp.calls.batches.interfaces import (
    BatchMissing,
    Ended,
    Interface,
    Unanswered,
    Unclear,
    group_of_rendered,
    interface_of,
)
from offramp.calls.estimate import worst_usd
from offramp.calls.failures import CallError, InfrastructureError
from offramp.calls.retries import Sleep
from offramp.calls.transports.wire import Rendered
from offramp.records import BATCH, CallReply, CallRequest, Model, Purpose
from offramp.store.batches import BatchLine, BatchLines
from offramp.store.budget import Budget, BudgetExceeded
from offramp.store.engine import Store

_log = logging.getLogger("offramp")
PURPOSES = frozenset({Purpose.PROGRAM, Purpose.JUDGE})
"""What a search asks in numbers; everything else waits for single answers."""
ATTEMPTS = 2
"""A request that two batches did not answer is sent directly."""
MOST_LINES = 10_000
MOST_BYTES = 100_000_000
QUIET_S = 3.0
"""A batch is submitted when no request has come for so long."""
FIRST_S, LONGEST_S, GROWTH = 10.0, 300.0, 1.5
"""Seconds between two looks at a batch: at first, at most, and how they grow."""
MOST_FAILED = 10
"""Looks that fail one after another before those who wait get the failure; the batch stays out."""
_SLICE_S = 1.0
_directly: ContextVar[bool] = ContextVar("offramp_directly", default=False)


@contextmanager
def directly() -> Iterator[None]:
    """Within, nothing new goes into a batch: what asks waits for one answer after the other."""
    token = _directly.set(True)
    try:
        yield
    finally:
        _directly.reset(token)


_TRIES = 5


@runtime_checkable
class BatchTransport(Protocol):
    """A transport that can write and read requests without sending them."""

    def batch_provider(self, model: Model) -> str | None:
        """Whose batch interface a model has; None where it has none."""
        ...

    async def render(self, request: CallRequest) -> Rendered:
        """A request as it would be sent."""
        ...

    async def read(self, request: CallRequest, status: int, content: bytes) -> CallReply:
        """The reply in an answer."""
        ...

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], **content: Any) -> httpx.Response:
        """One request to a server, beside those for answers."""
        ...


@dataclass(frozen=True, slots=True)
class Landed:
    """What came of a request in a batch; `left`: whether the provider began to work on it."""

    line: BatchLine
    outcome: CallReply | CallError
    left: bool = True


@dataclass(slots=True)
class _Asked:
    """One request that somebody waits for."""

    request: CallRequest
    rendered: Rendered
    future: asyncio.Future[Landed]
    tries: int = 0


@dataclass(slots=True)
class _Group:
    """Requests that are gathered for a batch."""

    asked: list[_Asked] = field(default_factory=list)


@dataclass(slots=True)
class _Out:
    """A batch that is out."""

    batch: str
    lines: list[BatchLine]
    remote: str | None
    waiting: dict[str, _Asked] = field(default_factory=dict)
    ended: Ended | None = None
    task: asyncio.Task[None] | None = None


class Collector:
    """The batches of one study. `on`: whether new requests are gathered; those that are out are waited for anyway.

    Args:
        check: raises a JobError where the job has to stop: nobody waits any more, and batches stay out.
        sleep: replaced in tests.
    """

    def __init__(
        self, transport: BatchTransport, *, store: Store, study: str, budget: Budget, timeout_s: float, on: bool,
        check: Callable[[], None], sleep: Sleep,
    ) -> None:  # fmt: skip
        self.on = on
        self._transport, self._budget, self._timeout_s = transport, budget, timeout_s
        self._check, self._sleep, self._lines = check, sleep, BatchLines(store, study)
        self._outs: dict[str, _Out] = {}
        self._known: dict[str, BatchLine] = {}
        for line in self._lines.out():
            out = self._outs.setdefault(line.batch, _Out(line.batch, [], line.remote))
            out.lines.append(line)
            self._known[line.request_hash] = line
        self._groups: dict[tuple[object, ...], _Group] = {}
        self._held: list[_Asked] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0

    def takes(self, request: CallRequest, number: int) -> bool:
        """Whether this attempt of a request goes into a batch, or is in one already."""
        if request.hash in self._known:
            return request.purpose is not Purpose.PROBE
        wanted = self.on and not _directly.get() and number <= ATTEMPTS and request.purpose in PURPOSES
        return wanted and self._transport.batch_provider(request.model) is not None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Within, a request may be on its way here: what is gathered waits for it."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    async def ask(self, request: CallRequest) -> Landed:
        """What came of a request, which is then to be booked with its line.

        Raises:
            CallError: it did not leave, or nothing can be learnt of its batch now. Nothing is to be booked.
            BudgetExceeded: the cap has no room for it.
            JobError: the job has to stop.
        """
        with self.busy():
            rendered = await self._transport.render(request)
        asked = _Asked(request, rendered, asyncio.get_running_loop().create_future())
        if (line := self._known.get(request.hash)) is None:
            self._gather(asked)
        else:
            out = self._outs[line.batch]
            out.waiting[line.id] = asked
            self._follow(out)
        return await asked.future

    async def aclose(self) -> None:
        """Stop waiting. What is out stays out, and is said."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._known:
            _log.warning(
                "%d requests are out in batches; run the same command again: it waits for them and sends none twice",
                len(self._known),
            )  # fmt: skip

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---------------------------------------------------------------------------------------------- gathering

    def _gather(self, asked: _Asked) -> None:
        key = (asked.request.model.name, *group_of_rendered(asked.rendered))
        group = self._groups.setdefault(key, _Group())
        group.asked.append(asked)
        if len(group.asked) == 1:
            self._begin(self._collect(key, group))

    async def _collect(self, key: tuple[object, ...], group: _Group) -> None:
        """Submits a group once no more requests come."""
        count = 0
        try:
            while len(group.asked) > count or self._busy:
                count = len(group.asked)
                await self._pause(QUIET_S)
        except Exception as error:  # noqa: BLE001 (raised where it is waited for)
            del self._groups[key]
            _fail(group.asked, error)
            return
        del self._groups[key]
        for chunk in _chunks([one for one in group.asked if not one.future.done()]):
            try:
                await self._submit(chunk)
            except Exception as error:  # noqa: BLE001 (raised where it is waited for)
                _fail(chunk, error)

    async def _submit(self, asked: Sequence[_Asked]) -> None:
        """Writes a batch down and sends it off."""
        batch = uuid.uuid4().hex[:24]
        bounds = [(one.request.hash, worst_usd(one.request, self._timeout_s)) for one in asked]
        written = await asyncio.to_thread(self._lines.write, batch, bounds, self._budget)
        out = _Out(batch, [], None)
        for one, line in zip(asked, written, strict=True):
            if isinstance(line, BudgetExceeded):
                self._hold(one, line, others=any(isinstance(other, BatchLine) for other in written))
                continue
            out.lines.append(line)
            out.waiting[line.id] = one
            self._known[line.request_hash] = line
        if not out.lines:
            return
        self._outs[batch] = out
        bodies = [(line.id, out.waiting[line.id].rendered.body) for line in out.lines]
        interface = self._interface(out)
        try:
            out.remote = await interface.submit(batch, bodies)
        except Unclear as unclear:
            out.remote = await self._find(out, interface)
            if out.remote is None:
                out.ended = Ended({}, Unanswered(unclear.error))
        except CallError:
            await self._withdraw(out)
            raise
        if out.remote is not None:
            await asyncio.to_thread(self._lines.submitted, batch, out.remote)
            _log.info("a batch of %d requests is out: %s", len(out.lines), out.remote)
        self._follow(out)

    def _hold(self, asked: _Asked, error: BudgetExceeded, *, others: bool) -> None:
        """A request that the cap has no room for now waits until a batch has been booked, where that may make room."""
        running = others or any(out.task is not None for out in self._outs.values())
        asked.tries += not running
        if not error.may_free_up or (not running and asked.tries > _TRIES):
            _fail([asked], error)
        elif running:
            self._held.append(asked)
        else:
            self._gather(asked)

    # ------------------------------------------------------------------------------------------------ waiting

    def _follow(self, out: _Out) -> None:
        if out.task is None:
            out.task = self._begin(self._wait(out))

    async def _wait(self, out: _Out) -> None:
        """Looks at a batch until it has ended, then hands out what it has."""
        try:
            if out.ended is None and out.remote is None and not await self._found(out):
                return
            await self._look(out)
            while out.waiting:
                name = next(iter(out.waiting))
                await self._deliver(out, name, out.waiting.pop(name))
        except Exception as error:  # noqa: BLE001 (raised where it is waited for)
            _fail(list(out.waiting.values()), error)
            out.waiting.clear()
        finally:
            out.task = None
            held, self._held = self._held, []
            for asked in held:
                if not asked.future.done():
                    self._gather(asked)

    async def _look(self, out: _Out) -> None:
        pause_s, failed, interface = FIRST_S, 0, self._interface(out)
        while out.ended is None:
            assert out.remote is not None
            self._check()
            try:
                out.ended = await interface.look(out.remote)
                failed = 0
            except BatchMissing as missing:
                out.ended = Ended({}, Unanswered(missing))
            except InfrastructureError:
                failed += 1
                if failed >= MOST_FAILED:
                    raise
            if out.ended is None:
                await self._pause(pause_s)
                pause_s = min(LONGEST_S, GROWTH * pause_s)

    async def _deliver(self, out: _Out, name: str, asked: _Asked) -> None:
        """Hands a request what its batch has for it."""
        assert out.ended is not None
        line = next(line for line in out.lines if line.id == name)
        found = out.ended.lines.get(name, out.ended.other)
        if isinstance(found, Unanswered):
            landed = Landed(line, found.error, found.left)
        else:
            try:
                reply = await self._transport.read(asked.request, found.status, found.content)
                landed = Landed(line, replace(reply, service_tier=BATCH, latency_s=0.0))
            except CallError as error:
                landed = Landed(line, error)
        if asked.future.done():  # nobody waits any more; a later run finds it
            return
        self._known.pop(asked.request.hash, None)
        out.lines.remove(line)
        asked.future.set_result(landed)

    async def _found(self, out: _Out) -> bool:
        """Whether the provider has a batch that a killed job was submitting; else its requests are gathered again."""
        out.remote = await self._find(out, self._interface(out))
        if out.remote is not None:
            await asyncio.to_thread(self._lines.submitted, out.batch, out.remote)
            return True
        asked = list(out.waiting.values())
        await self._withdraw(out)
        for one in asked:
            self._gather(one)
        return False

    async def _find(self, out: _Out, interface: Interface) -> str | None:
        known = frozenset(await asyncio.to_thread(self._lines.remotes))
        return await interface.find(out.batch, len(out.lines), out.lines[0].written_at, known)

    async def _withdraw(self, out: _Out) -> None:
        """A batch that the provider certainly does not have."""
        await asyncio.to_thread(self._lines.withdraw, out.lines, self._budget)
        for line in out.lines:
            self._known.pop(line.request_hash, None)
        out.waiting.clear()
        self._outs.pop(out.batch, None)

    def _interface(self, out: _Out) -> Interface:
        return interface_of(next(iter(out.waiting.values())).rendered, self._transport.fetch)

    async def _pause(self, seconds: float) -> None:
        """Sleeps, and notices within a second that the job has to stop."""
        while seconds > 0:
            self._check()
            await self._sleep(min(_SLICE_S, seconds))
            seconds -= _SLICE_S


def _chunks(asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """As many in each as a provider takes."""
    chunk: list[_Asked] = []
    size = 0
    for one in asked:
        bytes_ = len(str(one.rendered.body)) + 200
        if chunk and (len(chunk) >= MOST_LINES or size + bytes_ > MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += bytes_
    if chunk:
        yield chunk


def _fail(asked: Sequence[_Asked], error: Exception) -> None:
    for one in asked:
        if not one.future.done():
            one.future.set_exception(error)
