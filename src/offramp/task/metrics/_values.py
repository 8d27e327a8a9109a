"""When two JSON values count as the same, and how they read as text.

Text is compared by Unicode NFC, without case, with runs of white space as one space. A number equals text that writes
the same number, but two texts are never compared as numbers ('007' is not '7'). A boolean equals 'true' or 'false' and
no number.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?", re.IGNORECASE | re.ASCII)
_LONGEST_SHOWN = 200


def as_text(value: Any) -> str:
    """How a value reads: text as it is, null as nothing, a list one item a line, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "\n".join(as_text(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def shown(value: Any) -> str:
    """A value for feedback: JSON, cut to 200 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def normal(text: str, *, case_sensitive: bool = False) -> str:
    """NFC, one space for white space, none at the ends, and no case unless told."""
    flat = " ".join(unicodedata.normalize("NFC", text).split())
    return flat if case_sensitive else unicodedata.normalize("NFC", flat.casefold())


def is_empty(value: Any) -> bool:
    """Null, blank text, a list without items, and an object whose fields are all empty."""
    if isinstance(value, Mapping):
        return all(is_empty(item) for item in value.values())
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], ())


def same(a: Any, b: Any, *, case_sensitive: bool = False) -> bool:
    """Whether two JSON values are the same; lists by order, objects by key with null as missing."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = {key for key in (*a, *b) if a.get(key) is not None or b.get(key) is not None}
        return all(same(a.get(key), b.get(key), case_sensitive=case_sensitive) for key in keys)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        pairs = zip(a, b, strict=False)
        return len(a) == len(b) and all(same(x, y, case_sensitive=case_sensitive) for x, y in pairs)
    if isinstance(a, dict | list | tuple) or isinstance(b, dict | list | tuple):
        return False
    return _same_scalar(a, b, case_sensitive)


def _same_scalar(a: Any, b: Any, case_sensitive: bool) -> bool:
    if a is None or b is None:
        return a is b
    if isinstance(a, bool) or isinstance(b, bool):
        return bool(as_text(a).strip().casefold() == as_text(b).strip().casefold())
    if isinstance(a, int | float) or isinstance(b, int | float):
        left, right = _decimal(a), _decimal(b)
        return left is not None and left == right
    return normal(as_text(a), case_sensitive=case_sensitive) == normal(as_text(b), case_sensitive=case_sensitive)


def _decimal(value: Any) -> Decimal | None:
    """The exact number that a value writes: 0.1 is the text '0.1', not its nearest binary fraction."""
    text = str(value).strip()
    if isinstance(value, str) and not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
