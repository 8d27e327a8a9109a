"""The functions on space files: write a first one, check it, show what it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.verbs.calling import verb

if TYPE_CHECKING:
    from offramp.job.shown_requests import ShownRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSpace:
    """A space file that can be run.

    Attributes:
        summary: what it comes to, by name: what is searched, how many candidates, data, models.
        warnings: what is doubtful, with file and line.
    """

    summary: Mapping[str, str]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(f"{name}: {line}" for name, text in self.summary.items() for line in text.splitlines())


@verb
def check_space(space_file: str | Path, *, trust: bool = False) -> CheckedSpace:
    """Checks a space file with its data and models, as `offramp space check` does. Writes and spends nothing.

    Args:
        trust: whether the file may reach beyond its project, from now on.

    Raises:
        SpaceError: with everything that is wrong, one line each. UsageError: data or models that cannot be used.
    """
    from offramp.cli.space import summary_of

    summary, warnings = summary_of(Path(space_file), trust)
    return CheckedSpace(summary=summary, warnings=tuple(warnings))


@verb
def show_requests(space_file: str | Path, *, row: int | None = None) -> tuple[ShownRequest, ...]:
    """The exact request for one row: as the incumbent sends it, and in each message format. Calls no model.

    Args:
        row: of the dataset; the first of the search split for None.

    Raises:
        UsageError: the file cannot be run, or the row is not in use.
    """
    from offramp.job.resolve import resolve_job
    from offramp.job.shown_requests import example_at, shown_requests
    from offramp.space.load import load_space

    job = resolve_job(load_space(Path(space_file)))
    return tuple(shown_requests(job, example_at(job, row)[1]))
