"""The DSPy module of a candidate: its form, with its instructions and demos set on each predictor.

A task given by a signature has one predictor, called `main`. One's own module is imported by path, made anew for every
candidate, and its predictors keep the names DSPy gives them (`named_predictors`).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dspy

from offramp.errors import SpaceError, nearest, problem
from offramp.program.signature import signature_of
from offramp.records import Candidate
from offramp.space.dimensions import MAIN
from offramp.task.fields import TaskFields

ModuleFactory = Callable[[], dspy.Module]


def import_module_factory(path: str, base: Path, where: str) -> ModuleFactory:
    """The class or factory at `package.module:Name` or `file.py:Name` (relative to `base`).

    Raises:
        SpaceError: it does not import, is not callable, or does not make a dspy.Module.
    """
    source, _, name = path.partition(":")
    if not name:
        raise SpaceError(problem(where, "task.module", got=path, expected="`package.module:Name` or `file.py:Name`"))
    try:
        module = _load(source, base)
    except Exception as error:  # the user's code: whatever it raises is the message
        raise SpaceError(
            problem(where, f"task.module: {source!r} does not import: {type(error).__name__}: {error}")
        ) from error
    if not hasattr(module, name):
        raise SpaceError(problem(where, f"task.module: {source!r} has no {name!r}", do=nearest(name, dir(module))))
    factory = getattr(module, name)
    if not isinstance(_made(factory, path, where), dspy.Module):
        raise SpaceError(problem(where, f"task.module: {path!r} does not make a dspy.Module"))
    return factory  # type: ignore[no-any-return]


def _load(source: str, base: Path) -> Any:
    if not source.endswith(".py"):
        return importlib.import_module(source)
    file = (base / source).resolve()
    name = f"_offramp_{file.stem}_{abs(hash(str(file)))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _made(factory: Any, path: str, where: str) -> Any:
    try:
        return factory()
    except Exception as error:  # the user's code: whatever it raises is the message
        raise SpaceError(problem(where, f"task.module: {path!r}() raises {type(error).__name__}: {error}")) from error


def predictors_of(module: dspy.Module) -> dict[str, dspy.Predict]:
    """The predictors by name; a module with a single unnamed one calls it `main`."""
    found = dict(module.named_predictors())
    return {MAIN: next(iter(found.values()))} if set(found) <= {"self", "predict"} and len(found) == 1 else found


def build_module(
    candidate: Candidate, fields: TaskFields, factory: ModuleFactory | None, demos: Mapping[str, list[dict[str, Any]]]
) -> dspy.Module:
    """The module of a candidate, with instructions and static demos in place."""
    module = factory() if factory is not None else _standard(candidate, fields)
    for name, predictor in predictors_of(module).items():
        if name in candidate.instructions:
            predictor.signature = predictor.signature.with_instructions(candidate.instructions[name])
        if name in demos:
            predictor.demos = list(demos[name])
    return module


def _standard(candidate: Candidate, fields: TaskFields) -> dspy.Module:
    signature = signature_of(fields, candidate.instructions[MAIN])
    return dspy.ChainOfThought(signature) if candidate.form == "chain_of_thought" else dspy.Predict(signature)
