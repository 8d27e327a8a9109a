"""Images, audio and files that travel with a request: known by content, kept out of texts, read when they are sent.

In rows, requests, hashes and the ledger stands a reference, `media:image/png;sha256=...`. The bytes stay where they
are: in a file of the user's, which is read again when it is needed, or in memory where they came without a file.

Invariant: what a reference stands for never changes; a file that has changed since is an error.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import mimetypes
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from offramp.errors import DatasetError, problem

MediaKind = Literal["image", "audio", "file"]

_REFERENCE = re.compile(r"media:(?P<type>[\w.+-]+/[\w.+-]+);sha256=(?P<digest>[0-9a-f]{64})\Z")
_DATA_URI = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,(?P<data>[A-Za-z0-9+/=\s]*)\Z")
_TYPES: dict[str, tuple[str, ...]] = {"image": ("image/",), "audio": ("audio/", "video/"), "file": ("",)}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"), (b"ID3", "audio/mpeg"), (b"\xff\xfb", "audio/mpeg"), (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"), (b"BM", "image/bmp"),
)  # fmt: skip
_SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp")
MOST_BYTES = 50 * 1024 * 1024
"""Providers take less; a larger file is a mistake."""
_MOST_PATHS = 8
"""Many rows may have the same picture under names of their own."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The bytes of one reference: in memory, or in files (at most `_MOST_PATHS`), the one named last first."""

    data: bytes | None
    paths: tuple[Path, ...] = ()


_kept: dict[str, _Kept] = {}
_lock = threading.Lock()


def is_reference(text: object) -> bool:
    """Whether a value is a reference to media."""
    return isinstance(text, str) and text.startswith("media:") and _REFERENCE.match(text) is not None


def is_remote(text: object) -> bool:
    """Whether a value is an address that the provider itself fetches."""
    return isinstance(text, str) and text.startswith(("http://", "https://", "gs://", "s3://"))


def of_bytes(data: bytes, *, name: str = "") -> str:
    """The reference of bytes, kept in memory. `name` may tell the type by its ending."""
    reference = _reference(data, name)
    with _lock:
        _kept.setdefault(reference, _Kept(data))
    return reference


def of_file(path: Path) -> str:
    """The reference of a file. Raises OSError where it cannot be read."""
    data = path.read_bytes()
    reference = _reference(data, path.name)
    with _lock:
        kept = _kept.get(reference, _Kept(None))
        others = [known for known in kept.paths if known != path]
        _kept[reference] = replace(kept, paths=(path, *others)[:_MOST_PATHS])
    return reference


def of_data_uri(text: str) -> str | None:
    """The reference of a `data:` address; None for any other text."""
    match = _DATA_URI.match(text)
    if match is None:
        return None
    try:
        data = base64.b64decode(match["data"], validate=False)
    except (binascii.Error, ValueError):
        return None
    reference = f"media:{match['type'] or _type_of(data, '')};sha256={hashlib.sha256(data).hexdigest()}"
    with _lock:
        _kept.setdefault(reference, _Kept(data))
    return reference


def read_cell(value: object, *, kind: MediaKind, base: Path, where: str) -> str:
    """The reference (or remote address) of a value of a dataset: a path, an address, a `data:` address or bytes.

    Args:
        base: folder that a relative path starts from.
        where: the place of the cell, for messages.

    Raises:
        DatasetError: there is no such file, it is too large, or not of the kind.
    """
    if isinstance(value, dict) and ("bytes" in value or "path" in value):  # as Hugging Face's datasets keep it
        value = value.get("bytes") or value.get("path")
    if is_remote(value) or is_reference(value):
        return str(value)
    if isinstance(value, bytes):
        found, size = of_bytes(value), len(value)
    elif not isinstance(value, str) or not value.strip():
        expected = f"the path or address of one, or bytes, for `type: {kind}`"
        raise DatasetError(problem(where, f"the {kind}", got=value, expected=expected))
    elif value.startswith("data:"):
        uri = of_data_uri(value)
        if uri is None:
            raise DatasetError(problem(where, "the data: address cannot be read", expected="data:TYPE;base64,..."))
        found, size = uri, len(value)
    else:
        path = base / value
        try:
            if path.exists() and not path.is_file():
                raise DatasetError(
                    problem(where, f"the {kind} {value!r} is not a file", expected=f"a file of an {kind}")
                )
            size = path.stat().st_size
            found = of_file(path) if size <= MOST_BYTES else ""
        except OSError as error:
            do = "A relative path starts from the folder of the dataset."
            what = f"the {kind} {value!r} cannot be read ({error.strerror})"
            raise DatasetError(problem(where, what, do=do)) from None
    if size > MOST_BYTES:
        expected = f"at most {MOST_BYTES // 1024**2} MB"
        raise DatasetError(problem(where, f"the {kind}", got=f"{size // 1024**2} MB", expected=expected))
    media_type = found[len("media:") :].partition(";")[0]
    if not media_type.startswith(_TYPES[kind]):
        raise DatasetError(problem(where, f"not of `type: {kind}`", got=media_type, expected=f"{_TYPES[kind][0]}..."))
    return found


def paths_of(value: object) -> tuple[Path, ...]:
    """The files that hold what a reference stands for, the one named last first; empty where memory or no file does."""
    kept = _kept.get(value) if isinstance(value, str) else None
    return () if kept is None or kept.data is not None else kept.paths


def type_of(reference: str) -> str:
    """Its media type, such as `image/png`."""
    return reference[len("media:") :].partition(";")[0]


def data_of(reference: str) -> bytes:
    """The bytes. Raises DatasetError where they are not here any more, or have changed."""
    kept = _kept.get(reference)
    if kept is None:
        do = "Load the dataset that it comes from."
        raise DatasetError(problem(reference[:40], "its bytes are not known here", do=do))
    if kept.data is not None:
        return kept.data
    failures = []
    for path in kept.paths:
        try:
            data = _file(path, reference)
        except DatasetError as error:
            failures.append(error)
            continue
        if hashlib.sha256(data).hexdigest() == reference[-64:]:
            return data
        do = "Put the old file back, or run the job again from the start."
        failures.append(DatasetError(problem(str(path), "the file has changed since the job began", do=do)))
    raise failures[0]


@functools.lru_cache(maxsize=64)
def _file(path: Path, reference: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(problem(str(path), f"cannot be read ({error.strerror})")) from None


def data_uri(reference: str) -> str:
    """The `data:` address that a provider takes. Raises DatasetError, as `data_of`."""
    return f"data:{type_of(reference)};base64,{base64.b64encode(data_of(reference)).decode('ascii')}"


def described(reference: str) -> str:
    """A reference in words: its type and the beginning of its digest."""
    return f"{type_of(reference)}, SHA-256 {reference[-64:][:12]}"


def picture(reference: object, *, most_bytes: int) -> str | None:
    """The `data:` address of an image for a page; None for anything else, a larger one, and one that is not here."""
    if not is_reference(reference) or type_of(str(reference)) not in _SHOWN:
        return None
    try:
        small = len(data_of(str(reference))) <= most_bytes
    except DatasetError:
        return None
    return data_uri(str(reference)) if small else None


def _reference(data: bytes, name: str) -> str:
    return f"media:{_type_of(data, name)};sha256={hashlib.sha256(data).hexdigest()}"


def _type_of(data: bytes, name: str) -> str:
    """By its first bytes, else by the ending of its name."""
    for magic, media_type in _MAGIC:
        if data.startswith(magic):
            return media_type
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], "application/octet-stream")
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


# ------------------------------------------------------------------------------------------- parts of a message

_PLACES = {"image_url": ("image_url", "url"), "input_audio": ("input_audio", "data"), "file": ("file", "file_data")}
"""Kind of a part to where its bytes stand, in the dialect of OpenAI's chat completions."""


def referenced(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a message with a reference in place of its bytes. Raises ValueError for a kind that is not known."""
    if part.get("type") == "text":
        return dict(part)
    if part.get("type") not in _PLACES:
        raise ValueError(f"a part of type {part.get('type')!r}")
    outer, inner = _PLACES[part["type"]]
    held = dict(part[outer])
    text = str(held.get(inner) or "")
    if part["type"] == "input_audio" and not is_reference(text):
        text = f"data:audio/{held.get('format', 'wav')};base64,{text}"
    if found := of_data_uri(text):
        held[inner] = found
    return {**part, outer: held}


def expanded(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as a provider takes it: references replaced by what they stand for. Raises DatasetError."""
    content = message.get("content")
    return dict(message) if not isinstance(content, list) else {**message, "content": [_expanded(p) for p in content]}


def _expanded(part: Mapping[str, Any]) -> dict[str, Any]:
    outer, inner = _PLACES.get(part.get("type", ""), ("", ""))
    held = part.get(outer)
    if not isinstance(held, Mapping) or not is_reference(held.get(inner)):
        return dict(part)
    uri = data_uri(held[inner])
    return {**part, outer: {**held, inner: uri.partition(",")[2] if outer == "input_audio" else uri}}


def kinds_in(message: Mapping[str, Any]) -> list[str]:
    """The kinds of media in a message, in order, such as `image_url`; empty for text alone."""
    content = message.get("content")
    return [part["type"] for part in content if part.get("type") != "text"] if isinstance(content, list) else []
