"""Parquet through pyarrow, not pandas, which would turn a null in a column of integers into NaN."""

from __future__ import annotations

from pathlib import Path

from offramp.errors import DatasetError, problem
from offramp.task.readers.base import Row, Source, plain


def read_parquet(path: Path, name: str) -> Source:
    """The rows of a Parquet file; `number` counts from 1."""
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as handle:
            table = pyarrow.parquet.read_table(handle)
    except pyarrow.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(problem(name, f"not a readable Parquet file: {reason}")) from None
    duplicates = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
    if duplicates:
        raise DatasetError(problem(name, f"duplicate columns: {', '.join(map(repr, duplicates))}"))
    rows = tuple(
        Row(number=number, values={column: plain(value) for column, value in values.items()})
        for number, values in enumerate(table.to_pylist(), start=1)
    )
    return Source(name=name, rows=rows)
