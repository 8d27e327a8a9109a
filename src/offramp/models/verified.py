"""Is a model file the file its name promises? The full hash once, a cheap look afterwards.

Hashing half a gigabyte at every start is too slow, so a file that was hashed gets a small stamp beside it with its
sha256, size and time of change. A file that no longer fits its stamp is hashed again.

Invariant: a stamp only ever says that these bytes (by size and time of change) had this hash when they were read.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from offramp.errors import ModelError, problem

CHUNK_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def stamp_path(path: Path) -> Path:
    """Where the stamp of a file lies."""
    return path.with_name(path.name + ".verified")


def write_stamp(path: Path, sha256: str) -> None:
    """Note that `path`, as it is now, has this hash. A folder that cannot be written only costs the next hash."""
    stamp = stamp_path(path)
    part = stamp.with_name(f"{stamp.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            part.write_text(json.dumps(_facts(path, sha256)), encoding="utf-8")
            part.replace(stamp)
        finally:
            part.unlink(missing_ok=True)


def stamp_holds(path: Path, sha256: str) -> bool:
    """Whether the stamp says that `path`, unchanged since, has this hash."""
    try:
        noted = json.loads(stamp_path(path).read_text(encoding="utf-8"))
        return bool(noted == _facts(path, sha256))
    except (OSError, ValueError):
        return False


def check_file(path: Path, *, sha256: str, size_bytes: int, name: str, full: bool) -> None:
    """Return when `path` is the promised file; else ModelError that says what was got and what to do.

    Args:
        full: hash the content even if the stamp holds.
    """
    if not path.is_file():
        raise ModelError(problem(name, "the model file is not here yet", do=f"Run `offramp models pull {name}`."))
    if not full and stamp_holds(path, sha256):
        return
    before = _facts(path, sha256)
    got_bytes = path.stat().st_size
    if got_bytes != size_bytes:
        raise _wrong(name, path, f"{got_bytes} bytes", f"{size_bytes} bytes")
    got = sha256_of(path)
    if got != sha256:
        raise _wrong(name, path, f"sha256 {got}", f"sha256 {sha256}")
    if before == _facts(path, sha256):
        write_stamp(path, sha256)


def _facts(path: Path, sha256: str) -> dict[str, Any]:
    state = path.stat()
    return {"sha256": sha256, "bytes": state.st_size, "mtime_ns": state.st_mtime_ns}


def _wrong(name: str, path: Path, got: str, expected: str) -> ModelError:
    do = f"Run `offramp models pull {name}` to fetch it again."
    return ModelError(problem(name, f"{path} is not the file it should be", got=got, expected=expected, do=do))
