"""What every reader returns: rows of plain JSON values, and how to name a place in them.

Typed values (Arrow, numpy, pandas) become plain ones: NaN and NaT mean "not known" in those formats and become None;
dates and times become ISO 8601 text; what JSON cannot hold (bytes, infinity) becomes `NotJson`, which is an error only
if the task needs the column.
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_NULLS = ("NaTType", "NAType")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        number: 1-based; the line in JSONL, the data row (header not counted) in CSV and Parquet.
        values: column to value. A value that JSON cannot hold is a `NotJson`.
        raw_id: value of the id column under its own name; None if no id column is used.
        line: of the file on which it begins; None where the format has no lines, and where it is `number`.
    """

    number: int
    values: Mapping[str, Any]
    raw_id: Any = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class NotJson:
    """Stands for a value that JSON cannot hold, such as bytes: an error if the task needs it, else left out.

    An input that is an image, a recording or a file may be bytes: `value` is what stood there.
    """

    kind: str
    value: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The rows of one dataset.

    Attributes:
        name: file as the space file writes it, or the hub name; for messages.
        by_line: whether row numbers are line numbers.
        text_cells: whether every value is text because the format has no other type (CSV).
    """

    name: str
    rows: tuple[Row, ...]
    by_line: bool = False
    text_cells: bool = False

    def at(self, number: int) -> str:
        """The place of a row, for messages."""
        return place(self.name, number, by_line=self.by_line)

    def columns(self) -> list[str]:
        """Every column that any row has, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))


def place(name: str, number: int, *, by_line: bool) -> str:
    """`data.jsonl:3` or `data.csv: row 3`."""
    return f"{name}:{number}" if by_line else f"{name}: row {number}"


def rows_text(numbers: Iterable[int], *, most: int = 5) -> str:
    """`row 3`, `rows 3, 5` or `rows 1, 2, 3, 4, 5 and 7 more`."""
    ordered = sorted(set(numbers))
    shown = ", ".join(map(str, ordered[:most]))
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return f"row{'s' if len(ordered) > 1 else ''} {shown}{more}"


def plain(value: Any) -> Any:
    """A JSON value, or `NotJson` (also if only a part inside it is not JSON)."""
    if value is None or isinstance(value, bool | str | int) or type(value).__name__ in _NULLS:
        return _atom(value)
    if isinstance(value, float | decimal.Decimal):
        return _number(value)
    if isinstance(value, Mapping):
        whole = _whole({str(key): plain(item) for key, item in value.items()})
        return NotJson(whole.kind, dict(value)) if isinstance(whole, NotJson) else whole
    if isinstance(value, list | tuple | set | frozenset):
        return _whole([plain(item) for item in value])
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID):
        return str(value)
    # numpy scalars give the Python scalar, arrays a list
    return plain(value.tolist()) if hasattr(value, "tolist") else NotJson(type(value).__name__, value)


def _atom(value: Any) -> Any:
    """None and the nulls of pandas are None; subclasses of int and str (numpy, enums) become the base type."""
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
