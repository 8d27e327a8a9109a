"""Excel workbooks (.xlsx), their first sheet, through pandas where openpyxl is installed.

Cells keep the workbook's type: numbers, dates (as ISO 8601 text), booleans, text. Empty ones are null.
"""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

from offramp.errors import DatasetError, problem
from offramp.task.readers.base import Row, Source, plain

MOST_UNPACKED = 512 * 1024**2
"""Bytes of a workbook's parts together: a small file may unpack to any size."""


def read_xlsx(path: Path, name: str) -> Source:
    """The rows of a workbook's first sheet; `number` counts data rows from 1. Raises DatasetError."""
    _refuse_bomb(path, name)
    if importlib.util.find_spec("openpyxl") is None:
        do = "Run `pip install openpyxl`, or save the sheet as CSV (UTF-8)."
        raise DatasetError(problem(name, "an Excel workbook needs the package `openpyxl`", do=do))
    import pandas

    try:
        table = pandas.read_excel(
            path, sheet_name=0, dtype=object, keep_default_na=False, na_values=[""], engine="openpyxl"
        )
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0][:200]
        do = "Save it again as .xlsx, or as CSV (UTF-8)."
        raise DatasetError(problem(name, f"not a readable workbook: {reason}", do=do)) from None
    names = [str(column).strip() for column in table.columns]
    rows = []
    for number, cells in enumerate(table.itertuples(index=False, name=None), start=1):
        values = {column: plain(value) for column, value in zip(names, cells, strict=True)}
        rows.append(Row(number=number, values=values, line=number + 1))
    return Source(name=name, rows=tuple(rows))


def _refuse_bomb(path: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return  # pandas says what is wrong with it
    if size > MOST_UNPACKED:
        got, do = f"{size / 1024**2:,.0f} MB", "Save it as CSV (UTF-8)."
        expected = f"at most {MOST_UNPACKED // 1024**2} MB"
        raise DatasetError(problem(name, "the workbook, unpacked", got=got, expected=expected, do=do))
