"""Models named in an app's own source and configuration, each with its date; needs no promotion.

Only names and places are reported, never a line: a line of a configuration file may contain a secret. A line that says
`offramp: ignore` is skipped.

Invariant: no symbolic link is followed, nothing outside the named folder is read, and a file that cannot be read is
counted, not silently skipped.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from offramp.errors import UsageError, problem
from offramp.lifecycle.known_names import KnownNames
from offramp.lifecycle.successors import TYPICAL_1K, Needs, Successor, successors
from offramp.lifecycle.watch_report import retirement_json
from offramp.models.gguf_files import BY_NAME
from offramp.models.retirement.dates import (
    WITHIN_DAYS,
    Calendar,
    Retirement,
    Standing,
    load_calendar,
    standing_of,
    utc_today,
)
from offramp.models.spellings import readings

IGNORE = "offramp: ignore"
MOST_BYTES = 1_000_000
_LINE_END = re.compile(r"\r\n|\r|\n")  # as editors count; `str.splitlines` cuts at form feeds and others, too

_SKIPPED_FOLDERS = frozenset(
    {
        "node_modules", "bower_components", "site-packages", "__pycache__", "venv", "env", "dist", "build", "target",
        "vendor", "third_party", "coverage", "htmlcov", ".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".idea",
        ".next", ".cache", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".terraform",
        ".eggs", ".gradle",
    }
)  # fmt: skip
_SOURCE = frozenset(
    {
        ".py", ".pyi", ".ipynb", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".vue", ".svelte", ".go", ".rs",
        ".rb", ".php", ".java", ".kt", ".kts", ".scala", ".groovy", ".cs", ".fs", ".vb", ".swift", ".m", ".c", ".cc",
        ".cpp", ".h", ".hpp", ".ex", ".exs", ".erl", ".clj", ".lua", ".r", ".jl", ".dart", ".sh", ".bash", ".zsh",
        ".ps1", ".sql", ".yaml", ".yml", ".toml", ".json", ".json5", ".jsonc", ".ini", ".cfg", ".conf", ".properties",
        ".env", ".tf", ".tfvars", ".hcl", ".xml", ".gradle", ".jinja", ".j2", ".tpl", ".prompt", ".baml", ".bicep",
    }
)  # fmt: skip
_NAMES = frozenset({"Dockerfile", "Makefile", "Procfile", "Justfile", "Jenkinsfile", ".env", ".envrc"})
_LOCKS = frozenset({"package-lock.json", "composer.lock", "pnpm-lock.yaml", "npm-shrinkwrap.json"})


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
        standing: `vanished` for a name that the table no longer has.
        retirement, days_left: None where nobody says when.
        places: all of them, in the order of files and lines.
        alias_of: the model that the name stands for today; None for a model's own name.
        in_table: whether anything is known of it. What no table is known to have had is new or misspelt.
    """

    name: str
    standing: Standing
    retirement: Retirement | None
    days_left: int | None
    places: tuple[Place, ...]
    successors: tuple[Successor, ...]
    alias_of: str | None = None
    in_table: bool = True

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "model": self.name,
            "alias_of": self.alias_of,
            "standing": self.standing.value,
            "in_table": self.in_table,
            "days_left": self.days_left,
            **retirement_json(self.retirement),
            "places": [asdict(place) for place in self.places],
            "successors": [asdict(item) for item in self.successors],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """What a scan found.

    Attributes:
        files: number of files read; `unread` names those that were too large, not text, or could not be opened.
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
        """Those that need action."""
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


def scan(
    path: str | Path, *, within_days: int = WITHIN_DAYS, lifecycle: str | Path | None = None,
    feeds: Sequence[str | Path] = (), today: datetime.date | None = None,
) -> ScanReport:  # fmt: skip
    """The models that source and configuration below a folder name, each with its date.

    Args:
        within_days, lifecycle, feeds, today: as for `watch`.

    Raises:
        UsageError: there is no such file or folder, or a file of notices cannot be read.
    """
    calendar = load_calendar(None if lifecycle is None else Path(lifecycle), feeds=list(map(Path, feeds)))
    return scan_files(Path(path), calendar, today=today or utc_today(), within_days=within_days)


def scan_files(root: Path, calendar: Calendar, *, today: datetime.date, within_days: int = WITHIN_DAYS) -> ScanReport:
    """The same with these dates."""
    if not root.exists():
        raise UsageError(problem(str(root), "there is no such file or folder", do="Check the path given with --scan."))
    places: dict[tuple[str, bool, str], list[Place]] = {}
    unread: list[str] = []
    count = 0
    names = KnownNames(calendar.table)
    for file in app_files(root):
        if file.text is None:
            unread.append(file.path)
            continue
        count += 1
        for number, line in enumerate(_LINE_END.split(file.text), start=1):
            for mention in names.mentions(line) if IGNORE not in line else ():
                place = Place(file=file.path, line=number, column=mention.column)
                places.setdefault((mention.name, mention.known, mention.meant), []).append(place)
    models = [_named(*named, tuple(at), calendar, today, within_days) for named, at in places.items()]
    return ScanReport(
        path=str(root),
        today=today,
        within_days=within_days,
        table=calendar.table.version,
        files=count,
        unread=tuple(unread),
        models=tuple(sorted(models, key=_urgency)),
    )


def _named(
    name: str, known: bool, meant: str, places: tuple[Place, ...], calendar: Calendar, today: datetime.date,
    within_days: int,
) -> Named:  # fmt: skip
    retirement = calendar.retirement(name, meant)
    without = Standing.OWN if name in BY_NAME else calendar.undated(meant)
    standing = standing_of(retirement, today, within_days, without=without)
    return Named(
        name=name,
        standing=standing,
        retirement=retirement,
        days_left=None if retirement is None else retirement.days_left(today),
        places=places,
        successors=_successors(meant, retirement, calendar, today) if standing.alarming else (),
        alias_of=calendar.table.aliases[meant].route if meant in calendar.table.aliases else None,
        in_table=known,
    )


def _successors(
    name: str, retirement: Retirement | None, calendar: Calendar, today: datetime.date
) -> tuple[Successor, ...]:
    """For chat models only: replacing others (embeddings, images) does not concern prompts."""
    row = calendar.table.find(name)
    if row is not None and not row.chat:
        return ()
    routes = (spelled for spelled in readings(name, calendar.table) if "/" in spelled)
    route = row.route if row is not None else next(routes, f"openai/{name}")
    cost = row.price.cost_usd(TYPICAL_1K) if row is not None and row.price is not None else None
    return successors(Needs(route=route, cost_usd_1k=cost), retirement, calendar, today)


def _urgency(model: Named) -> tuple[bool, float, str]:
    gone = model.standing is Standing.VANISHED
    days = float("-inf") if gone else float("inf") if model.days_left is None else model.days_left
    return (not model.standing.alarming, days, model.name)


# ------------------------------------------------------------------------------------------------- the files of an app


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFile:
    """One file, read.

    Attributes:
        path: relative to the folder that was named, with forward slashes.
        text: None where it could not be read or is not text.
    """

    path: str
    text: str | None


def app_files(root: Path) -> Iterator[AppFile]:
    """The source and configuration files below a folder (or the one file that is named), in a stable order."""
    if root.is_file():
        yield _read(root, root.name)
        return
    for folder, names, files in os.walk(root, followlinks=False):
        names[:] = sorted(name for name in names if name not in _SKIPPED_FOLDERS)
        for name in sorted(files):
            path = Path(folder) / name
            if _is_wanted(name) and not path.is_symlink() and path.is_file():
                yield _read(path, path.relative_to(root).as_posix())


def _is_wanted(name: str) -> bool:
    if name in _LOCKS or name.endswith((".min.js", ".map")):
        return False
    return name in _NAMES or name.startswith((".env.", "Dockerfile.")) or Path(name).suffix.lower() in _SOURCE


def _read(path: Path, shown: str) -> AppFile:
    try:
        if path.stat().st_size > MOST_BYTES:
            return AppFile(path=shown, text=None)
        content = path.read_bytes()
    except OSError:
        return AppFile(path=shown, text=None)
    if b"\0" in content[:8192]:
        return AppFile(path=shown, text=None)
    return AppFile(path=shown, text=content.decode("utf-8", "replace"))
