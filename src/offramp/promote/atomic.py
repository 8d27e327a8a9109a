"""Files that are there as a whole or not at all, also after a power cut.

Invariant: at every instant a path holds its old content or its new content; a new content is on the disk before its
name is.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, in place of what is there."""
    scratch = _scratch(path, content)
    try:
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Adds one line in one write."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_file(path: Path) -> None:
    """Removes a file that may be there."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _scratch(path: Path, content: bytes) -> Path:
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with contextlib.suppress(AttributeError):
            os.fchmod(handle, 0o644)
        _write_all(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    return Path(scratch)


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
