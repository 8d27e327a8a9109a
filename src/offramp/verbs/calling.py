"""How a function of the package is called: options checked by name, and runs apart from the caller's event loop.

In Jupyter and in an `async def`, the thread has a loop that runs already, in which no other can be started. The work
then runs in a thread of its own, in the caller's context, while the caller waits.

Invariant: whatever the work raises is raised to the caller. Ctrl-C stops a run as on a command line: the first after
the requests in flight, the second at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from offramp.errors import UsageError, nearest, problem
from offramp.job.clock import STOP, Stop

P = ParamSpec("P")
Returned = TypeVar("Returned")

_COMMAND_LINE = {
    "budget_usd": "usd", "budget_calls": "calls", "budget": "usd", "from": "from_study", "space_path": "space_file",
    "n_trials": "trials", "num_trials": "trials", "max_usd": "usd", "max_cost": "usd", "max_calls": "calls",
    "timeout": "minutes", "num_threads": "concurrency", "threads": "concurrency", "progress_bar": "progress",
    "verbose": "progress", "results_dir": "results", "folder": "results", "db": "storage", "random_state": "seed",
}  # fmt: skip
"""Words of the command line and of other libraries that no spelling leads to."""


class OptionError(UsageError, TypeError):
    """A function was called with an option that it does not have."""


def verb(function: Callable[P, Returned]) -> Callable[P, Returned]:
    """A function that names the right option for a misspelt one, and may be called inside of an event loop."""
    names = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def called(*args: P.args, **options: P.kwargs) -> Returned:
        for name in options:
            if name not in names:
                raise OptionError(_no_such(function.__name__, name, names))
        return apart(functools.partial(function, *args, **options))

    return called


def _no_such(function: str, name: str, names: tuple[str, ...]) -> str:
    meant = _COMMAND_LINE.get(name)
    do = f"Did you mean {meant!r}?" if meant in names else nearest(name, names) or f"Its options: {', '.join(names)}."
    return problem(f"offramp.{function}", "no such option", got=name, do=do)


def apart(work: Callable[[], Returned]) -> Returned:
    """What `work` returns, from a thread of its own where this one has a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    stop, context = Stop(), contextvars.copy_context()
    context.run(STOP.set, stop)
    with ThreadPoolExecutor(1, thread_name_prefix="offramp") as executor:
        running = executor.submit(context.run, work)
        while True:
            try:
                return running.result()
            except KeyboardInterrupt:
                if running.done() or not stop.press():
                    raise
