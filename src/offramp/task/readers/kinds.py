"""What a file really is, by its first bytes, where its ending says something else."""

from __future__ import annotations

from pathlib import Path

from offramp.errors import DatasetError, problem

_LOOKED_AT = 4096
_AS_TEXT = "Save it as CSV (UTF-8)."
_KINDS = (
    (b"PK\x03\x04", "xlsx", "an Excel workbook or another ZIP file", f"Rename it to .xlsx if it is one. {_AS_TEXT}"),
    (b"\xd0\xcf\x11\xe0", "xls", "an old Excel workbook (.xls)", _AS_TEXT),
    (b"PAR1", "parquet", "a Parquet file", "Rename it to .parquet."),
    (b"\x1f\x8b", "gz", "compressed (gzip)", "Unpack it."),
    (b"%PDF", "pdf", "a PDF", "Put its text into a CSV or JSONL file."),
)
_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def refuse_another_kind(path: Path, name: str, ending: str) -> None:
    """Raises DatasetError for a text file (csv, jsonl, ...) that is really a workbook, UTF-16 or the like, and for a
    .xlsx or .parquet that is not one.
    """
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    if ending == "xlsx":
        if start and not start.startswith(b"PK\x03\x04"):
            old = start.startswith(b"\xd0\xcf\x11\xe0")
            what = "the file is an old Excel workbook (.xls)" if old else "the file is not an Excel workbook"
            do = "Save it as .xlsx." if old else "Rename it to what it is, such as .csv."
            raise DatasetError(problem(name, what, expected="XLSX", do=do))
        return
    if ending == "parquet":
        return
    for mark, kind, what, do in _KINDS:
        if start.startswith(mark) and kind != ending:
            raise DatasetError(problem(name, f"the file is {what}", expected=f"{ending.upper()} in UTF-8", do=do))
    wide = next((kind for mark, kind in _WIDE.items() if start.startswith(mark)), None)
    if wide is None and len(start) > 3:
        zeros = [start[at::2].count(0) for at in (0, 1)]
        wide = "UTF-16" if max(zeros) > 0.4 * len(start) / 2 and min(zeros) * 4 < max(zeros) else None
    if wide is not None:
        do = "Save it as UTF-8."
        raise DatasetError(problem(f"{name}:1", f"the file is {wide}", expected="UTF-8", do=do))
