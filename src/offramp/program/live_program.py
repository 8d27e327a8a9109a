"""A program and a metric that are objects of this process, such as those of a notebook, as files that a job can name.

A job names code by its place. Here that place is a small file which asks this module for the object that the process
has in memory. Another process has it once the same notebook or script has run there.

Invariant: the same program, metric and code have the same name, in every process. No object is written to a file.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime
import functools
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import dspy
from pydantic import BaseModel

from offramp.errors import SpaceError, UsageError, problem
from offramp.files import make_folder, replace_file
from offramp.ids import content_hash
from offramp.program.copies import copy_for_run
from offramp.program.fingerprint import fingerprint
from offramp.program.inputs import MEDIA_TYPES
from offramp.program.module import predictors_of
from offramp.program.returned import returned_names
from offramp.task.metrics.rows import is_json

SPACE, MODULE, ROWS = "space.yaml", "program.py", "examples.jsonl"
SPLIT, ID = "_split", "_id"
"""Columns of the rows beside those of the examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a file of this process refers to."""

    program: dspy.Module
    metric: Callable[..., Any]


_kept: dict[str, Kept] = {}


def recalled(key: str, file: str) -> Kept:
    """The program and the metric of a file that `write_program` wrote.

    Raises:
        SpaceError: they are in the memory of another process.
    """
    if key not in _kept:
        do = "Run the notebook or script that has it up to its call of `compile`, and use the study in that process."
        raise SpaceError(problem(file, "the program is in the memory of another process", do=do))
    return _kept[key]


def without_models(program: dspy.Module) -> tuple[dspy.Module, dspy.BaseLM | None]:
    """A copy without the language model that all of its predictors were given (`set_lm`), and that model.

    Predictors that have different ones keep them: then each is part of the program.
    """
    copied = copy_for_run(program)
    predictors = predictors_of(copied).values()
    held = {id(p.lm): p.lm for p in predictors if p.lm is not None}
    if len(held) != 1 or any(p.lm is None for p in predictors):
        return copied, None
    for predictor in predictors:
        predictor.lm = None
    return copied, next(iter(held.values()))


def outputs_of(program: dspy.Module, labels: Sequence[str]) -> tuple[str, ...]:
    """Names of what the program gives: the labels that it returns or that a part of it writes, such as a predictor or
    an agent; where there are none, what it returns, or what the last part writes.
    """
    parts = [*predictors_of(program).values(), *(part for _, part in program.named_sub_modules())]
    signatures = [part.signature for part in parts if isinstance(getattr(part, "signature", None), type)]
    written = [list(signature.output_fields) for signature in signatures if issubclass(signature, dspy.Signature)]
    returned = returned_names(program)
    known = {name for names in (returned, *written) for name in names}
    if found := tuple(label for label in labels if label in known):
        return found
    last = returned or (written[len(predictors_of(program)) - 1] if written else [])
    return tuple(name for name in last if name not in ("reasoning", "trajectory")) or tuple(last)


def described_inputs(examples: Sequence[dspy.Example], inputs: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """Inputs as a space file has them: which are images, recordings or files, and which some examples leave null."""
    found: dict[str, dict[str, Any] | None] = {}
    for name in inputs:
        values = [example.get(name) for example in examples]
        single = [each for value in values for each in (value if isinstance(value, list | tuple) else [value])]
        kinds = [kind for kind, type_ in MEDIA_TYPES.items() if any(isinstance(each, type_) for each in single)]
        described = {"type": kinds[0]} if kinds else {}
        found[name] = {**described, **({"optional": True} if any(value is None for value in values) else {})} or None
    return found


def rows_of(splits: Mapping[str, Sequence[dspy.Example]]) -> Iterator[dict[str, Any]]:
    """The examples as rows, each with its split and an id. Raises UsageError for a value that JSON does not have."""
    for number, split, example in _numbered(splits):
        values = {name: _plain(value, split, number, name) for name, value in example.items()}
        yield {**values, SPLIT: split, ID: f"{number:05}"}


def objects_of(splits: Mapping[str, Sequence[dspy.Example]]) -> dict[str, dict[str, Any]]:
    """By id of the row, the values that a metric gets as the example has them, since JSON has them otherwise."""
    found = {}
    for number, _, example in _numbered(splits):
        objects = {name: value for name, value in example.items() if not is_json(value)}
        if objects:
            found[f"{number:05}"] = objects
    return found


def _numbered(splits: Mapping[str, Sequence[dspy.Example]]) -> Iterator[tuple[int, str, dspy.Example]]:
    pairs = ((split, example) for split, examples in splits.items() for example in examples)
    yield from ((number, split, example) for number, (split, example) in enumerate(pairs))


def _plain(value: Any, split: str, number: int, name: str) -> Any:
    if isinstance(value, dspy.Image):
        return value.url
    if isinstance(value, dspy.Audio):
        return f"data:audio/{value.audio_format};base64,{value.data}"
    if isinstance(value, dspy.File) and value.file_data:
        return value.file_data
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Enum):
        return _plain(value.value, split, number, name)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value), split, number, name)
    if isinstance(value, set | frozenset):
        return sorted((_plain(each, split, number, name) for each in value), key=str)
    if isinstance(value, Mapping):
        return {str(key): _plain(each, split, number, name) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, split, number, name) for each in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    where = f"example {number} ({split})"
    expected = "text, numbers, dates, lists, dicts, an Enum, dataclasses, pydantic objects or dspy.Image"
    raise UsageError(problem(where, f"{name!r}", got=type(value).__name__, expected=expected))


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveProgram:
    """A program of this process with its metric and rows.

    Attributes:
        program: without the language model that it runs on.
        rows: as `rows_of` gives them. objects: as `objects_of` does.
        key: hash of it all, and of what program and metric depend on (`fingerprint.py`).
    """

    program: dspy.Module
    metric: Callable[..., Any]
    rows: tuple[Mapping[str, Any], ...]
    objects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        parts = [fingerprint(self.program), fingerprint(self.metric), list(self.rows)]
        object.__setattr__(self, "key", content_hash(parts)[:12])

    def write(self, folder: Path) -> None:
        """Writes its files into the folder. Raises OSError."""
        _kept[self.key] = Kept(program=self.program, metric=_given_objects(self.metric, self.objects))
        make_folder(folder)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
        replace_file(folder / ROWS, lines.encode())
        replace_file(folder / MODULE, _TEXT.format(key=self.key).encode())


def _given_objects(metric: Callable[..., Any], objects: Mapping[str, Mapping[str, Any]]) -> Callable[..., Any]:
    """The metric, which gets the values of a row as its example had them."""
    if not objects:
        return metric
    asked, called = _as_called(metric)

    def with_objects(example: Any) -> Any:
        return example.copy(**copy.deepcopy(dict(objects.get(example.get(ID), {}))))

    def given(example: Any, *others: Any) -> Any:
        return asked(with_objects(example), *others)

    async def awaited(example: Any, *others: Any) -> Any:
        return await asked(with_objects(example), *others)

    waits = inspect.iscoroutinefunction(asked) or inspect.iscoroutinefunction(getattr(asked, "__call__", None))  # noqa: B004
    wrapped: Any = functools.wraps(metric, updated=())(awaited if waits else given)
    with contextlib.suppress(TypeError, ValueError):  # a function in C may not say
        wrapped.__signature__ = inspect.signature(called)
    return wrapped  # type: ignore[no-any-return]


def _as_called(metric: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What is called for a metric, and what has its arguments: of a module of DSPy, `forward` or `aforward`."""
    if not isinstance(metric, dspy.Module):
        return metric, metric
    name = "forward" if hasattr(type(metric), "forward") else "aforward"
    return metric if name == "forward" else metric.acall, getattr(type(metric), name).__get__(metric)


_TEXT = '''"""The program that `offramp.Optimizer` compiled; written by it, as are the other files of this folder."""

from offramp.program.live_program import recalled

KEY = "{key}"


def program():
    return recalled(KEY, __file__).program


metric = recalled(KEY, __file__).metric
'''
