"""What many tasks write at the same time goes into the storage together: one thread, one transaction for all of it.

A job is handed over as an act (a function that does the same for many, such as adding rows) and its argument. The
thread takes what has come, calls each act once for all of its arguments, and commits; then every job has its result.
No job has a result before it is in the storage.

Invariants: a job that was handed over runs to its end, also when the task that waits for it is cancelled. A job that
fails takes no other with it: a group that cannot be written is written again one by one.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa

from offramp.errors import OfframpError

A = TypeVar("A")
R = TypeVar("R")
Act = Callable[[sa.Connection, Sequence[A]], Sequence[Callable[[], R] | Exception]]
"""Does one thing for many arguments in a transaction. For each it gives what is called after the commit and returns the
result, or an exception for an argument that was refused, and for which nothing was written."""

_MOST = 256
_LINGER_S = 0.002
"""While jobs come in groups, so long is waited for more of them."""


@dataclass(slots=True)
class _Job:
    act: Act[Any, Any]
    argument: Any
    reads: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = field(default=None)


class _Outlasting(asyncio.Future[Any]):
    """A task that is cancelled while it waits for this hears of it when this is done."""

    def cancel(self, msg: object = None) -> bool:
        """Nothing: the job runs to its end."""
        return False


class Groups:
    """The thread of one storage. It begins with the first job.

    Args:
        writing, reading: transactions of the storage.
    """

    def __init__(
        self,
        writing: Callable[[], AbstractContextManager[sa.Connection]],
        reading: Callable[[], AbstractContextManager[sa.Connection]],
    ) -> None:
        self._writing, self._reading = writing, reading
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    async def do(self, act: Act[A, R], argument: A, *, reads: bool = False, undo: Act[R, Any] | None = None) -> R:
        """The result of `act` for `argument`, once it is in the storage.

        Args:
            reads: the act writes nothing.
            undo: takes back what the act did, when the task was cancelled meanwhile.

        Raises:
            Exception: what the act refused the argument with.
            StorageFullError, JobError: the storage failed.
        """
        future = self._put(act, argument, reads)
        try:
            return await future
        except asyncio.CancelledError:  # once the job has ended
            if undo is not None and future.exception() is None:
                await _outlast(self._put(undo, future.result(), False))
            raise

    def close(self) -> None:
        """Do what has been handed over and end the thread. A later job begins another."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._jobs.put(None)
        if thread is not None:
            thread.join()

    def _put(self, act: Act[A, R], argument: A, reads: bool) -> asyncio.Future[R]:
        loop = asyncio.get_running_loop()
        job = _Job(act, argument, reads, loop, _Outlasting(loop=loop))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="offramp-store", daemon=True)
                self._thread.start()
            self._jobs.put(job)
        return job.future

    def _run(self) -> None:
        several = False
        while jobs := self._next(several):
            self._write(jobs)
            several = len(jobs) > 1
            _answer(jobs)

    def _next(self, several: bool) -> list[_Job]:
        """What waits, in order; empty when the thread shall end."""
        first = self._jobs.get()
        if first is None:
            return []
        if several:
            time.sleep(_LINGER_S)
        jobs = [first]
        while len(jobs) < _MOST:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # the thread ends after this group
                break
            jobs.append(job)
        return jobs

    def _write(self, jobs: list[_Job]) -> None:
        try:
            self._together(jobs)
        except Exception as error:  # noqa: BLE001 (each job raises its own where it is waited for)
            if isinstance(error, OfframpError) or len(jobs) == 1:  # the storage failed, for all of them
                for job in jobs:
                    job.error = error
                return
            for job in jobs:
                self._write([job])

    def _together(self, jobs: list[_Job]) -> None:
        acts: dict[Act[Any, Any], list[_Job]] = defaultdict(list)
        for job in jobs:
            acts[job.act].append(job)
        reading = all(job.reads for job in jobs)
        with (self._reading if reading else self._writing)() as conn:
            made = [(of_act, act(conn, [job.argument for job in of_act])) for act, of_act in acts.items()]
        for of_act, results in made:
            for job, result in zip(of_act, results, strict=True):
                if isinstance(result, Exception):
                    job.error = result
                else:
                    job.result = result()


def _answer(jobs: Sequence[_Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = defaultdict(list)
    for job in jobs:
        by_loop[job.loop].append(job)
    for loop, own in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
            job.future.exception()  # seen here: a task that was cancelled does not ask
        else:
            job.future.set_result(job.result)


async def _outlast(future: asyncio.Future[Any]) -> None:
    """Wait for the end of `future`, also when cancelled."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
