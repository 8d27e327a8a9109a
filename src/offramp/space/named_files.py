"""The files that a space file names: data, texts and Python code, each with the key that names it.

Invariant: finding out opens no file for more than a look at whether it can be read, and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from offramp.space.load import LoadedSpace
from offramp.space.messages import SpaceErrors
from offramp.space.model import FileText, MixMetric, PythonMetric
from offramp.space.readable import why_unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Something outside of the space file that it names.

    Attributes:
        key: dotted key.
        value: as the file has it; of code, `file.py:name` or `package.module:name`.
        file: path relative to the space file's folder; None for a Python module that is named by its import path.
    """

    key: str
    value: str
    file: str | None

    @property
    def module(self) -> str:
        """Of code, the part before the colon."""
        return self.value.rpartition(":")[0]


def named_by(loaded: LoadedSpace) -> Iterator[Named]:
    """All files and Python modules that the space file names, in the order in which they are read."""
    space = loaded.space
    for name, part in space.instructions.items():
        for variant, given in (part if isinstance(part, dict) else {"": part}).items():
            if isinstance(given, FileText):
                key = f"instructions.{name}{f'.{variant}' if variant else ''}.file"
                yield Named(key=key, value=given.file, file=given.file)
    code = [*_metrics(space.metric, "metric"), *(("program.form", check) for check in space.checks)]
    code += [("task.module", space.task.module)] if space.task.module is not None else []
    for key, value in code:
        place = value.rpartition(":")[0]
        yield Named(key=key, value=value, file=place if place.endswith(".py") else None)
    if space.dataset.path is not None:
        yield Named(key="dataset.path", value=space.dataset.path, file=space.dataset.path)


def refuse_missing_files(loaded: LoadedSpace) -> None:
    """Refuses files that are missing or cannot be read. Raises SpaceErrors with all of them."""
    found = [
        loaded.problem(named.key, **why) for named in named_by(loaded)
        if named.file is not None and (why := why_unreadable(loaded.base, named.file)) is not None
    ]  # fmt: skip
    if found:
        raise SpaceErrors(sorted(found, key=lambda item: item.line or 0))


def _metrics(metric: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(metric, PythonMetric):
        yield f"{key}.path", metric.path
    elif isinstance(metric, MixMetric):
        for index, part in enumerate(metric.parts):
            yield from _metrics(part, f"{key}.parts.{index}")
