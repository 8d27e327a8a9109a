"""Values of fields: their types, as plain text, told apart in an answer of several, and as JSON for storage.

In an answer of several fields each begins with a line that starts with its name and a colon. The name may be dressed up
as Markdown does (`**Name**:`, `- name:`, `### name:`) and written in any case, where that leaves no doubt which field
is meant.

Invariant: equal values give equal JSON in every process: a set is sorted, and no text depends on a memory address.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import dspy
from dspy.adapters.utils import serialize_for_json

from offramp.task.local_code import is_installed

_DRESS = " \t#>*`-\u2022"
_MOST = 200
"""Longer text before a colon names no field."""


def own_place(frames: Iterable[tuple[types.FrameType, int]]) -> str:
    """`triage.py:12`: the first of these frames that is of the user's own code; empty where none is."""
    for frame, line in frames:
        name = str(frame.f_globals.get("__name__")).partition(".")[0]
        file = frame.f_code.co_filename
        if name not in ("dspy", "offramp") and not file.startswith("<frozen") and not is_installed(Path(file)):
            return f"{Path(frame.f_code.co_filename).name}:{line}"
    return ""


def base_of(annotation: Any) -> tuple[Any, bool]:
    """The type without its null, and whether null is an answer."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, annotation is type(None)
    parts = get_args(annotation)
    others = [part for part in parts if part is not type(None)]
    base = others[0] if len(others) == 1 else annotation
    return base, len(others) < len(parts)


def is_line(annotation: Any) -> bool:
    """Whether its values never need more than a line: options, numbers and booleans."""
    base, _ = base_of(annotation)
    return get_origin(base) is Literal or base in (int, float, bool)


def plain_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    plain = value if type(value) is str else serialize_for_json(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def cut(text: Any, limit: int = 200) -> str:
    """A stranger's text on one line, cut short."""
    flat = " ".join(str(text).split())
    return flat if len(flat) <= limit else flat[:limit] + "…"


# -------------------------------------------------------------------------------------------------- fields


def mark_of(line: str, names: Sequence[str]) -> str | None:
    """The field that a line marks the beginning of."""
    label, colon, _ = line[:_MOST].partition(":")
    if not colon:
        return None
    for form in (label.strip(), label.strip(_DRESS), label.strip(_DRESS + "_")):
        hits = [name for name in names if name == form] or [n for n in names if n.casefold() == form.casefold()]
        if len(hits) == 1:
            return hits[0]
    return None


def split_fields(names: Sequence[str], answer: str) -> dict[str, str]:
    """Text after each field's mark up to the next one. The first mark counts; text before all marks is left out."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in answer.split("\n"):
        name = mark_of(line, names)
        if name is None:
            current.append(line)
        else:
            current = [_undressed(line, names)]
            found.setdefault(name, current)
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def strict_fields(names: Sequence[str], answer: str) -> dict[str, str]:
    """As `split_fields`, of lines that begin with exactly `name:`."""
    found: dict[str, list[str]] = {}
    for line in answer.strip().split("\n"):
        name, colon, rest = line.partition(":")
        if colon and name in names and name not in found:
            found[name] = [rest]
        elif found:
            list(found.values())[-1].append(line)
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def _undressed(line: str, names: Sequence[str]) -> str:
    """What stands after the colon; in `**name:** value` and `**name: value**` the stars belong to the name."""
    label, _, rest = line.partition(":")
    dress = re.match(r"[ \t#>\u2022-]*([*_`]*)", label)
    mark = dress.group(1) if dress else ""
    if not mark or label.strip() in names or label.rstrip().endswith(mark):
        return rest
    return rest.removeprefix(mark) if rest.startswith(mark) else rest.rstrip().removesuffix(mark)


# ---------------------------------------------------------------------------------------------------- JSON


def json_value(value: Any) -> Any:
    """The value as JSON has it. Raises ValueError for NaN and infinity, which JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} is not an answer: a number has to be finite")
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((json_value(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return json_value(_unpacked(value))


def _unpacked(value: Any) -> Any:
    """What pydantic, DSPy, numpy and other objects hold inside; text for anything unknown."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="python")
    if isinstance(value, dspy.Example):
        return dict(value.items())
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    plain = serialize_for_json(value)
    return plain if type(plain) in (str, int, float, bool, list, dict) else str(plain)
