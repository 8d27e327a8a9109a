"""Whether a file that a space file names can be read, and in words why not.

Invariant: looking opens nothing but the file itself, and neither a pipe nor a device.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TypedDict


class Why(TypedDict):
    """What a message about the key says (`LoadedSpace.problem`)."""

    note: str
    got: str
    expected: str
    do: str | None


def why_unreadable(base: Path, file: str) -> Why | None:
    """Why it cannot be read; None where it can.

    Args:
        base: folder of the space file, where relative paths start.
        file: as the space file names it.
    """
    path = base / file
    try:
        if path.is_file():
            with path.open("rb"):
                return None
        if path.is_dir():
            return Why(note="is a folder", got=file, expected="one file", do=None)
        if path.exists():
            return Why(note="is a pipe or a device", got=file, expected="a file", do=None)
        note, expected = "there is no such file", f"a file in {path.parent.resolve()}"
        if not path.parent.is_dir():
            note, expected = "its folder does not exist", f"a path from {base.resolve()}"
        return Why(note=note, got=file, expected=expected, do=_meant(base, file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid path"
        return Why(note=f"cannot be read ({reason})", got=file, expected="a file that can be read", do=None)


def _meant(base: Path, file: str) -> str:
    """Which path may be meant: the one seen from the working directory, or one with nearly the same name."""
    if Path(file).is_file():
        return f"It starts at the folder of the space file: write {os.path.relpath(file, base)!r}."
    near = (base / file).parent, base, base / "datasets", base.parent / "datasets"
    for folder in (folder for folder in near if folder.is_dir()):
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
        for name in difflib.get_close_matches(Path(file).name, names, n=1):
            return f"Did you mean {os.path.relpath(folder / name, base)!r}?"
    return "Check the path: it starts at the folder of the space file."
