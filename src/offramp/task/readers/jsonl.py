"""JSON Lines, read line by line so that every error has a line number.

Stricter than `json.loads`: NaN, Infinity, numbers that overflow, duplicate keys and unpaired surrogates are refused,
because each would be changed on the way to a model or the store. A byte order mark and blank lines are accepted.
"""

from __future__ import annotations

import codecs
import json
import math
from pathlib import Path
from typing import Any, NoReturn

from offramp.errors import DatasetError, problem
from offramp.task.readers.base import Row, Source

_LONGEST_NUMBER = 300
"""Digits; a longer number cannot be a float."""
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_jsonl(path: Path, name: str) -> Source:
    """The rows of a JSONL file; `number` is the line. Raises DatasetError with line (and byte) for what it refuses."""
    rows, offset = [], 0
    with path.open("rb") as handle:
        for number, raw in enumerate(handle, start=1):
            values = _line(raw, f"{name}:{number}", offset)
            if values is not None:
                rows.append(Row(number=number, values=values))
            offset += len(raw)
    return Source(name=name, rows=tuple(rows), by_line=True)


def _line(raw: bytes, where: str, offset: int) -> dict[str, Any] | None:
    if offset == 0 and raw.startswith(_WIDE_MARKS):
        raise DatasetError(problem(where, "the file is UTF-16", expected="UTF-8", do="Save it as UTF-8."))
    skip = len(codecs.BOM_UTF8) if offset == 0 and raw.startswith(codecs.BOM_UTF8) else 0
    try:
        text = raw[skip:].decode("utf-8").strip()
    except UnicodeDecodeError as error:
        at = skip + error.start
        what = f"not UTF-8: byte 0x{raw[at]:02x} at offset {offset + at} of the file ({error.start} of the line)"
        raise DatasetError(problem(where, what, do="Save the file as UTF-8.")) from None
    if not text:
        return None
    value = _loaded(text, where)
    if not isinstance(value, dict):
        do = "Write one object per line, without brackets around the file." if text.startswith("[") else None
        kinds = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
        what = f"the line is {kinds.get(type(value), 'null')}"
        raise DatasetError(problem(where, what, expected="a JSON object", do=do))
    return value


def _loaded(text: str, where: str) -> Any:
    try:
        value = json.loads(
            text, parse_constant=_constant, parse_float=_float, parse_int=_int, object_pairs_hook=_object
        )
        _refuse_surrogates(text, value)
    except json.JSONDecodeError as error:
        hint = "Write one whole JSON object on each line." if text in ("{", "[") or error.pos >= len(text) else None
        raise DatasetError(problem(where, f"not JSON: {error.msg} at column {error.colno}", do=hint)) from None
    except RecursionError:
        raise DatasetError(problem(where, "the JSON is nested too deeply")) from None
    except ValueError as error:
        raise DatasetError(problem(where, str(error))) from None
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON value; write null for an unknown value")


def _int(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"the number {text[:40]}... has {len(text)} digits, expected at most {_LONGEST_NUMBER}")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"duplicate key {duplicate!r}")
    return values


def _refuse_surrogates(text: str, value: Any) -> None:
    if "\\u" not in text:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("an unpaired surrogate (\\ud800 to \\udfff) is not a character") from None
