"""Typed values (Arrow, numpy, pandas) as plain JSON values.

NaN and NaT mean "not known" in these formats and become None; dates and times become ISO 8601 text; what JSON cannot
hold (bytes, infinity) becomes `NotJson`, which is an error only where the task needs the column.
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Mapping
from typing import Any

from offramp.task.readers.base import NotJson

_NULLS = ("NaTType", "NAType")


def plain(value: Any) -> Any:
    """A JSON value, or `NotJson` (also when only a part inside of it cannot be held)."""
    if value is None or isinstance(value, bool | str | int) or type(value).__name__ in _NULLS:
        return _atom(value)
    if isinstance(value, float | decimal.Decimal):
        return _number(value)
    if isinstance(value, Mapping):
        return _whole({str(key): plain(item) for key, item in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return _whole([plain(item) for item in value])
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID):
        return str(value)
    # numpy scalars give the Python scalar, arrays a list
    return plain(value.tolist()) if hasattr(value, "tolist") else NotJson(type(value).__name__)


def _atom(value: Any) -> Any:
    """None and the nulls of pandas are None; subclasses of int and str (numpy, enums) are cut down to the base."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return NotJson("text with an unpaired surrogate")
        return str(value)
    return int(value) if isinstance(value, int) else None


def _number(value: float | decimal.Decimal) -> Any:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return NotJson("infinity")
    if isinstance(value, decimal.Decimal) and value == value.to_integral_value():
        return int(value)
    return float(value)


def _whole(value: Any) -> Any:
    items = value.values() if isinstance(value, dict) else value
    return next((item for item in items if isinstance(item, NotJson)), value)
