"""Processes that a program begins: a model that one of them asks would not be counted, so that it is refused there.

A child of `multiprocessing` has the same guard as its parent, forked or spawned, and writes what it
refused into a file that the run reads when it ends. Of other processes only the command can be seen: one that names the
address of a model is refused, and an interpreter is named once, since nobody sees what it does.

Invariant: processes that ask no model run as always.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing.process
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from offramp.errors import JobError
from offramp.program.children import Guard, enter, report_here
from offramp.program.clients import requests_in
from offramp.program.engine import being_made, run_here
from offramp.program.run_log import RunLog

_INTERPRETERS = ("python", "pypy", "uv", "node", "deno", "bun", "ruby")
_log = logging.getLogger("offramp")


def note_refused(log: RunLog) -> None:
    """Notes on a run what its processes were refused."""
    if log.report is None:
        return
    file = Path(log.report)
    with suppress(OSError):
        for text in file.read_text().splitlines()[:1]:
            log.note_infrastructure_error(JobError(text))
        file.unlink()


def install(refuse: Callable[[str], BaseException], place: Callable[[], str]) -> None:
    """Has processes look for a run first. Once a process.

    Args:
        refuse: makes the exception that ends the run.
        place: in the user's own code, for warnings.
    """
    process_kind: Any = multiprocessing.process.BaseProcess
    start = process_kind.start
    if hasattr(start, "offramp_wraps"):
        return

    @functools.wraps(start)
    def started(process: multiprocessing.process.BaseProcess) -> None:
        if (report := _report_here()) is not None:
            process._offramp = Guard(report)  # type: ignore[attr-defined]
        start(process)

    started.offramp_wraps = True  # type: ignore[attr-defined]
    process_kind.start = started
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_report_here, after_in_child=_forked)
    subprocess.Popen.__init__ = _seen(subprocess.Popen.__init__, refuse, place)  # type: ignore[method-assign]
    os.system = _seen(os.system, refuse, place, 0)


def _report_here() -> str | None:
    """The file for what a process that begins here is refused; None where nothing is."""
    log = run_here()
    if log is None or not log.strict:
        return "" if being_made() else report_here()
    if log.report is None:
        handle, log.report = tempfile.mkstemp(prefix="offramp-")
        os.close(handle)
    return log.report


def _forked() -> None:
    enter(_report_here())


def _seen(
    begin: Callable[..., Any], refuse: Callable[[str], BaseException], place: Callable[[], str], at: int = 1
) -> Callable[..., Any]:
    """What begins a process, looking at its command first.

    Args:
        at: place of the command among the arguments.
    """

    @functools.wraps(begin)
    def begun(*args: Any, **kwargs: Any) -> Any:
        log = run_here()
        if log is not None and log.strict:
            command = _command(args[at] if len(args) > at else kwargs.get("args", kwargs.get("command", "")))
            if (asked := requests_in(command)) is not None:
                raise refuse(f"the program starts a process that asks {asked.what}, where no budget would count it")
            name = Path(next(iter(command.split()), "")).name
            if name.startswith(_INTERPRETERS):
                _tell_unseen(place() or "the program", name)
        return begin(*args, **kwargs)

    return begun


def _command(given: Any) -> str:
    if isinstance(given, str | bytes | os.PathLike):
        return os.fsdecode(given)
    return shlex.join(os.fsdecode(part) for part in given)


@functools.cache
def _tell_unseen(place: str, name: str) -> None:
    _log.warning("warning: %s starts %s: a model that this process asks is not counted by any budget", place, name)
