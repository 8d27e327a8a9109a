"""Threads that a program begins belong to its run.

Python's threads and pools begin with an empty context, so that a call of a model from one of them would belong to no
run. `install` wraps `threading.Thread.start` and `ThreadPoolExecutor.submit` once: within a run, what is begun gets the
context of who begins it. Outside of runs nothing changes.

Invariant: a thread of a pool, which outlives a run, has the run's context for the work of that run alone.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from dspy.clients.execution import _price_result, prepare

from offramp.program.engine import SyncCallerEngine, recording, run_here

_BRIEF = (prepare, _price_result)
_POOLS = ("anyio", "concurrent")
"""Packages whose threads are of a pool; they take the context of each piece of work by themselves, or in `submit`."""


def in_a_thread(work: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Awaits the function in a thread of its own, which has the context of who awaits it.

    A run that is cancelled leaves the thread behind. It is a daemon, so that one that waits for ever, because the
    program does, keeps no process from its end.
    """

    async def awaited(**inputs: Any) -> Any:
        loop = asyncio.get_running_loop()
        given: asyncio.Future[Any] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if given.done():
                return
            if error is not None:
                given.set_exception(error)
            else:
                given.set_result(value)

        def run() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = work(**inputs)
            except StopIteration as raised:  # a future cannot hold it
                error = RuntimeError(f"the program raised StopIteration({raised})")
            except BaseException as raised:  # noqa: BLE001 (raised where it is awaited)
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, value, error)

        threading.Thread(target=copy_context().run, args=(run,), name="offramp run", daemon=True).start()
        return await given

    return awaited


def install() -> None:
    """Has threads and pools look for a run first. Once a process."""
    if not hasattr(threading.Thread.start, "offramp_wraps"):
        threading.Thread.start = _starting(threading.Thread.start)  # type: ignore[assignment, method-assign]
        ThreadPoolExecutor.submit = _submitting(ThreadPoolExecutor.submit)  # type: ignore[method-assign]


def _starting(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def started(thread: threading.Thread) -> None:
        if run_here() is not None and type(thread).__module__.partition(".")[0] not in _POOLS:
            thread.run = functools.partial(copy_context().run, thread.run)  # type: ignore[method-assign]
        start(thread)

    started.offramp_wraps = True  # type: ignore[attr-defined]
    return started


def _is_brief(work: Callable[..., Any]) -> bool:
    """Whether it is what DSPy does in a thread around each request, and the request is one of ours.

    It writes the request, and looks up a price, each of which takes less time than handing it over.
    """
    asked = work.args if isinstance(work, functools.partial) else ()
    return len(asked) > 1 and asked[0] in _BRIEF and isinstance(getattr(asked[1], "engine", None), SyncCallerEngine)


def _done(work: Callable[..., Any]) -> Future[Any]:
    """What the work gave or raised, as a pool would give it."""
    future: Future[Any] = Future()
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 (raised where it is awaited)
        future.set_exception(error)
    return future


def _submitting(submit: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    @functools.wraps(submit)
    def submitted(pool: ThreadPoolExecutor, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if run_here() is None:
            return submit(pool, work, *args, **kwargs)
        if _is_brief(work):
            return _done(work)
        context = copy_context()
        with recording(None):  # a thread that the pool begins for it
            return submit(pool, context.run, work, *args, **kwargs)

    return submitted
