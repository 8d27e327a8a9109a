"""In a process that a run began: a model that it asks would not be counted, so that the request is refused.

A forked child has the wrapped methods of its parent; one that is spawned wraps them when it unpickles its process
object, which holds a `Guard`. What is refused is written into a file that the run reads when it ends (`processes.py`).

Invariant: neither dspy nor anything else that is slow to import is loaded here: processes start as fast as ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from offramp.errors import JobError
from offramp.program import clients

_report: str | None = None
"""The file for what is refused here, or no name of one; None in a process that no run began."""


class Guard:
    """Part of a process object: it comes to life in a spawned child, and does nothing here."""

    def __init__(self, report: str) -> None:
        self.report = report

    def __reduce__(self) -> Any:
        return _spawned, (self.report,)


def enter(report: str | None) -> None:
    """Says that this process is a child of a run; None: of none."""
    global _report
    _report = report


def report_here() -> str | None:
    """The file of the run that began this process; None where none did."""
    return _report


def refuse_in_child(what: str) -> None:
    """Raises JobError in a process that a run began, and leaves word of it; does nothing elsewhere."""
    if _report is None:
        return
    text = f"{what} from a process of its own, where no budget would count it. Use threads or asyncio."
    if _report:
        with Path(_report).open("a") as file:
            file.write(f"{text}\n")
    raise JobError(text)


def _spawned(report: str) -> None:
    enter(report)
    clients.install(lambda asked: None if asked.embeds else refuse_in_child(f"the program asks {asked.what}"))
