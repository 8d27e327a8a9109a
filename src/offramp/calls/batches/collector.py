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
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import httpx

from offramp.calls.batches.interfaces import (
    BatchMissing,
    Ended,
    Found,
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
_T = TypeVar("_T")
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
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Out:
    """A batch that is out; `leaving`: it is being submitted, and `_submit` follows it afterwards."""

    batch: str
    lines: list[BatchLine]
    remote: str | None
    waiting: dict[str, _Asked] = field(default_factory=dict)
    ended: Ended | None = None
    task: asyncio.Task[None] | None = None
    leaving: bool = False


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
        self._writing: dict[str, _Asked] = {}
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
        if (writing := self._writing.get(request.hash)) is not None:  # who asked before has gone away meanwhile
            writing.future = asked.future
        elif (line := self._known.get(request.hash)) is None:
            self._gather(asked)
        else:
            out = self._outs[line.batch]
            out.waiting[line.id] = asked
            if not out.leaving:
                self._follow(out)
        try:
            return await asked.future
        except asyncio.CancelledError:
            if asked.future.done() and not asked.future.cancelled() and asked.future.exception() is None:
                self._put_back(asked.future.result().line)
            raise

    async def aclose(self) -> None:
        """Stop waiting. What is out stays out, and is said."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for waiting in [*(out.waiting.values() for out in self._outs.values()), self._held]:
            _fail(waiting, asyncio.CancelledError())
        for group in self._groups.values():
            _fail(group.asked, asyncio.CancelledError())
        self._groups.clear()
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
        if not _runs(group.task):
            group.task = self._begin(self._collect(key, group))

    async def _collect(self, key: tuple[object, ...], group: _Group) -> None:
        """Submits a group once no more requests come."""
        count = 0
        try:
            try:
                while len(group.asked) > count or self._busy:
                    count = len(group.asked)
                    await self._pause(QUIET_S)
            finally:
                self._groups.pop(key, None)  # who asks from here on begins another group
            for chunk in _chunks(group.asked):
                try:
                    await self._submit([one for one in chunk if not one.future.done()])
                except Exception as error:  # noqa: BLE001 (raised where it is waited for)
                    _fail(chunk, error)
        except BaseException as error:  # raised where it is waited for
            _fail(group.asked, error)
            if not isinstance(error, Exception):
                raise

    async def _submit(self, asked: Sequence[_Asked]) -> None:
        """Writes a batch down and sends it off."""
        if not asked:
            return
        out = _Out(uuid.uuid4().hex[:24], [], None, leaving=True)
        try:
            await self._write(out, asked)
            if out.lines:
                await self._send(out)
        except BaseException as error:
            _fail(out.waiting.values(), error)
            out.waiting.clear()
            self._regather(error)
            raise
        finally:
            out.leaving = False
        if out.waiting:
            self._follow(out)

    async def _write(self, out: _Out, asked: Sequence[_Asked]) -> None:
        """Stores the lines of a batch with the money reserved for them: from then on its requests are known."""
        bounds = [(one.request.hash, worst_usd(one.request, self._timeout_s)) for one in asked]
        self._writing |= {one.request.hash: one for one in asked}
        try:
            written = await asyncio.to_thread(self._lines.write, out.batch, bounds, self._budget)
        finally:
            for one in asked:
                del self._writing[one.request.hash]
        for one, line in zip(asked, written, strict=True):
            if isinstance(line, BudgetExceeded):
                self._hold(one, line, others=any(isinstance(other, BatchLine) for other in written))
                continue
            out.lines.append(line)
            out.waiting[line.id] = one
            self._known[line.request_hash] = line
        if out.lines:
            self._outs[out.batch] = out

    async def _send(self, out: _Out) -> None:
        """Submits a batch that is written down."""
        bodies = [(line.id, out.waiting[line.id].rendered.body) for line in out.lines]
        interface = self._interface(out)
        try:
            out.remote = await interface.submit(out.batch, bodies)
        except Unclear as unclear:
            out.remote = await self._find(out, interface)
            if out.remote is None:
                out.ended = Ended({}, Unanswered(unclear.error))
        except CallError:
            await self._withdraw(out)
            raise
        if out.remote is not None:
            await asyncio.to_thread(self._lines.submitted, out.batch, out.remote)
            _log.info("a batch of %d requests is out: %s", len(out.lines), out.remote)

    def _hold(self, asked: _Asked, error: BudgetExceeded, *, others: bool) -> None:
        """A request that the cap has no room for now waits until a batch has been booked, where that may make room."""
        running = others or any(out.leaving or _runs(out.task) for out in self._outs.values())
        asked.tries += not running
        if not error.may_free_up or (not running and asked.tries > _TRIES):
            _fail([asked], error)
        elif running:
            self._held.append(asked)
        else:
            self._gather(asked)

    # ------------------------------------------------------------------------------------------------ waiting

    def _follow(self, out: _Out) -> None:
        if not _runs(out.task):
            out.task = self._begin(self._wait(out))

    async def _wait(self, out: _Out) -> None:
        """Looks at a batch until it has ended, then hands out what it has."""
        ended: BaseException | None = None
        try:
            if out.ended is None and out.remote is None and not await self._found(out):
                return
            await self._look(out)
            while out.waiting:
                await self._deliver(out, next(iter(out.waiting)))
        except BaseException as error:  # raised where it is waited for
            ended = error
            _fail(out.waiting.values(), error)
            out.waiting.clear()
            if not isinstance(error, Exception):
                raise
        finally:
            out.task = None
            self._regather(ended)

    def _regather(self, ended: BaseException | None) -> None:
        """What the cap had no room for is gathered again, unless `ended` says that nobody waits any more."""
        held, self._held = self._held, []
        if ended is not None and not isinstance(ended, Exception):
            _fail(held, ended)
        for asked in held:
            if not asked.future.done():
                self._gather(asked)

    async def _look(self, out: _Out) -> None:
        if out.ended is not None:
            return
        assert out.remote is not None
        remote, interface = out.remote, self._interface(out)

        async def look() -> Ended | None:
            try:
                return await interface.look(remote)
            except BatchMissing as missing:
                return Ended({}, Unanswered(missing))

        out.ended = await self._until(look)

    async def _until(self, told: Callable[[], Awaitable[_T | None]]) -> _T:
        """What a provider tells in the end; it is asked ever more rarely.

        Raises:
            InfrastructureError: the last of so many that came one after another.
        """
        pause_s, failed = FIRST_S, 0
        while True:
            self._check()
            try:
                if (found := await told()) is not None:
                    return found
                failed = 0
            except InfrastructureError:
                failed += 1
                if failed >= MOST_FAILED:
                    raise
            await self._pause(pause_s)
            pause_s = min(LONGEST_S, GROWTH * pause_s)

    async def _deliver(self, out: _Out, name: str) -> None:
        """Hands a request what its batch has for it."""
        assert out.ended is not None
        asked = out.waiting[name]
        line = next(line for line in out.lines if line.id == name)
        found = out.ended.lines.get(name, out.ended.other)
        outcome: CallReply | CallError
        if isinstance(found, Unanswered):
            outcome = found.error
        else:
            try:
                outcome = replace(await self._transport.read(asked.request, found.status, found.content), latency_s=0.0)
            except CallError as error:
                outcome = error
        if out.waiting[name] is not asked:  # it went away, and another asks now
            return
        del out.waiting[name]
        if asked.future.done():  # nobody waits any more; a later run finds it
            return
        self._known.pop(asked.request.hash, None)
        out.lines.remove(line)
        asked.future.set_result(Landed(line, _of_batch(outcome), found.left if isinstance(found, Unanswered) else True))

    def _put_back(self, line: BatchLine) -> None:
        """A line whose answer was handed to somebody who went away before it was booked."""
        self._known[line.request_hash] = line
        self._outs[line.batch].lines.append(line)

    async def _found(self, out: _Out) -> bool:
        """Whether the provider has a batch that a killed job was submitting; else its requests are gathered again."""
        out.remote = await self._find(out, self._interface(out))
        if out.remote is not None:
            await asyncio.to_thread(self._lines.submitted, out.batch, out.remote)
            return True
        await self._withdraw(out)
        for one in out.waiting.values():
            self._gather(one)
        out.waiting.clear()
        return False

    async def _find(self, out: _Out, interface: Interface) -> str | None:
        """What the provider calls a batch that it may have taken; None where it certainly did not."""
        others: set[str] = set()

        async def find() -> Found | None:
            others.update(await asyncio.to_thread(self._lines.remotes))
            return await interface.find(out.batch, len(out.lines), out.lines[0].written_at, others)

        _log.info("whether the provider has a batch of %d requests is not known yet", len(out.lines))
        await self._pause(FIRST_S)  # what it is just taking is listed in a moment
        return (await self._until(find)).remote

    async def _withdraw(self, out: _Out) -> None:
        """A batch that the provider certainly does not have. Nobody joins it any more, and whoever waits still does."""
        for line in out.lines:
            self._known.pop(line.request_hash, None)
        self._outs.pop(out.batch, None)
        await asyncio.to_thread(self._lines.withdraw, out.lines, self._budget)

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


def _runs(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done()


def _of_batch(outcome: CallReply | CallError) -> CallReply | CallError:
    """What came in a batch, marked as that: it was billed at the price of a batch."""
    if isinstance(outcome, CallReply):
        return replace(outcome, service_tier=BATCH)
    outcome.service_tier = BATCH
    return outcome


def _fail(asked: Iterable[_Asked], error: BaseException) -> None:
    """Those that wait get the error; they are cancelled by one that is not theirs to handle."""
    for one in asked:
        if one.future.done():
            continue
        if isinstance(error, Exception):
            one.future.set_exception(error)
        else:
            one.future.cancel()
