"""The live display of a running job: how far it is, what it found, what it has spent.

On a terminal it redraws in place; elsewhere it prints a line now and then, so that a log stays readable.
"""

from __future__ import annotations

import time
from typing import IO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from offramp.cli.console import PlainConsole
from offramp.cli.study_tables import front_table
from offramp.search.progress import Progress
from offramp.study.domain.pace import clock_time
from offramp.study.wording import money, short_params

LINE_EVERY_S = 15.0


class LiveView:
    """A context in which `show` may be called as often as one likes."""

    def __init__(self, stream: IO[str]) -> None:
        self._console = PlainConsole(file=stream)
        terminal = self._console.is_terminal
        self._live = Live(console=self._console, refresh_per_second=4, transient=True) if terminal else None
        self._last_line = 0.0
        self._last_trials = -1

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Shows a snapshot."""
        if self._live is not None:
            self._live.update(render(progress))
        elif progress.trials != self._last_trials or time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line, self._last_trials = time.monotonic(), progress.trials
            self._console.print(status_line(progress), soft_wrap=True)


class RunsDone:
    """How many runs of a phase are done: in place on a terminal, elsewhere a line at the start and now and then.

    Args:
        stream: None shows nothing.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self._terminal = stream is not None and stream.isatty()
        self._last: tuple[str, float] = ("", 0.0)
        self._began = time.monotonic()

    def __enter__(self) -> RunsDone:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._stream is not None and self._last[0]:
            print(file=self._stream, flush=True)

    def show(self, phase: str, done: int, of: int) -> None:
        """Shows that `done` of `of` runs are done."""
        if self._stream is None:
            return
        line = f"{phase}: {done}/{of} runs, elapsed {clock_time(time.monotonic() - self._began)}"
        if self._terminal:
            print(f"\r{line} ", end="", file=self._stream, flush=True)
            self._last = (phase, time.monotonic())
        elif phase != self._last[0] or time.monotonic() - self._last[1] > LINE_EVERY_S:
            self._last = (phase, time.monotonic())
            print(line, file=self._stream, flush=True)


def render(progress: Progress) -> Group:
    """The whole display."""
    parts: list[RenderableType] = [Text(status_line(progress), style="bold")]
    if progress.candidate is not None:
        what = "holdout" if progress.phase == "holdout" else f"candidate {progress.trials + 1}"
        line = f"{what}: {short_params(progress.candidate)}"
        parts.append(Text(line, style="dim", overflow="ellipsis", no_wrap=True))
        parts.append(ProgressBar(total=max(1, progress.of), completed=min(progress.done, progress.of), width=60))
    if progress.front:
        parts.append(front_table(progress.front, title="front so far (search split)"))
    return Group(*parts)


def status_line(progress: Progress) -> str:
    """One line: trials, calls, cached answers, failures, money and their caps, time."""
    wanted = "" if progress.trials_wanted is None else f"/{progress.trials_wanted}"
    parts = [f"trials {progress.trials}{wanted}", f"front {len(progress.front)}"]
    if progress.stats is not None:
        stats = progress.stats
        calls = f"{stats.calls}" if progress.calls is None else f"{progress.study_calls} of {progress.calls}"
        cap = "" if progress.usd is None else f" of {money(progress.usd)}"
        parts += [f"calls {calls}", f"cached {stats.cached_calls}", f"failed {stats.failed_calls}"]
        parts += [f"spent {money(stats.spent_usd)}{cap}", f"reserved {money(stats.reserved_usd)}"]
    parts.append(f"elapsed {clock_time(progress.elapsed_s)}")
    if rest := progress.pace.remaining:
        parts.append(rest)
    return " · ".join(parts)
