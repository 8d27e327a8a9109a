"""What every reader gives: rows, and how to name a place in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        number: 1-based; the line in JSONL, the data row (header not counted) in CSV and Parquet.
        values: column to value. A value that JSON cannot hold is a `NotJson`.
        raw_id: value of the id column under its own name; None where no id column is used.
    """

    number: int
    values: Mapping[str, Any]
    raw_id: Any = None


@dataclass(frozen=True, slots=True)
class NotJson:
    """Stands for a value that JSON cannot hold, such as bytes: an error where the task needs it, else left out."""

    kind: str


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
