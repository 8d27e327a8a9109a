"""Models named in an app's own source and configuration, each with its date: works without any promotion.

Only names and places are reported, never a line: a line of a configuration file may hold a secret.
A line that says `offramp: ignore` is passed over.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from offramp.errors import UsageError, problem
from offramp.lifecycle.files import app_files
from offramp.lifecycle.known_names import KnownNames
from offramp.lifecycle.successors import TYPICAL_1K, Needs, Successor, successors
from offramp.lifecycle.watch import retirement_json
from offramp.models.gguf_files import BY_NAME
from offramp.models.retirement.dates import WITHIN_DAYS, Calendar, Retirement, Standing, standing_of

IGNORE = "offramp: ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a name stands. `file` is relative to what was scanned; line and column are 1-based."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One model that files name.

    Attributes:
        name: as written.
        standing: `vanished` for an old name that the table does not have any more: gone, or misspelt.
        retirement, days_left: None where nobody says when.
        places: all of them, in the order of files and lines.
        alias_of: the model that the name stands for today; None for a model's own name.
    """

    name: str
    standing: Standing
    retirement: Retirement | None
    days_left: int | None
    places: tuple[Place, ...]
    successors: tuple[Successor, ...]
    alias_of: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "model": self.name,
            "alias_of": self.alias_of,
            "standing": self.standing.value,
            "days_left": self.days_left,
            **retirement_json(self.retirement),
            "places": [asdict(place) for place in self.places],
            "successors": [asdict(item) for item in self.successors],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """What a scan found.

    Attributes:
        files: number of files read; `unread` names those that were too large, no text, or not to be opened.
        models: the most urgent first.
    """

    path: str
    today: datetime.date
    within_days: int
    table: str
    files: int
    unread: tuple[str, ...]
    models: tuple[Named, ...]

    @property
    def alarming(self) -> tuple[Named, ...]:
        """Those for which something has to be done."""
        return tuple(model for model in self.models if model.standing.alarming)

    def to_json(self) -> dict[str, Any]:
        """JSON values, for jobs that read them."""
        return {
            "path": self.path,
            "today": self.today.isoformat(),
            "within_days": self.within_days,
            "table": self.table,
            "files": self.files,
            "unread": list(self.unread),
            "alarming": len(self.alarming),
            "models": [model.to_json() for model in self.models],
        }


def scan(root: Path, calendar: Calendar, *, today: datetime.date, within_days: int = WITHIN_DAYS) -> ScanReport:
    """The models that the files below a folder name.

    Raises:
        UsageError: there is no such file or folder.
    """
    if not root.exists():
        raise UsageError(problem(str(root), "there is no such file or folder", do="Check the path given with --scan."))
    places: dict[tuple[str, bool], list[Place]] = {}
    unread: list[str] = []
    count = 0
    names = KnownNames(calendar.table)
    for file in app_files(root):
        if file.text is None:
            unread.append(file.path)
            continue
        count += 1
        for name, known, place in _mentions(file.path, file.text, names):
            places.setdefault((name, known), []).append(place)
    return ScanReport(
        path=str(root),
        today=today,
        within_days=within_days,
        table=calendar.table.version,
        files=count,
        unread=tuple(unread),
        models=_judged(places.items(), calendar, today, within_days),
    )


def _mentions(path: str, text: str, names: KnownNames) -> Iterator[tuple[str, bool, Place]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if IGNORE in line:
            continue
        for mention in names.mentions(line):
            yield mention.name, mention.known, Place(file=path, line=number, column=mention.column)


def _judged(
    found: Iterable[tuple[tuple[str, bool], list[Place]]], calendar: Calendar, today: datetime.date, within_days: int
) -> tuple[Named, ...]:
    models = [_named(name, known, tuple(at), calendar, today, within_days) for (name, known), at in found]
    return tuple(sorted(models, key=_urgency))


def _named(
    name: str, known: bool, places: tuple[Place, ...], calendar: Calendar, today: datetime.date, within_days: int
) -> Named:
    retirement = calendar.retirement(name)
    without = Standing.OWN if name in BY_NAME else Standing.UNKNOWN if known else Standing.VANISHED
    standing = standing_of(retirement, today, within_days, without=without)
    return Named(
        name=name,
        standing=standing,
        retirement=retirement,
        days_left=None if retirement is None else retirement.days_left(today),
        places=places,
        successors=_successors(name, retirement, calendar, today) if standing.alarming else (),
        alias_of=calendar.table.aliases[name].route if name in calendar.table.aliases else None,
    )


def _successors(
    name: str, retirement: Retirement | None, calendar: Calendar, today: datetime.date
) -> tuple[Successor, ...]:
    """For chat models only: replacing others (embeddings, images) does not concern prompts."""
    row = calendar.table.find(name)
    if row is not None and not row.chat:
        return ()
    route = row.route if row is not None else name if "/" in name else f"openai/{name}"
    cost = row.price.cost_usd(TYPICAL_1K) if row is not None and row.price is not None else None
    return successors(Needs(route=route, cost_usd_1k=cost), retirement, calendar, today)


def _urgency(model: Named) -> tuple[bool, float, str]:
    gone = model.standing is Standing.VANISHED
    days = float("-inf") if gone else float("inf") if model.days_left is None else model.days_left
    return (not model.standing.alarming, days, model.name)
