"""A space file from disk: read, judged against the models, and remembered with the line of every key.

All that is wrong is said at once, one line each with file, line and key, so that a file is mended in one go. Texts of
instructions that stand in files of their own are read when they are asked for.

Invariant: `load_space` returns a `LoadedSpace` or raises SpaceError, whatever the file holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from offramp.errors import SpaceError, nearest, problem
from offramp.ids import content_hash
from offramp.space.messages import Problem, SpaceErrors, at, line_of, say
from offramp.space.model import SCHEMA_VERSION, FileText, SpaceFile
from offramp.space.validation import validated
from offramp.space.yaml_tree import MOST_BYTES, decode, read_tree

MAIN = "main"
"""Name of the only predictor of a task that is given by a signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpace:
    """A space file that has been read.

    Attributes:
        path: as it was named.
        base: folder that relative paths in the file start from.
        lines: dotted key (list positions included, as in `models.0.name`) to 1-based line.
        text_hash: content hash of the text; comments count.
    """

    path: Path
    base: Path
    space: SpaceFile
    lines: Mapping[str, int]
    text_hash: str

    def line(self, key: str) -> int | None:
        """Line of a key, or of the deepest part of it that the file has; None where it has none."""
        return line_of(self.lines, key)

    def where(self, key: str) -> str:
        """`file:line` of a key, for messages."""
        return at(str(self.path), self.line(key))

    def changed(self, **parts: Any) -> LoadedSpace:
        """The same space with other parts, as a migration makes one. Messages then name the file and no line of it."""
        space = self.space.model_copy(update=parts)
        return replace(self, space=space, lines={}, text_hash=content_hash(space.model_dump_json()))

    def problem(self, key: str, note: str = "", *, got: object = None, expected: str | None = None,
                do: str | None = None) -> Problem:  # fmt: skip
        """What is wrong with a key."""
        message = say(key, note, got=got, expected=expected, do=do)
        return Problem(where=str(self.path), line=self.line(key), key=key, message=message)


def load_space(path: Path) -> LoadedSpace:
    """Reads a space file.

    Raises:
        SpaceError: it cannot be read, is not YAML, or does not fit the models. `SpaceErrors` lists what is wrong.
    """
    where = str(path)
    text = decode(_read(path, ".yaml", ".yml"), where)
    tree = read_tree(text, where, version=SCHEMA_VERSION)
    space = validated(SpaceFile, tree, where)
    return LoadedSpace(path=path, base=path.parent, space=space, lines=tree.lines, text_hash=content_hash(text))


def as_loaded(space: str | Path | LoadedSpace | SpaceFile, *, base: Path = Path()) -> LoadedSpace:
    """A space however it is given: the path of its file, a file that was read, or one that a program has made.

    Args:
        base: folder that relative paths of a `SpaceFile` start from; the others know theirs.

    Raises:
        SpaceError: as `load_space`.
    """
    if isinstance(space, LoadedSpace):
        return space
    if isinstance(space, SpaceFile):
        text = space.model_dump_json()
        return LoadedSpace(path=base / space.name, base=base, space=space, lines={}, text_hash=content_hash(text))
    return load_space(Path(space))


def space_from_json(text: str) -> SpaceFile:
    """The space file of a study's record (`StudyRow.space_json`). Defaults count as not stated, as in a file.

    Raises:
        ValidationError: of pydantic; the record is not of this version.
    """
    return SpaceFile.model_validate(SpaceFile.model_validate_json(text).model_dump(exclude_defaults=True))


def _read(path: Path, *endings: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise SpaceError(problem(str(path), "there is no such file", do=_beside(path, endings))) from None
    except IsADirectoryError:
        raise SpaceError(problem(str(path), "is a folder", expected="a file")) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path can be like this"
        raise SpaceError(problem(str(path), f"cannot be read ({reason})")) from None


def _beside(path: Path, endings: tuple[str, ...]) -> str:
    """The nearest name in the same folder with one of the endings (or any), as advice."""
    try:
        names = [child.name for child in path.parent.iterdir() if not endings or child.suffix in endings]
    except OSError:
        return "The folder does not exist either."
    return nearest(path.name, names) or "Check the path."


# ------------------------------------------------------------------------------------------ instructions


def variant_names(loaded: LoadedSpace) -> dict[str, tuple[str, ...]]:
    """Predictor to the names of its variants. Raises SpaceError where flat and nested forms are mixed."""
    return {predictor: tuple(variants) for predictor, variants in _nested(loaded).items()}


def instruction_texts(loaded: LoadedSpace) -> dict[str, dict[str, str]]:
    """Predictor to variant to text; the predictor is `main` where the file maps variants to texts directly.

    Raises:
        SpaceError: forms are mixed, a text is blank, or a file of a text cannot be read.
    """
    problems: list[Problem] = []
    found: dict[str, dict[str, str]] = {}
    flat = _is_flat(loaded)
    for predictor, variants in _nested(loaded).items():
        texts = found.setdefault(predictor, {})
        for name, given in variants.items():
            key = f"instructions.{name}" if flat else f"instructions.{predictor}.{name}"
            text = _text(loaded, key, given)
            if isinstance(text, Problem):
                problems.append(text)
            else:
                texts[name] = text
    if problems:
        raise SpaceErrors(problems)
    return found


def _is_flat(loaded: LoadedSpace) -> bool:
    return not any(isinstance(part, dict) for part in loaded.space.instructions.values())


def _nested(loaded: LoadedSpace) -> dict[str, dict[str, str | FileText]]:
    parts = loaded.space.instructions
    nested = {name: part for name, part in parts.items() if isinstance(part, dict)}
    flat = {name: part for name, part in parts.items() if not isinstance(part, dict)}
    if not nested:
        return {MAIN: flat}
    if flat:
        expected = "either variants with their texts, or predictors with their variants, not both"
        raise SpaceErrors(
            [loaded.problem(f"instructions.{next(iter(flat))}", "a text beside predictors", expected=expected)]
        )
    bare = [name for name in nested if not nested[name]]
    empty = [loaded.problem(f"instructions.{name}", "no variant", do="Give it a text.") for name in bare]
    if empty:
        raise SpaceErrors(empty)
    return nested


def _text(loaded: LoadedSpace, key: str, given: str | FileText) -> str | Problem:
    if isinstance(given, str):
        return given if given.strip() else loaded.problem(key, got=given, expected="text that is not blank")
    path = loaded.base / given.file
    try:
        text = decode(_read(path), str(path))
    except SpaceError as error:
        return loaded.problem(f"{key}.file", str(error))
    return text if text.strip() else loaded.problem(f"{key}.file", f"{path} is blank", expected="a text")
