"""Datasets on the Hugging Face hub, through the `datasets` package if it is installed.

Class labels are read as their names, not as numbers. If all splits are read, a column `split` says which one a row is
from, so that `splits.column: split` can keep the dataset's own splits. Code that comes with a dataset is never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from offramp.errors import DatasetError, problem
from offramp.space.model import DatasetPart
from offramp.task.readers.base import Row, Source, plain


def read_hub(part: DatasetPart) -> Source:
    """The rows of a hub dataset. Raises DatasetError if the package, the network or the dataset is missing."""
    name = str(part.hub)
    loaded = _load(part, name)
    splits = loaded if isinstance(loaded, Mapping) else {None: loaded}
    values = [row for split, data in splits.items() for row in _rows(data, split)]
    rows = tuple(Row(number=number, values=value) for number, value in enumerate(values, start=1))
    return Source(name=name, rows=rows)


def _load(part: DatasetPart, name: str) -> Any:
    try:
        import datasets
    except ImportError:
        do = "Run `pip install 'offramp[hub]'`, or download the data to a file and give `dataset.path`."
        raise DatasetError(problem(name, "a hub dataset needs the package `datasets`", do=do)) from None
    try:
        return datasets.load_dataset(name, part.config, split=part.hub_split, revision=part.revision)
    except (OSError, ValueError, RuntimeError, LookupError, httpx.HTTPError) as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        do = "Check name, config, split and network, or download the data to a file and give `dataset.path`."
        raise DatasetError(problem(name, f"cannot be read from the hub ({reason})", do=do)) from None


def _rows(data: Any, split: str | None) -> Iterator[dict[str, Any]]:
    features = getattr(data, "features", None) or {}
    names = {column: feature.int2str for column, feature in features.items() if hasattr(feature, "int2str")}
    for row in data:
        values = {column: plain(value) for column, value in row.items()}
        for column, name_of in names.items():
            if values.get(column) is not None:  # the hub writes an unknown label as -1
                values[column] = name_of(values[column]) if values[column] >= 0 else None
        yield values if split is None or "split" in values else {**values, "split": split}
