"""A file of recorded outcomes as columns of the right kinds: params, ids and splits, and outcomes as numbers.

A CSV holds text alone, and cells that are written in different ways are different values: `1.1` and `1.10`, `01` and
`1`, `NA`, `None` and an empty cell. A Parquet file says the kinds itself.

Invariant: no row is dropped or joined with another without a word. What cannot be used is refused with its place.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from offramp.errors import DatasetError, nearest, problem
from offramp.records import Scalar, Split
from offramp.task.readers.table import read_table as read_csv

if TYPE_CHECKING:
    import pandas

PREFIX = "param."
INPUT = "input."
OUTCOMES = ("score", "cost_usd", "latency_s")
_BOUNDS = {
    "score": (0.0, 1.0, "a number in [0, 1]"),
    "confidence": (-sys.float_info.max, sys.float_info.max, "a number"),
}
_NO_VALUE = frozenset({"", "nan", "na", "n/a", "null", "none"})
"""How a CSV says, in any case, that a column of numbers has no value there."""
_SPLITS = (Split.SEARCH.value, Split.HOLDOUT.value)


@dataclass(frozen=True, slots=True)
class _File:
    """What was read. `lines`: where each row begins in a CSV; None for a file without lines."""

    path: Path
    frame: pandas.DataFrame
    lines: Sequence[int] | None

    def place(self, row: int) -> str:
        """Where a person finds a row, counted from 0 here."""
        return f"{self.path}: row {row + 1}" if self.lines is None else f"{self.path}:{self.lines[row]}"


def read_frame(path: Path) -> pandas.DataFrame:
    """The rows of a Parquet or CSV file: ids and splits as text, OUTCOMES and `confidence` as floats, NaN for none.

    Raises:
        DatasetError: there is no such file, it is not a table of outcomes, or a cell cannot be used.
    """
    file = _opened(path)
    _check_columns(file)
    frame = file.frame
    frame["example_id"] = _ids(file)
    if "split" in frame.columns:
        frame["split"] = _splits(file)
    for name in (*OUTCOMES, "confidence"):
        if name in frame.columns:
            frame[name] = _numbers(file, name)
    if not frame["score"].notna().any():
        raise DatasetError(problem(str(path), "column score has no number"))
    if file.lines is not None:
        for name in frame.columns:
            if name.startswith((PREFIX, INPUT)):
                frame[name] = _columned(as_written(frame[name].tolist()), frame)
            elif name == "answer":
                frame[name] = _columned([value or None for value in frame[name].tolist()], frame)
    return frame


def as_written(texts: Sequence[str]) -> list[Scalar]:
    """Cells of a CSV as values, None for empty ones.

    Numbers or bools only where all cells are written in the one way that such a value is: then each is shown as it
    stands, and different texts are different values. All other columns stay text.
    """
    written = {text for text in texts if text != ""}
    for kind in (_plain_number, _plain_bool):
        values = {text: kind(text) for text in written}
        if None not in values.values() and len(set(values.values())) == len(written) and _one_style(written):
            return [values.get(text) for text in texts]
    return [text or None for text in texts]


def _one_style(written: set[str]) -> bool:
    return not ({"true", "false"} & written and {"True", "False"} & written)


def _plain_number(text: str) -> Scalar:
    if re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text) if str(int(text)) == text else None
    if not re.fullmatch(r"-?[0-9][0-9.]*(e[+-][0-9]+)?", text):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if repr(value) == text and math.isfinite(value) else None


def _plain_bool(text: str) -> Scalar:
    return {"true": True, "True": True, "false": False, "False": False}.get(text)


def _opened(path: Path) -> _File:
    import pandas

    expected = "a Parquet or CSV table of outcomes"
    if path.is_dir():
        raise DatasetError(problem(str(path), "is a folder", expected=expected))
    if not path.is_file():
        raise DatasetError(problem(str(path), "no such file", expected=expected))
    try:
        if path.suffix.lower() != ".csv":
            return _File(path, pandas.read_parquet(path), None)
        rows = read_csv(path, str(path)).rows
    except DatasetError:
        raise
    except Exception as error:  # noqa: BLE001 - pandas and pyarrow raise many kinds; the record is this message
        reason = str(error).partition("\n")[0]
        raise DatasetError(
            problem(str(path), f"cannot be read as a table ({type(error).__name__}: {reason})")
        ) from None
    if not rows:
        raise DatasetError(problem(str(path), "has no rows"))
    columns = {name: [row.values[name] for row in rows] for name in rows[0].values}
    return _File(path, pandas.DataFrame(columns, dtype=object), [row.line or 0 for row in rows])


def _check_columns(file: _File) -> None:
    names, where = [str(name) for name in file.frame.columns], str(file.path)
    there, do = f"the columns are {_listed(names)}", "docs/replay.md lists the columns."
    if not any(name.startswith(PREFIX) for name in names):
        raise DatasetError(problem(where, f"no column begins with 'param.'; {there}", do=do))
    for name in ("example_id", "score"):
        if name not in names:
            raise DatasetError(problem(where, f"no column {name!r}; {there}", do=do))
    if not len(file.frame):
        raise DatasetError(problem(where, "has no rows"))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _ids(file: _File) -> pandas.Series[Any]:
    return _texts(file, "example_id", lambda text: text if text.strip() else None, "the id of an example", lambda _: "")


def _splits(file: _File) -> pandas.Series[Any]:
    """`search` or `holdout`, in any case; another word is refused, since its rows would be left out."""

    def split(text: str) -> str | None:
        return word if (word := text.strip().casefold()) in _SPLITS else None

    def do(text: str) -> str:
        return nearest(text.strip().casefold(), _SPLITS) or "Remove rows that belong to neither."

    return _texts(file, "split", split, "'search' or 'holdout'", do)


def _texts(
    file: _File, name: str, read: Callable[[str], str | None], expected: str, do: Callable[[str], str]
) -> pandas.Series[Any]:
    """A column as text. `read`: what a cell stands for; None for one that is refused."""
    texts = ["" if missing else str(value) for value, missing in _with_missing(file.frame[name])]
    found = {text: read(text) for text in set(texts)}
    for row, text in enumerate(texts):
        if found[text] is None:
            got = "an empty cell" if not text.strip() else repr(text)
            what = f"column {name}: got {got}"
            raise DatasetError(problem(file.place(row), f"{what}, expected {expected}", do=do(text) or None))
    return _columned([found[text] for text in texts], file.frame)


def _with_missing(column: pandas.Series[Any]) -> Any:
    return zip(column.tolist(), column.isna().tolist(), strict=True)


def _columned(values: list[Any], frame: pandas.DataFrame) -> pandas.Series[Any]:
    import pandas

    return pandas.Series(values, dtype=object, index=frame.index)


def _numbers(file: _File, name: str) -> pandas.Series[Any]:
    """A column as floats, NaN where there is no value; a value out of range is refused."""
    import pandas

    column = file.frame[name]
    if file.lines is not None:
        column = _columned([_written_number(text, name) for text in column.tolist()], file.frame)
    numbers = pandas.to_numeric(column, errors="coerce")
    least, most, expected = _BOUNDS.get(name, (0.0, sys.float_info.max, "a number of 0 or more"))
    wrong = column.notna() & ~((numbers >= least) & (numbers <= most))
    if wrong.any():
        row = int(np.flatnonzero(wrong.to_numpy())[0])
        got = column.iloc[row]
        got = got.item() if hasattr(got, "item") else got
        raise DatasetError(problem(file.place(row), f"column {name}", got=got, expected=expected))
    return numbers.astype(float)


def _written_number(text: str, name: str) -> float | str | None:
    """The number in a cell of a CSV; None where it says that there is none, and the text where it is neither."""
    plain = text.strip().casefold()
    if plain in _NO_VALUE:
        return None
    if name == "score" and plain in ("true", "false"):
        return float(plain == "true")
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text
