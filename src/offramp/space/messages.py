"""What is wrong in a space file, and the words for it: one line per problem, in the house form.

A `Problem` knows its file, line and key; `SpaceErrors` carries several. What was got is shown as the file has it
(`yes`, not True), cut short, and never where a key or token may stand.

Invariant: no message holds words of the validation library, and none is longer than a few lines of a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.errors import SpaceError, problem

AT_MOST = 10
"""Problems shown together; the rest are counted."""

_LONGEST = 80
_SECRET = re.compile(r"(^|[._-])(api_?key|key|token|secret|password|authorization)(_?env)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: the space file, as it was named.
        line: 1-based; None where nothing in the file can be pointed at.
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
    """A space file with one or more problems, the first one's first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(_lines(self.problems)))


def _lines(problems: Sequence[Problem]) -> list[str]:
    lines = [str(item) for item in problems[:AT_MOST]]
    more = len(problems) - AT_MOST
    return [*lines, f"... and {more} more."] if more > 0 else lines


def at(path: str, line: int | None) -> str:
    """`file:line`, or the file alone."""
    return path if line is None else f"{path}:{line}"


def line_of(lines: Mapping[str, int], key: str) -> int | None:
    """Line of the deepest known key on the way to `key`; None when only the file is known."""
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
    """What a message says it got: the file's own spelling for what YAML turned into something else.

    Args:
        raw: the scalar as the file has it, where it was not in quotes.
    """
    if isinstance(value, Mapping):
        return AsWritten("a mapping")
    if isinstance(value, list | tuple):
        return AsWritten("a list" if value else "an empty list")
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "..."
    if isinstance(value, bool) or value is None:
        return _keyword(value, raw)
    if raw is None and isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return AsWritten((raw or str(value))[:_LONGEST])


def _keyword(value: bool | None, raw: str | None) -> AsWritten:
    usual = "null" if value is None else str(value).lower()
    if raw is None or raw.lower() in (usual, ""):
        return AsWritten(usual)
    return AsWritten(f"{raw}, which YAML reads as {usual}")


def is_secret(key: str) -> bool:
    """Whether the value under this key may be a secret, and so is never shown."""
    return _SECRET.search(key) is not None


def say(
    key: str, note: str = "", *, got: object = None, expected: str | None = None, do: str | None = None
) -> str:  # fmt: skip
    """One message about a key. `got` is left out where it may be a secret."""
    name = _one_line(key)
    what = f"{name}: {note}" if name and note else name or note
    return problem("", what, got=None if is_secret(key) else got, expected=expected, do=do or None)


def _one_line(key: str) -> str:
    """A key as a message can hold it: on one line, and not longer than a line."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in key)
    return text if len(text) <= 2 * _LONGEST else text[: 2 * _LONGEST] + "..."


def listing(names: Sequence[str], word: str = "or") -> str:
    """`a`, `b` or `c`, in the order given."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"
