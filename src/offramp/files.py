"""Files that are there as a whole or not at all, also after a power cut, and that only their owner reads.

What offramp stores quotes the data: files are made with mode 600 and folders with 700, whatever the umask says. What
was there before keeps its mode, since somebody may have shared it on purpose.

Invariant: at every instant a path holds its old content or its new content; a new content is on the disk before its
name is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from offramp.errors import StorageError, problem

_FILE, _FOLDER = 0o600, 0o700
_READERS = ((stat.S_IRGRP, stat.S_IXGRP), (stat.S_IROTH, stat.S_IXOTH))
"""Of the group and of all others: the right to read a file, and to pass through a folder."""


def make_folder(path: Path) -> None:
    """Makes a folder and the parents that are missing, each for its owner alone; leaves those that are there."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=_FOLDER)
        path.chmod(_FOLDER)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def make_empty(path: Path) -> None:
    """Makes an empty file for its owner alone, unless there is one."""
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE)
        try:
            _set_mode(handle, _FILE)
        finally:
            os.close(handle)


def others_can_read(path: Path) -> bool:
    """Whether other users of this machine can read a file: by its own mode, and by those of the folders above it."""
    if os.name == "nt" or not path.is_file():
        return False
    mode = path.stat().st_mode
    folders = [folder.stat().st_mode for folder in path.resolve().parents]
    return any(mode & reads and all(folder & passes for folder in folders) for reads, passes in _READERS)


def keep_private(path: Path) -> None:
    """Takes a file from everybody but its owner."""
    path.chmod(path.stat().st_mode & 0o700)


def replace_file(path: Path, content: bytes, *, like_folder: bool = False) -> None:
    """Writes `content` to `path`, in place of what is there.

    Args:
        like_folder: whoever may read the folder may read a new file in it.
    """
    scratch = _scratch(path, content, _mode_for(path, like_folder))
    try:
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_file(path: Path, content: str, *, do: str | None = None) -> None:
    """Writes a file that a person named, below folders that may be missing. Raises StorageError, which says `do`."""
    try:
        make_folder(path.parent)
        replace_file(path, content.encode())
    except OSError as error:
        raise StorageError(problem(str(path), f"cannot be written: {error.strerror}", do=do)) from error


def remedy(error: OSError, *, elsewhere: str) -> str:
    """What to do where a file cannot be written: what the system says is missing, or `elsewhere`, to write it there."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Free space on its disk, or {elsewhere}."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Get write permission, or {elsewhere}."
    return f"{elsewhere[0].upper()}{elsewhere[1:]}."


def append_line(path: Path, line: bytes, *, like_folder: bool = False) -> None:
    """Adds one line, in one write where the disk takes it whole; `like_folder` as for `replace_file`."""
    mode = _mode_for(path, like_folder)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)
    try:
        _set_mode(handle, mode)
        _write_all(handle, line + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_file(path: Path) -> None:
    """Removes a file that may be there."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _mode_for(path: Path, like_folder: bool) -> int:
    with contextlib.suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode) & 0o777
    return _FILE | (path.parent.stat().st_mode & 0o044 if like_folder else 0)


def _set_mode(handle: int, mode: int) -> None:
    with contextlib.suppress(AttributeError, OSError):  # Windows; a file of somebody else
        os.fchmod(handle, mode)


def _scratch(path: Path, content: bytes, mode: int) -> Path:
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        _set_mode(handle, mode)
        _write_all(handle, content)
        os.fsync(handle)
    except BaseException:  # such as a full disk
        Path(scratch).unlink(missing_ok=True)
        raise
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
