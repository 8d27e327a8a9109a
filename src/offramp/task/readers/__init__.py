"""Files and hub datasets as rows of plain JSON values, each with the number a person finds it by.

One file per format. A reader refuses with the place what it cannot read with certainty (broken UTF-8, NaN, ragged
rows); what the columns mean is decided in `dataset.py`.

Invariant: a row holds only JSON values; nothing that was text in the file has become a number, a date or a null.
"""

from __future__ import annotations

from pathlib import Path

from offramp.errors import DatasetError, nearest, problem
from offramp.space.model import DatasetPart
from offramp.task.readers.base import Row, Source
from offramp.task.readers.kinds import refuse_another_kind

__all__ = ["Row", "Source", "read_source"]


def read_source(part: DatasetPart, base: Path) -> Source:
    """All rows of a dataset. Raises DatasetError for a file that is missing, unreadable, empty or of an unknown format.

    Args:
        part: the `dataset` of a space file.
        base: folder that a relative path starts from.
    """
    if part.path is None:
        from offramp.task.readers.hub import read_hub

        source = read_hub(part)
    else:
        source = _read_file(base / part.path, part.path)
    if not source.rows:
        raise DatasetError(problem(source.name, "has no rows", do="Add examples, one per row."))
    return source


def _read_file(path: Path, name: str) -> Source:
    try:
        if path.is_dir():
            raise DatasetError(problem(name, "is a folder", expected="one file", do="Join the files into one."))
        if not path.is_file():
            near = nearest(path.name, (p.name for p in path.parent.iterdir())) if path.parent.is_dir() else ""
            near = near or "A relative path starts at the folder of the space file."
            raise DatasetError(problem(name, "there is no such file", do=near))
        if (ending := path.suffix.lower()) in (".jsonl", ".ndjson", ".csv", ".tsv", ".xlsx"):
            refuse_another_kind(path, name, ending[1:])
        match ending:
            case ".jsonl" | ".ndjson":
                from offramp.task.readers.jsonl import read_jsonl

                return read_jsonl(path, name)
            case ".csv" | ".tsv":
                from offramp.task.readers.table import read_table

                return read_table(path, name)
            case ".parquet":
                from offramp.task.readers.parquet import read_parquet

                return read_parquet(path, name)
            case ".xlsx":
                from offramp.task.readers.xlsx import read_xlsx

                return read_xlsx(path, name)
            case _:
                do = {".json": "Write one JSON object per line.", ".xls": "Save it as .xlsx or CSV."}.get(ending)
                expected = "one of jsonl, ndjson, csv, tsv, parquet, xlsx"
                raise DatasetError(problem(name, "the file's ending", got=ending, expected=expected, do=do))
    except OSError as error:
        what = f"cannot be read ({error.strerror or type(error).__name__})"
        raise DatasetError(problem(name, what)) from None
