"""A space file from disk: read, validated against the models, and kept with the line of every key.

Everything that is wrong is reported at once, one line each with file, line and key. Instructions that are in files of
their own are read when they are asked for.

Invariant: `load_space` returns a `LoadedSpace` or raises SpaceError, whatever the file holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from offramp.errors import SpaceError, nearest, problem
from offramp.ids import content_hash
from offramp.space.forms import MAIN
from offramp.space.messages import Problem, SpaceErrors, at, line_of, say
from offramp.space.model import OWN, SCHEMA_VERSION, FileText, SpaceFile, Variants
from offramp.space.readable import why_unreadable
from offramp.space.validation import validated
from offramp.space.yaml_tree import MOST_BYTES, decode, read_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpace:
    """A space file that has been read.

    Attributes:
        path: as the caller gave it.
        base: folder that relative paths in the file start from.
        lines: dotted key (list positions included, as in `models.0.name`) to 1-based line.
        text_hash: content hash of the text; comments count.
        trusted: whether its user has said that it may reach beyond its project, as a program's own space may.
    """

    path: Path
    base: Path
    space: SpaceFile
    lines: Mapping[str, int]
    text_hash: str
    trusted: bool = False

    def line(self, key: str) -> int | None:
        """Line of a key, or of the innermost part around it that has one; None if none has."""
        return line_of(self.lines, key)

    def where(self, key: str) -> str:
        """`file:line` of a key, for messages."""
        return at(str(self.path), self.line(key))

    def changed(self, **parts: Any) -> LoadedSpace:
        """The same space with other parts, as a migration makes one. Messages then name the file without a line."""
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
        SpaceError: it cannot be read, is not YAML, or does not fit the models (`SpaceErrors`, with every problem).
    """
    where = str(path)
    text = decode(_read(path, ".yaml", ".yml"), where)
    tree = read_tree(text, where, version=SCHEMA_VERSION)
    space = validated(SpaceFile, tree, where)
    return LoadedSpace(path=path, base=path.parent, space=space, lines=tree.lines, text_hash=content_hash(text))


def as_loaded(
    space: str | Path | LoadedSpace | SpaceFile, *, base: Path = Path(), trust: bool = False
) -> LoadedSpace:  # fmt: skip
    """A space, whether given by its path, as one that was loaded, or as a `SpaceFile` that a program made.

    Args:
        base: folder that relative paths of a `SpaceFile` start from.
        trust: whether the file may reach beyond its project.

    Raises:
        SpaceError: as `load_space`.
    """
    if isinstance(space, LoadedSpace):
        return replace(space, trusted=space.trusted or trust)
    if isinstance(space, SpaceFile):
        text = space.model_dump_json()
        hash_ = content_hash(text)
        return LoadedSpace(path=base / space.name, base=base, space=space, lines={}, text_hash=hash_, trusted=True)
    return replace(load_space(Path(space)), trusted=trust)


def space_from_json(text: str) -> SpaceFile:
    """The space file in a study's record (`StudyRow.space_json`). Defaults count as not stated, as in a file.

    Raises:
        ValidationError: pydantic's, for a record of another version.
    """
    return SpaceFile.model_validate(SpaceFile.model_validate_json(text).model_dump(exclude_defaults=True))


def _read(path: Path, *endings: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        try:
            names = [child.name for child in path.parent.iterdir() if not endings or child.suffix in endings]
            do = nearest(path.name, names) or "Check the path."
        except OSError:
            do = "The folder does not exist either."
        raise SpaceError(problem(str(path), "there is no such file", do=do)) from None
    except IsADirectoryError:
        raise SpaceError(problem(str(path), "is a folder", expected="a file")) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid path"
        raise SpaceError(problem(str(path), f"cannot be read ({reason})")) from None


# ------------------------------------------------------------------------------------------ instructions


def variant_names(loaded: LoadedSpace) -> dict[str, tuple[str, ...]]:
    """Predictor to the names of its variants. Raises SpaceError if some are texts and others predictors."""
    return {predictor: tuple(variants) for predictor, variants in _nested(loaded).items()}


def instruction_texts(loaded: LoadedSpace) -> dict[str, dict[str, str]]:
    """Predictor to variant to text; the predictor is `main` if the file maps variants to texts directly.

    Raises:
        SpaceError: some are texts and others predictors, a text is blank, or its file cannot be read.

    The text of a module's own instruction (`own:`) is "" here: the space file does not know it.
    """
    problems: list[Problem] = []
    found: dict[str, dict[str, str]] = {}
    flat = not any(isinstance(part, dict) for part in loaded.space.instructions.values())
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


def _nested(loaded: LoadedSpace) -> dict[str, Variants]:
    parts = loaded.space.instructions
    nested = {name: part for name, part in parts.items() if isinstance(part, dict)}
    flat: Variants = {name: part for name, part in parts.items() if not isinstance(part, dict)}
    if not nested:
        return {MAIN: flat} if flat else {}
    if flat:
        expected = "either variants with their texts, or predictors with their variants, not both"
        key = f"instructions.{next(iter(flat))}"
        raise SpaceErrors([loaded.problem(key, "a text next to predictors", expected=expected)])
    empty = [name for name in nested if not nested[name]]
    if empty:
        do = "Add at least one."
        raise SpaceErrors([loaded.problem(f"instructions.{name}", "no variants", do=do) for name in empty])
    return nested


def _text(loaded: LoadedSpace, key: str, given: str | FileText | None) -> str | Problem:
    if not given and key.endswith(f".{OWN}") and loaded.space.task.module is not None:
        return ""
    if given is None:
        own = loaded.space.task.module is not None
        do = (
            f"Write it, or call it `{OWN}` where it is the module's own." if own else "Write it, or remove the variant."
        )
        return loaded.problem(key, "has no text", do=do)
    if isinstance(given, str):
        return given if given.strip() else loaded.problem(key, got=given, expected="text that is not blank")
    if (why := why_unreadable(loaded.base, given.file)) is not None:
        return loaded.problem(f"{key}.file", **why)
    path = loaded.base / given.file
    try:
        text = decode(_read(path), str(path))
    except SpaceError as error:
        return loaded.problem(f"{key}.file", str(error))
    return text if text.strip() else loaded.problem(f"{key}.file", f"{path} is blank", expected="a text")
