"""What a function shows while it runs: a bar in a notebook, the command's display on a terminal, elsewhere nothing."""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from offramp.search.progress import Progress

EVERY_S = 0.25
"""Seconds between two pictures of a bar in a notebook."""


class Display(Protocol):
    """Shows how far a run is."""

    def show(self, progress: Progress) -> None:
        """A snapshot of a search."""

    def runs(self, phase: str, done: int, of: int) -> None:
        """`done` of `of` runs of a phase."""


@contextmanager
def displayed(progress: bool | None) -> Iterator[Display]:
    """What shows progress while the block runs.

    Args:
        progress: None shows it in a notebook and on a terminal; False never; True also elsewhere, as lines on stderr.
    """
    notebook = _notebook()
    if progress is False or (progress is None and notebook is None and not sys.stderr.isatty()):
        yield Nothing()
    elif notebook is not None:
        bar = _NotebookBar(notebook)
        try:
            yield bar
        finally:
            bar.end()
    else:
        from offramp.cli.live import LiveView, RunsDone

        with LiveView(sys.stderr) as view, RunsDone(sys.stderr) as counted:
            yield _Terminal(view.show, counted.show)


def _notebook() -> Any:
    """IPython's display functions where a notebook shows what they are given; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return importlib.import_module("IPython.display")


class Nothing:
    """Shows nothing."""

    def show(self, progress: Progress) -> None:
        """Nothing."""

    def runs(self, phase: str, done: int, of: int) -> None:
        """Nothing."""


class _Terminal:
    def __init__(self, show: Any, runs: Any) -> None:
        self.show, self.runs = show, runs


class _NotebookBar:
    """One output of a cell, drawn again as the run goes on, and removed at its end: the result says it all."""

    def __init__(self, display: Any) -> None:
        self._display, self._last = display, 0.0
        self._handle: Any = None

    def show(self, progress: Progress) -> None:
        from offramp.cli.live import status_line

        self._draw(status_line(progress), progress.pace.share or 0.0, 1)

    def runs(self, phase: str, done: int, of: int) -> None:
        self._draw(f"{phase}: {done}/{of} runs", done, of)

    def _draw(self, text: str, done: float, of: int) -> None:
        if self._handle is not None and time.monotonic() - self._last < EVERY_S:
            return
        self._last = time.monotonic()
        bar = f'<progress value="{done:g}" max="{max(1, of)}" style="width:22em;vertical-align:middle"></progress>'
        data = {"text/html": f"{bar} <code>{html.escape(text)}</code>", "text/plain": text}
        if self._handle is None:
            self._handle = self._display.display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def end(self) -> None:
        """Removes the bar."""
        if self._handle is not None:
            self._handle.update({"text/html": "", "text/plain": ""}, raw=True)
