"""What the user's own module is made of, by content: its source, the files of one's own that it imports, its state.

Code decides what a candidate is, as instructions do: two studies of different code are never compared. The names are
for people; two sets of code are the same when their hashes are, wherever the files are.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from offramp.ids import content_hash
from offramp.task.local_code import files_of, import_folders, is_installed, local_code, project_of

STATE, VALUES = "(state)", "(values)"
"""What the predictors of a made module have (instructions, demos); and its other plain values."""
MOST_VALUES = 1_000_000
"""An attribute with more texts and numbers than this is left out: reading it would take long."""


def code_of(path: str, base: Path, made: Sequence[dspy.Module]) -> dict[str, str]:
    """Content hash by name of what `task.module` is made of; files are named as from the project.

    Args:
        made: the module, made twice: what differs between the two says nothing, and is left out.
    """
    source = path.rpartition(":")[0]
    file = (base / source).resolve() if source.endswith(".py") else None
    starts = [file] if file is not None else [*files_of(importlib.import_module(source))]
    found = local_code([*starts, *class_files(made[0], main=False)], import_folders(base, file))
    code = {_named(file, project_of(base) or base): hash for file, hash in found.items()}
    for name, read in ((STATE, _state), (VALUES, _values)):
        with contextlib.suppress(Exception):  # a state that DSPy itself could not save says nothing either
            texts = [_text(read(module)) for module in made]
            if texts[0] == texts[-1]:
                code[name] = content_hash(texts[0])
    return code


def changed_code(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Names of what is different, was added or was removed; plain values may differ from machine to machine."""
    known, new = set(before.values()), set(after.values())
    changed = [name for name, hash in after.items() if hash not in known]
    changed += [name for name, hash in before.items() if hash not in new]
    return sorted({_for_people(name) for name in changed if name != VALUES})


def changed_in_app(before: Mapping[str, str], module: dspy.Module) -> list[str]:
    """Names of what is not as in `before`, of a module that an app made: its classes and what they import.

    Args:
        before: what was measured; empty where that is not known, and then nothing differs.
    """
    files = class_files(module) if before else []
    if not files:
        return []
    found = local_code(files, import_folders(files[0].parent, files[0]))
    code = {file.name: hash for file, hash in found.items()}
    if STATE in before:
        code[STATE] = content_hash(_text(_state(module)))
    return sorted({_for_people(name) for name, hash in code.items() if hash not in before.values()})


def _for_people(name: str) -> str:
    return "its state (instructions or demos)" if name == STATE else name


def class_files(module: dspy.Module, *, main: bool = True) -> list[Path]:
    """Source files of the classes that a module is made of, as far as they are the user's own.

    Args:
        main: False leaves out classes of `__main__`, which is another file in each process.
    """
    files = []
    for _, part in _parts(module):
        if type(part).__module__ == "__main__" and not main:
            continue
        with contextlib.suppress(TypeError, OSError):
            file = Path(inspect.getsourcefile(type(part)) or "").resolve()
            if file.is_file() and not is_installed(file):
                files.append(file)
    return list(dict.fromkeys(files))


def _parts(module: dspy.Module) -> Iterator[tuple[str, dspy.Module]]:
    yield "self", module
    yield from ((name, part) for name, part in module.named_sub_modules() if part is not module)


def _named(file: Path, root: Path) -> str:
    root = root.resolve()
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def _state(module: dspy.Module) -> Any:
    """What DSPy would save, without language models: an app may have others."""
    return {
        name: {key: value for key, value in predictor.dump_state().items() if key != "lm"}
        for name, predictor in module.named_predictors()
    }


def _values(module: dspy.Module) -> Any:
    """Plain values of the user's own classes, and the language models of the predictors."""
    found: dict[str, Any] = {
        f"{name} lm": predictor.lm.dump_state() for name, predictor in module.named_predictors() if predictor.lm
    }
    for name, part in _parts(module):
        if not type(part).__module__.startswith("dspy."):
            found[name] = {key: value for key, value in vars(part).items() if key[0] != "_" and _is_plain(value)}
    return found


def _is_plain(value: Any) -> bool:
    """Whether it is made of texts and numbers, not more than `MOST_VALUES`, and has no path of this machine."""
    todo, seen = [value], 0
    while todo:
        inner, seen = todo.pop(), seen + 1
        if isinstance(inner, dict) and all(isinstance(key, str) for key in inner):
            todo.extend(inner.values())
        elif isinstance(inner, list | tuple):
            todo.extend(inner)
        elif isinstance(inner, str):
            if inner[:1] in ("/", "~") or inner[1:3] in (":\\", ":/"):
                return False
        elif inner is not None and not isinstance(inner, bool | int | float):
            return False
        if seen + len(todo) > MOST_VALUES:
            return False
    return True


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=lambda other: type(other).__qualname__)
