"""CSV and TSV with a header row. Every cell stays the text that it is, `NA`, `007` and `true` included.

A CSV whose header has no comma may have semicolons or tabs, as spreadsheets write them in many countries.

Read by the csv module in strict mode, not by pandas: a row that is too short or too long is refused, not padded.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from offramp.errors import DatasetError, problem
from offramp.task.readers.base import Row, Source, place

_LONGEST_CELL = 2**31 - 1
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}


def read_table(path: Path, name: str) -> Source:
    """The rows of a CSV or TSV file; `number` counts data rows from 1. Raises DatasetError with the place."""
    text = _text(path, name)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    records = _records(text, delimiter, name)
    last, first = next(records, (0, None))
    if first is None:
        return Source(name=name, rows=(), text_cells=True)
    header = _header(first, name)
    rows = []
    for number, (line, cells) in enumerate(records, start=1):
        if len(cells) != len(header):
            where, what = place(name, number, by_line=False), f"has {len(cells)} cells (ends in line {line})"
            do = f"Quote a cell that contains a {_NAMES[delimiter]}."
            raise DatasetError(problem(where, what, expected=str(len(header)), do=do))
        rows.append(Row(number=number, values=dict(zip(header, cells, strict=True)), line=last + 1))
        last = line
    return Source(name=name, rows=tuple(rows), text_cells=True)


def _delimiter(text: str) -> str:
    """What separates the names of a header: a comma, or else a semicolon or a tab where there is one."""
    header = re.sub(r'"[^"]*"', "", next((line for line in text.splitlines() if line.strip()), ""))
    return next((mark for mark in ",;\t" if mark in header), ",")


def _text(path: Path, name: str) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `start` counts from after a byte order mark
        at = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        line = raw.count(b"\n", 0, at) + 1
        what = f"not UTF-8: byte 0x{raw[at]:02x} at offset {at} of the file"
        raise DatasetError(problem(f"{name}:{line}", what, do="Save the file as UTF-8.")) from None


def _records(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every record that is not blank."""
    csv.field_size_limit(_LONGEST_CELL)  # the default refuses a cell above 128 KiB, and a document can be longer
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        opened = " (a cell that begins with a quotation mark is never closed)" if "end of data" in str(error) else ""
        do = 'Quote the cell and double each mark within it ("he said ""yes"""), or save the rows as JSONL.'
        raise DatasetError(problem(f"{name}:{reader.line_num}", f"not CSV: {error}{opened}", do=do)) from None


def _header(cells: list[str], name: str) -> list[str]:
    names = [cell.strip() or f"column_{i}" for i, cell in enumerate(cells, start=1)]
    duplicates = sorted({n for n in names if names.count(n) > 1})
    if duplicates:
        what = f"duplicate columns in the header: {', '.join(map(repr, duplicates))}"
        raise DatasetError(problem(name, what, do="Rename one."))
    if len(names) == 1 and any(mark in names[0] for mark in ",;|\t"):
        raise DatasetError(problem(name, "the header", got=names[0], expected="columns separated by commas",
                                   do="Save it with commas, or with tabs as .tsv."))  # fmt: skip
    return names
