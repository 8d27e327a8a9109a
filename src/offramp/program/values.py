"""Values of fields: as text and back for the plain format, and as JSON for storage.

A text stands as it is wherever it would be read back as it is, and as a JSON string elsewhere: empty, with white space
at its ends, beginning with a quote, reading as null where null is an answer, or with a line that reads as `name:` of
another field. Line breaks inside of a text are kept. Numbers may have a sign, thousands separators and an exponent;
options are found whatever their case and the punctuation around them; null is `null`.

In an answer of several fields each begins with a line that starts with its name and a colon. The name may be dressed up
as Markdown does (`**Name**:`, `- name:`, `### name:`) and written in any case, where that leaves no doubt which field
is meant.

Invariants: `read(written(value, annotation, names), annotation)` is the value, for every value of the annotation's type
(a number has to be finite). Equal values give equal JSON in every process: a set is sorted, and no text depends on a
memory address.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin

import dspy
from dspy.adapters.utils import parse_value, serialize_for_json

_NULLS = ("null", "none", "")
_AROUND = " \t\r\n\"'`*_"
_PUNCTUATION = _AROUND + ".:!,;()[]<>"
_AROUND_NULL = _AROUND + ".()"
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_DRESS = " \t#>*`-\u2022"
_MOST = 200
"""Longer text before a colon names no field."""
_NUMBER = re.compile(
    r"([+-]?)(\d{1,3}(?:[,_'\u2019\u2009\u202f\xa0 ]\d{3})+|\d*)(\.\d*)?(e[+-]?\d{1,3})?", re.IGNORECASE | re.ASCII
)


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
    plain = serialize_for_json(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def cut(text: Any, limit: int = 200) -> str:
    """A stranger's text on one line, cut short."""
    flat = " ".join(str(text).split())
    return flat if len(flat) <= limit else flat[:limit] + "…"


# --------------------------------------------------------------------------------------------------- write


def written(value: Any, annotation: Any, names: Sequence[str] = ()) -> str:
    """The value as text. `names` are the fields whose `name:` marks it may not hold; none where it stands alone."""
    base, nullable = base_of(annotation)
    if value is None:
        return null_word(annotation)
    text = plain_text(value)
    if not isinstance(value, str) or (base is str and not nullable and not names):
        return text
    options = get_args(base) if get_origin(base) is Literal else ()
    return text if _stands(text, options, nullable, names) else json.dumps(text, ensure_ascii=False)


def _stands(text: str, options: Sequence[Any], nullable: bool, names: Sequence[str]) -> bool:
    if not text or text != text.strip() or any(mark_of(line, names) for line in text.split("\n")):
        return False
    if options:
        return "\n" not in text
    return not text.startswith('"') and not (nullable and _is_null(text))


def null_word(annotation: Any) -> str:
    """How null is written: `null`, or another word for it where an option has that name."""
    base, _ = base_of(annotation)
    options = get_args(base) if get_origin(base) is Literal else ()
    return next((word for word in _NULLS if _option(word, options) is None), _NULLS[0])


# ---------------------------------------------------------------------------------------------------- read


def read(text: str, annotation: Any, *, alone: bool = False) -> Any:
    """The value that a text writes. `alone`: it is the whole answer, and a mere text then stands for itself.

    Raises:
        ValueError, TypeError: it writes no value of this type.
    """
    base, nullable = base_of(annotation)
    text = text.strip()
    if get_origin(base) is Literal:
        return _read_option(text, get_args(base), nullable)
    if base is str:
        return text if alone and not nullable else None if nullable and _is_null(text) else _unquoted(text)
    if nullable and _is_null(text.strip(_AROUND_NULL)):
        return None
    if base is bool:
        return _read_bool(text)
    if base in (int, float):
        return _read_whole(text) if base is int else _read_number(text)
    return parse_value(text, base)


def _is_null(text: str) -> bool:
    return text.casefold() in _NULLS


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _read_option(text: str, options: Sequence[Any], nullable: bool) -> Any:
    found = _option(text, options)
    if found is not None:
        return found[0]
    if nullable and _is_null(text.strip(_AROUND_NULL)):
        return None
    raise ValueError(f"{text[:80]!r} is not one of {list(options)}")


def _option(text: str, options: Sequence[Any]) -> tuple[Any] | None:
    """The option that the text names: exactly, else whatever the case, else whatever punctuation is around it."""
    for form in (str, _unquoted, _folded, _bare):
        wanted = form(text)
        hits = [option for option in options if form(plain_text(option)) == wanted and (wanted or form is not _bare)]
        if len(hits) == 1:
            return (hits[0],)
    return None


def _folded(text: str) -> str:
    return " ".join(_unquoted(text).split()).casefold()


def _bare(text: str) -> str:
    return _folded(text).strip(_PUNCTUATION)


def _read_bool(text: str) -> bool:
    word = text.strip(_PUNCTUATION).casefold()
    if word not in _BOOLS:
        raise ValueError(f"{text[:80]!r} is neither true nor false")
    return _BOOLS[word]


def _number(text: str) -> str:
    """A number as Python writes it. A comma separates thousands only before three digits: `3,14` is not a number."""
    match = _NUMBER.fullmatch(text.strip(_AROUND).replace("\N{MINUS SIGN}", "-"))
    sign, whole, fraction, exponent = match.groups(default="") if match else ("", "", "", "")
    if not (whole or fraction.strip(".")):
        raise ValueError(f"{text[:80]!r} is not a number")
    return f"{sign}{re.sub(r'[^0-9]', '', whole) or '0'}{fraction}{exponent}"


def _read_whole(text: str) -> int:
    number = _number(text)
    if number.lstrip("+-").isdigit():
        return int(number)
    exact = Decimal(number)
    if exact != exact.to_integral_value():
        raise ValueError(f"{text[:80]!r} is not a whole number")
    return int(exact)


def _read_number(text: str) -> float:
    number = float(_number(text))
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]!r} is too large")
    return number


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
