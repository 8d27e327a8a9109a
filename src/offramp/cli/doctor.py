"""`offramp doctor`: is this machine fit to run a job, and if not, what to do about it.

Each check yields records of what it found and, where something is wrong, what to do. A check that breaks is a finding
too, so that one broken part never hides the others. Exit code 0 when nothing failed, else 1; warnings do not fail.

Invariant: looking changes nothing but what opening a storage does and who can read it, uses no network but the
storage's, and shows names of keys but never a value.
"""

from __future__ import annotations

import enum
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click

from offramp.cli.options import AS_JSON, study_options
from offramp.errors import OfframpError
from offramp.files import keep_private, others_can_read

_MIN_MEMORY_BYTES = 2 * 1024**3
_PRICES_OLD_DAYS = 120
_SPARE_BYTES = 200 * 1024**2
_HIDDEN_EXTRAS = {"dev"}
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


class State(enum.StrEnum):
    """A warning does not keep a job from running; a failure does."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        found: what is there.
        do: one imperative sentence; None where nothing has to be done.
    """

    name: str
    state: State
    found: str
    do: str | None = None


@click.command()
@study_options
@AS_JSON
@click.pass_context
def doctor(ctx: click.Context, storage: str | None, results: Path, as_json: bool) -> None:
    """Check this machine: packages, memory, cache, storage, models, keys, prices.

    A storage of an earlier offramp is brought up to date, and what other users could read of it is made private.
    """
    checks = run_checks(storage, results)
    failed = any(check.state is State.FAIL for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        print_checks(checks)
    ctx.exit(1 if failed else 0)


def print_checks(checks: Sequence[Check]) -> None:
    """A table of what was found, then a line for each thing to do."""
    from rich.table import Table
    from rich.text import Text

    from offramp.cli.console import PlainConsole

    console = PlainConsole()
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "state", "found"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        table.add_row(Text(check.name), Text(check.state, style=_STYLES[check.state]), Text(check.found))
    console.print(table)
    for check in checks:
        if check.do and check.state != "ok":
            console.print(Text(f"{check.state} {check.name}: {check.do}", style=_STYLES[check.state]))


def run_checks(storage: str | None, results: Path = Path("results")) -> tuple[Check, ...]:
    """All findings, in the order in which to fix them.

    Args:
        storage: URL of the storage to open; that of the folder `results` for None.
    """
    parts: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("machine", _machine),
        ("cache", _cache),
        ("models", _models),
        ("storage", lambda: _storage(storage, results)),
        ("keys", _keys),
        ("prices", _prices),
    )
    return tuple(check for name, part in parts for check in _recorded(name, part))


def _recorded(name: str, part: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The findings of one part; its own failure becomes a finding."""
    try:
        yield from part()
    except OfframpError as error:
        yield Check(name=name, state=State.FAIL, found=str(error))
    except Exception as error:  # noqa: BLE001 - recorded as a finding; without its text, which may quote a secret
        found = f"the check itself failed with {type(error).__name__}"
        yield Check(name=name, state=State.FAIL, found=found, do="Report this as a bug.")


def _python() -> Iterator[Check]:
    found = f"{platform.python_implementation()} {platform.python_version()} on {sys.platform} {platform.machine()}"
    new = sys.version_info >= (3, 11)
    do = None if new else "Install Python 3.11 or newer."
    yield Check(name="python", state=State.OK if new else State.FAIL, found=found, do=do)


def _packages() -> Iterator[Check]:
    """Every requirement of the installed distribution, compared with what is installed; nothing is imported."""
    from packaging.requirements import Requirement

    for text in metadata.requires("offramp") or ():
        requirement = Requirement(text)
        _, _, named = str(requirement.marker or "").partition("extra == ")  # such as `extra == "local"`
        extra = named.split(named[0])[1] if named else ""
        if extra in _HIDDEN_EXTRAS or not (requirement.marker is None or requirement.marker.evaluate({"extra": extra})):
            continue
        yield _package(requirement.name, str(requirement.specifier), extra)


def _package(name: str, specifier: str, extra: str) -> Check:
    from packaging.specifiers import SpecifierSet

    wanted = f"{name}{specifier}"
    install = f"Install it: pip install '{f'offramp[{extra}]' if extra else wanted}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if not extra:
            return Check(name=name, state=State.FAIL, found="not installed", do=install)
        state = State.WARN if extra == "local" else State.OK
        return Check(name=name, state=state, found=f"not installed (optional: {extra})", do=install)
    if not SpecifierSet(specifier).contains(version, prereleases=True):
        state = State.WARN if extra else State.FAIL
        return Check(name=name, state=state, found=f"{version}, expected {wanted}", do=install)
    return Check(name=name, state=State.OK, found=version)


def _machine() -> Iterator[Check]:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    yield Check(name="cores", state=State.OK, found=str(cores))
    free = available_memory_bytes()
    if free is None:
        yield Check(name="memory", state=State.OK, found="unknown on this system")
        return
    low = free < _MIN_MEMORY_BYTES
    yield Check(
        name="memory",
        state=State.WARN if low else State.OK,
        found=f"{_gib(free)} available",
        do="Close other programs, or search one embedded model at a time." if low else None,
    )


def available_memory_bytes() -> int | None:
    """Memory that a job can still take, container limit included; None where the system does not say."""
    known = [value for value in (_meminfo_bytes(), _cgroup_bytes()) if value is not None]
    return min(known) if known else None


def _meminfo_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(values[0]) * 1024 if values else None


def _cgroup_bytes() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        return None if limit == "max" else max(0, int(limit) - int((folder / "memory.current").read_text()))
    except (OSError, ValueError):
        return None


def _cache() -> Iterator[Check]:
    from offramp.models.embedded import cache_dir, is_pulled
    from offramp.models.gguf_files import EMBEDDED

    folder = cache_dir()
    place = _nearest_folder(folder)
    if not _writable(place):
        advice = "Set OFFRAMP_CACHE to a folder that can be written."
        yield Check(name="cache", state=State.FAIL, found=f"{folder} cannot be written", do=advice)
        return
    free = shutil.disk_usage(place).free
    need = sum(2 * model.bytes for model in EMBEDDED if not is_pulled(model.name)) + _SPARE_BYTES
    tight = free < need
    do = f"Free {_gib(need - free)}, or set OFFRAMP_CACHE to a folder on another disk." if tight else None
    yield Check(name="cache", state=State.WARN if tight else State.OK, found=f"{folder}, {_gib(free)} free", do=do)


def _nearest_folder(path: Path) -> Path:
    """The path itself or the nearest parent that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _writable(folder: Path) -> bool:
    """Whether a file can be created there. Tried, since permissions alone do not say so on read-only or full disks."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"offramp")
    except OSError:
        return False
    return True


def _models() -> Iterator[Check]:
    from offramp.models.embedded import is_pulled, path
    from offramp.models.gguf_files import EMBEDDED

    for model in EMBEDDED:
        pull = f"Run: offramp models pull {model.name}"
        if not is_pulled(model.name):
            yield Check(name=model.name, state=State.WARN, found="not pulled", do=pull)
            continue
        try:
            path(model.name)
        except OfframpError as error:
            yield Check(name=model.name, state=State.FAIL, found=str(error), do=pull)
        else:
            yield Check(name=model.name, state=State.OK, found=f"pulled and verified, {_gib(model.bytes)}")


def _storage(given: str | None, results: Path) -> Iterator[Check]:
    from offramp.store.engine import open_store
    from offramp.study.lookup import default_storage

    url = given or default_storage(results)
    scheme, separator, rest = url.partition(":///")
    name = rest.partition("?")[0]
    is_file = bool(separator) and scheme in ("sqlite", "sqlite+pysqlite") and name not in ("", ":memory:")
    if is_file and not Path(name).exists():  # a job would create it: looking must not leave an empty database behind
        file = Path(name)
        place = _nearest_folder(file.parent)
        good = place.is_dir() and _writable(place)
        found = f"{file} does not exist yet and {'can' if good else 'cannot'} be created"
        do = None if good else "Name another place with --storage."
        yield Check(name="storage", state=State.OK if good else State.FAIL, found=found, do=do)
        return
    if is_file:
        yield from _privacy(Path(name), results)
    with open_store(url) as store:
        yield Check(name="storage", state=State.OK, found=f"{store.url} opens and can be written")


def _privacy(database: Path, results: Path) -> Iterator[Check]:
    """Takes the storage and the reports beside it from other users of this machine: they quote the data."""
    beside = [database.with_name(database.name + end) for end in ("-wal", "-shm")]
    reports = [path for end in ("json", "html") for path in sorted(results.glob(f"*-*.{end}"))]
    open_to_all = [path for path in (database, *beside, *reports) if others_can_read(path) and not path.is_symlink()]
    for path in open_to_all:
        try:
            keep_private(path)
        except OSError as error:
            do = f"Run: chmod go= {path}"
            found = f"other users can read {path} ({error.strerror})"
            yield Check(name="privacy", state=State.WARN, found=found, do=do)
        else:
            yield Check(name="privacy", state=State.OK, found=f"other users could read {path}; now only you can")


def _keys() -> Iterator[Check]:
    """Names of the keys that are set. An empty value is not a key."""
    from offramp.models.keys import PROVIDER_KEYS

    usual = {name for names in PROVIDER_KEYS.values() for name in names}
    names = sorted(n for n, value in os.environ.items() if (n in usual or n.endswith("_API_KEY")) and value.strip())
    found = ", ".join(names) or "none is set; embedded models need none"
    yield Check(name="keys", state=State.OK, found=found)
    for name in names:
        if os.environ[name] != os.environ[name].strip():
            do = "Set it again without the spaces: providers refuse such a key."
            yield Check(name=name, state=State.WARN, found="begins or ends with a space or line break", do=do)


def _prices() -> Iterator[Check]:
    """The table ships with litellm. Its file is as old as the installation, so the table is at least that old."""
    from offramp.models.table import load_table, table_path

    table = load_table()
    days = max(0, int((time.time() - table_path().stat().st_mtime) // 86400))
    old = days > _PRICES_OLD_DAYS
    found = f"{table.version}, {len(table.chat_rows())} chat models, at least {days} days old"
    do = "Upgrade it: pip install --upgrade litellm" if old else None
    yield Check(name="prices", state=State.WARN if old else State.OK, found=found, do=do)


def _gib(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB"
