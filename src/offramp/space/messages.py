"""Problems of a space file in words: one line each, in the house form.

A `Problem` knows its file, line and key; `SpaceErrors` carries several. A value is shown as the file has it (`yes`, not
True), cut short, and not at all where it may be a secret.

Invariant: no message holds words of the validation library, and none is longer than a few lines of a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.errors import SpaceError, problem
from offramp.printable import printable

AT_MOST = 10
"""Problems shown together; the rest are only counted."""

_LONGEST = 80
_SECRET = re.compile(r"(^|[._-])(api_?key|key|token|secret|password|authorization)(_?env)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: the space file, as it was named.
        line: 1-based; None if the problem is in no line.
        key: dotted key, list positions included (`models.0.name`); empty for the file as a whole.
        message: what is wrong and what to do, without file and line.
    """

    where: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        return f"{at(self.where, self.line)}: {self.message}"


class SpaceErrors(SpaceError):
    """A space file with one or more problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        more = len(self.problems) - AT_MOST
        lines = [*map(str, self.problems[:AT_MOST]), *([f"... and {more} more."] if more > 0 else [])]
        super().__init__("\n".join(lines))


def at(path: str, line: int | None) -> str:
    """`file:line`, or the file alone."""
    return path if line is None else f"{path}:{line}"


def line_of(lines: Mapping[str, int], key: str) -> int | None:
    """Line of `key`, or of the innermost part around it that has one; None if none has."""
    while key:
        if key in lines:
            return lines[key]
        key = key.rpartition(".")[0]
    return None


def joined(key: str, part: str | int) -> str:
    """The dotted key one step deeper."""
    return f"{key}.{part}" if key else str(part)


class AsWritten(str):
    """Text that a message shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def shown(value: Any, raw: str | None = None) -> object:
    """What a message says it got: the file's own spelling of what YAML turned into something else.

    Args:
        raw: the scalar as the file has it; None if it was in quotes.
    """
    if isinstance(value, Mapping):
        return AsWritten("a mapping")
    if isinstance(value, list | tuple):
        return AsWritten("a list" if value else "an empty list")
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "..."
    if isinstance(value, bool) or value is None:
        usual = "null" if value is None else str(value).lower()
        is_usual = raw is None or raw.lower() in (usual, "")
        return AsWritten(usual if is_usual else f"{raw}, which YAML reads as {usual}")
    if raw is None and isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return AsWritten((raw or str(value))[:_LONGEST])


def is_secret(key: str) -> bool:
    """Whether the value of this key may be a secret; then it is never shown."""
    return _SECRET.search(key) is not None


def say(
    key: str, note: str = "", *, got: object = None, expected: str | None = None, do: str | None = None
) -> str:  # fmt: skip
    """One message about a key. `got` is left out if it may be a secret."""
    name = printable(key)  # on one line, and not longer than a line
    name = name if len(name) <= 2 * _LONGEST else name[: 2 * _LONGEST] + "..."
    what = f"{name}: {note}" if name and note else name or note
    return problem("", what, got=None if is_secret(key) else got, expected=expected, do=do or None)


def listing(names: Sequence[str], word: str = "or") -> str:
    """`a`, `b` or `c`, in the order given."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"
