"""What a space file reaches beyond its own project, and whether its user knows where it is from.

A space file is code: it may name Python code to run, files to send to a model, and keys to send to an address. Within
its project that is what it is for. A file of somebody else must not read, run or send what is yours without your word:
it reaches beyond its project with an instruction, dataset or media file outside of it, with code from elsewhere, and
with a provider's key for an address that is not that provider's.

The project is the folder of the file, the Git repository (else the nearest `pyproject.toml`) around it, and the working
directory where the file is in it. A home folder, and what is above, is never one as a whole.

Trusted folders are kept for each user, in `trusted.json` of the user's own folder of settings.
Invariant: finding out runs no code and reads no file that the space file names.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path

from offramp import media
from offramp.errors import StorageError, problem
from offramp.files import make_folder, replace_file
from offramp.models.keys import strange_address
from offramp.space.load import LoadedSpace, load_space
from offramp.space.messages import Problem, SpaceErrors
from offramp.space.model import ModelPart
from offramp.space.named_files import named_by
from offramp.task.local_code import import_folders
from offramp.task.task import Task

_log = logging.getLogger("offramp")


def load_for(path: Path, *, trust: bool) -> LoadedSpace:
    """A space file as a command reads it. With `trust` its project is remembered, where the file needs that.

    Raises:
        SpaceError: as `load_space`. StorageError: the trusted folders cannot be written.
    """
    loaded = load_space(path)
    if trust and not is_trusted(loaded) and (any(_reaches(loaded))):
        folder = project(loaded.base)
        _remember(folder)
        _log.warning("note: %s is trusted from now on; %s lists what is", folder, trusted_file())
    return replace(loaded, trusted=trust)


def refuse_untrusted(loaded: LoadedSpace) -> None:
    """Refuses a file that reaches beyond its project. Raises SpaceErrors with everything that it reaches."""
    if not is_trusted(loaded) and (found := tuple(_reaches(loaded))):
        raise SpaceErrors(sorted(found, key=lambda item: item.line or 0))


def refuse_untrusted_media(loaded: LoadedSpace, task: Task) -> None:
    """Refuses rows whose images, audio or files lie outside of the project. Raises SpaceErrors."""
    if is_trusted(loaded) or not task.fields.media:
        return
    splits = task.splits
    for example in (*splits.train, *splits.search, *splits.holdout):
        values = [e for v in example.values.values() for e in (v if isinstance(v, list) else [v])]
        for value in values:
            paths = media.paths_of(value)
            if paths and not any(_inside(path, loaded) for path in paths):  # a copy in the project is its own
                note = f"row {example.row} names {paths[0]}, which is outside of the project {project(loaded.base)}"
                raise SpaceErrors([loaded.problem("dataset.path", note, do=_DO)])


def is_trusted(loaded: LoadedSpace) -> bool:
    """Whether its user has said so, for this file or for a folder that it is in."""
    if loaded.trusted:
        return True
    folder = project(loaded.base)
    return any(folder.is_relative_to(known) for known in trusted_folders())


_DO = "Add --trust if you know where the file is from (`trust=True` in Python): nothing has been read, run or sent."


def _reaches(loaded: LoadedSpace) -> Iterator[Problem]:
    space, root = loaded.space, project(loaded.base)

    for named in named_by(loaded):
        if named.file is not None:
            if not _inside(loaded.base / named.file, loaded):
                yield loaded.problem(named.key, f"{named.file!r} is outside of the project {root}", do=_DO)
        elif (found := _foreign_code(named.module, loaded)) is not None:
            yield loaded.problem(named.key, f"{named.value!r} is {found}, not of the project {root}", do=_DO)
    for index, part in enumerate(space.models):
        if isinstance(part, ModelPart) and (
            sent := strange_address(part.api_key_env, part.route or part.name, part.api_base)
        ):
            yield loaded.problem(f"models.{index}.api_key_env", sent, do=_DO)


def _foreign_code(module: str, loaded: LoadedSpace) -> str | None:
    """Whose code a module is where it is neither of the project nor of a package that is installed; None otherwise."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return "Python's own code"
    folders = [str(folder) for folder in import_folders(loaded.base)]
    spec = PathFinder.find_spec(top, folders) if top else None
    places = [] if spec is None else [*(spec.submodule_search_locations or [spec.origin or ""])]
    return next((f"code in {place}" for place in places if not _inside(Path(place), loaded)), None)


# ------------------------------------------------------------------------------------------------------ the project


def project(base: Path) -> Path:
    """The folder that a space file in `base` may reach."""
    around = [base.resolve(), *base.resolve().parents]
    for mark in (".git", "pyproject.toml"):
        for folder in around:
            if (folder / mark).exists() and not _is_wide(folder):
                return folder
    return around[0]


def _inside(path: Path, loaded: LoadedSpace) -> bool:
    """Whether a file is of the project, links followed."""
    real, roots = path.resolve(), [project(loaded.base)]
    with contextlib.suppress(OSError):  # the working directory was deleted
        here = Path.cwd().resolve()
        roots += [here] if loaded.base.resolve().is_relative_to(here) and not _is_wide(here) else []
    return any(real.parent == root if _is_wide(root) else real.is_relative_to(root) for root in roots)


def _is_wide(folder: Path) -> bool:
    """Whether it is a home folder or above one: too much to be a project."""
    try:
        home = Path.home().resolve()
    except RuntimeError:
        return folder == Path(folder.anchor)
    return home.is_relative_to(folder)


# ------------------------------------------------------------------------------------------------ what is remembered


def trusted_file() -> Path:
    """Where trusted folders are listed."""
    windows = os.environ.get("APPDATA") if os.name == "nt" else None
    given = os.environ.get("XDG_CONFIG_HOME") or windows
    return (Path(given) if given else Path.home() / ".config") / "offramp" / "trusted.json"


def trusted_folders() -> tuple[Path, ...]:
    """The folders that this user trusts; none where the list is missing or not readable, or others can write it."""
    path = trusted_file()
    try:
        if os.name != "nt" and (path.stat().st_mode & 0o022 or path.stat().st_uid != os.getuid()):
            _log.warning("%s is left out: others can write it; run: chmod 600 %s", path, path)
            return ()
        found = json.loads(path.read_text(encoding="utf-8"))
        return tuple(Path(folder) for folder in found["folders"] if Path(folder).is_absolute())
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _remember(folder: Path) -> None:
    path = trusted_file()
    folders = sorted({*map(str, trusted_folders()), str(folder)})
    try:
        make_folder(path.parent)
        replace_file(path, (json.dumps({"folders": folders}, indent=2) + "\n").encode())
    except OSError as error:
        what = f"the trusted folder cannot be remembered: {error.strerror}"
        raise StorageError(
            problem(str(path), what, do="Set XDG_CONFIG_HOME to a folder that can be written.")
        ) from None
