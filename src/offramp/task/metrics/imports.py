"""A function by import path: `package.module:name` or `path/to/file.py:name`, relative to the space file's folder.

Invariant: whatever prevents the import is one MetricError with the reason, never a traceback from the middle of
somebody's module.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from offramp.errors import MetricError, nearest, problem
from offramp.ids import content_hash
from offramp.task.local_code import (
    files_of,
    import_code,
    import_folders,
    is_installed,
    local_code,
    text_hash,
    why_not_imported,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedMetric:
    """A user's metric and what it is made of.

    Attributes:
        more: how many arguments it needs beside example and prediction.
        by_predictor: whether it takes GEPA's trace, pred_name and pred_trace.
        code_hash: over its own file, and over the user's other files that it imports, where there are such.
        file_hash: over its own file alone, as earlier releases had it.
    """

    function: Callable[..., Any]
    more: int
    by_predictor: bool
    code_hash: str
    file_hash: str


def load_metric(path: str, base: Path) -> LoadedMetric:
    """The metric at an import path.

    Raises:
        MetricError: it does not import, is not a function, or cannot be called with an example and a prediction.
    """
    place, colon, name = path.rpartition(":")
    if not (colon and place and name):
        raise MetricError(problem(path, "not an import path", expected="`package.module:name` or `file.py:name`",
                                  do=f"Name the function: {path}:score."))  # fmt: skip
    module = _module(place, path, base)
    function = getattr(module, name, None)
    if function is None:
        do = nearest(name, (known for known in vars(module) if not known.startswith("_")))
        raise MetricError(problem(path, f"{place} has no {name!r}", do=do or None))
    function = _checked(function, path)
    more, by_predictor = more_arguments(function, path)
    own, file_hash = _own_file(function)
    starts = [file for file in {*files_of(module), *own} if not is_installed(file)]
    code = local_code(starts, import_folders(base, base / place if place.endswith(".py") else None))
    others = sorted(hash for file, hash in code.items() if file not in own)
    return LoadedMetric(
        function=function, more=more, by_predictor=by_predictor, file_hash=file_hash,
        code_hash=content_hash([file_hash, *others]) if others else file_hash,
    )  # fmt: skip


def _own_file(function: Callable[..., Any]) -> tuple[tuple[Path, ...], str]:
    """The source file that the function is from, and its content hash.

    Without a source file, the hash of its qualified name: then a change cannot be noticed.
    """
    inner = inspect.unwrap(function)
    target = inner if inspect.isroutine(inner) else type(inner)
    file = None
    with contextlib.suppress(TypeError, OSError):
        file = inspect.getsourcefile(target)
    if file is not None and Path(file).is_file():
        return (Path(file).resolve(),), text_hash(Path(file))
    return (), content_hash([getattr(target, "__module__", ""), getattr(target, "__qualname__", "")])


def _module(place: str, path: str, base: Path) -> ModuleType:
    try:
        return import_code(place, base)
    except (Exception, SystemExit) as error:
        why = why_not_imported(error, place, base)
        fix = None if why.rstrip().endswith((".", "?")) else "Fix the file."
        raise MetricError(problem(path, f"it does not import: {why}", do=fix)) from error


def _checked(function: Any, path: str) -> Callable[..., Any]:
    """The function, or an object of a class that can be made without arguments."""
    if inspect.isclass(function):
        function = _made(function, path)
    if hasattr(function, "aforward") and not hasattr(type(function), "forward"):
        function = function.acall  # a module of DSPy that can only be awaited
    if not callable(function):
        got = type(function).__name__
        raise MetricError(problem(path, "not a function", got=got, expected="a function (example, prediction)"))
    more_arguments(function, path)
    return function  # type: ignore[no-any-return]


def _made(kind: type, path: str) -> Any:
    if "__call__" not in dir(kind):
        raise MetricError(problem(path, "not a function", got="type", expected="a function (example, prediction)"))
    try:
        return kind()
    except Exception as error:
        what = f"{kind.__name__}() raises {type(error).__name__}: {error}"
        do = f"Make an object of it in a file of your own, and name that: `metric = {kind.__name__}(...)`."
        raise MetricError(problem(path, what, do=do)) from error


_GEPA = ("trace", "pred_name", "pred_trace")


def more_arguments(function: Callable[..., Any], path: str) -> tuple[int, bool]:
    """How many arguments beside example and prediction it needs, and whether it takes GEPA's three.

    GEPA's metrics are (gold, pred, trace, pred_name, pred_trace).

    Raises:
        MetricError: it cannot be called so.
    """
    kept = None if inspect.isroutine(function) else getattr(type(function), "forward", None)  # DSPy warns who asks it
    called = function if kept is None else kept.__get__(function)
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return 0, False  # a function in C may not say
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in signature.parameters.values() if p.kind in positional and p.default is p.empty]
    more = [name.strip("_") for name in needed[2:]]
    try:
        signature.bind(*[None] * max(2, len(needed)))
    except TypeError as error:
        what = f"cannot be called with (example, prediction): {error}"
        raise MetricError(problem(path, what, got=str(signature))) from None
    if len(needed) == 5 or set(more) <= set(_GEPA):
        return len(more), len(needed) == 5 or "pred_name" in signature.parameters
    expected = f"(example, prediction), and none or all of {', '.join(_GEPA)} beside them"
    raise MetricError(problem(path, "its arguments", got=str(signature), expected=expected))
