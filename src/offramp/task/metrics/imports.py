"""A function by import path: `package.module:name` or `path/to/file.py:name`, relative to the space file's folder.

Invariant: whatever prevents the import is one MetricError with the reason, never a traceback from the middle of
somebody's module.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from offramp.errors import MetricError, nearest, problem
from offramp.ids import content_hash


def load_function(path: str, base: Path) -> Callable[..., Any]:
    """The function. Raises MetricError if it does not import, is not a function, or does not take two arguments."""
    place, colon, name = path.rpartition(":")
    if not (colon and place and name):
        raise MetricError(problem(path, "not an import path", expected="`package.module:name` or `file.py:name`"))
    module = _module(place, path, base)
    function = getattr(module, name, None)
    if function is None:
        do = nearest(name, (known for known in vars(module) if not known.startswith("_")))
        raise MetricError(problem(path, f"{place} has no {name!r}", do=do or None))
    return _checked(function, path)


def source_hash(function: Callable[..., Any]) -> str:
    """Content hash of the source file that the function is from, since its helpers are part of what it does.

    Without a source file, the hash of its qualified name: then a change cannot be noticed.
    """
    inner = inspect.unwrap(function)
    target = inner if inspect.isroutine(inner) else type(inner)
    file = None
    with contextlib.suppress(TypeError, OSError):
        file = inspect.getsourcefile(target)
    if file is not None and Path(file).is_file():
        return content_hash(Path(file).read_bytes().decode("utf-8", "backslashreplace"))
    return content_hash([getattr(target, "__module__", ""), getattr(target, "__qualname__", "")])


def _module(place: str, path: str, base: Path) -> ModuleType:
    is_file = place.endswith(".py")
    if is_file and not (base / place).is_file():
        folder = (base / place).parent
        do = nearest(Path(place).name, (p.name for p in folder.glob("*.py"))) or None
        raise MetricError(problem(path, "there is no such file", got=place, do=do))
    try:
        with importable(base, *([(base / place).parent] if is_file else [])):
            return run_file((base / place).resolve()) if is_file else importlib.import_module(place)
    except (Exception, SystemExit) as error:
        what = f"it does not import ({type(error).__name__}: {error})"
        raise MetricError(problem(path, what, do="Fix the module, or install what it needs.")) from error


class _Fresh(importlib.machinery.SourceFileLoader):
    """Reads the source every time: a bytecode cache misses an edit of equal length within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def run_file(file: Path) -> ModuleType:
    """Runs a file again under a name of its own, so that two files with the same name do not clash."""
    name = f"_offramp_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_Fresh(name, str(file)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and typing look a module up by its name while it runs
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def importable(*folders: Path) -> Iterator[None]:
    """With the folders at the front of the import path."""
    before = list(sys.path)
    sys.path[:0] = [str(folder.resolve()) for folder in folders]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _checked(function: Any, path: str) -> Callable[..., Any]:
    """The function, or an object of a class that can be made without arguments."""
    if inspect.isclass(function):
        function = _made(function, path)
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
    called = function if inspect.isroutine(function) else getattr(function, "forward", function)
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
