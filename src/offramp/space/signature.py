"""The string form of a signature, such as `message -> category: Literal['a', 'b'], score: float`, read without dspy.

Checks and `--help` stay light that way. The types are those of an `OutputField` and nothing else: a type that would be
guessed wrong is an error, never a `str`.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from offramp.errors import SpaceError, nearest, problem
from offramp.space.model import OutputField, Signature, TaskPart

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_PLAIN: Mapping[str, Literal["str", "int", "float", "bool", "list[str]"]] = {
    "str": "str",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "list[str]": "list[str]",
}

Fields = tuple[tuple[str, OutputField], ...]


def output_types(task: TaskPart) -> Mapping[str, str | None]:
    """Output name to type (as in `OutputField.type`); None where only the task's module knows the type.

    Empty for a string signature that cannot be read: that has an error of its own where the task is loaded.
    """
    if isinstance(task.signature, Signature):
        return {name: "str" if output is None else output.type for name, output in task.signature.outputs.items()}
    if task.signature is None:
        return dict.fromkeys(task.outputs or ())
    try:
        return {name: output.type for name, output in parse_signature(task.signature, "")[1]}
    except SpaceError:
        return {}


@functools.lru_cache(maxsize=64)
def parse_signature(text: str, where: str) -> tuple[Fields, Fields]:
    """Inputs and outputs in order. Raises SpaceError for text that cannot be read.

    Args:
        where: the space file, for messages.
    """
    sides = _split(text, "->", where)
    if len(sides) != 2 or not all(side.strip() for side in sides):
        expected = "inputs -> outputs, such as `message -> category: Literal['a', 'b'], score: float`"
        raise SpaceError(problem(where, "task.signature", got=text, expected=expected))
    given = [re.sub(r":\s*(dspy\s*\.\s*)?(Image|Audio|File)\s*$", "", piece) for piece in _split(sides[0], ",", where)]
    inputs = tuple(_field(piece, where) for piece in given)  # `TaskPart.media` says which are media
    outputs = tuple(_field(piece, where) for piece in _split(sides[1], ",", where))
    return inputs, outputs


def _split(text: str, mark: str, where: str) -> list[str]:
    """Pieces of `text` between marks that are outside brackets and quotes."""
    pieces, start, depth, quote, i = [], 0, 0, "", 0
    while i < len(text):
        char = text[i]
        if quote:
            i += char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif text.startswith(mark, i) and depth == 0:
            pieces.append(text[start:i])
            i += len(mark) - 1
            start = i + 1
        else:
            depth += (char in "[(") - (char in "])")
        i += 1
    if quote or depth:
        raise SpaceError(problem(where, "task.signature: a bracket or quote is not closed", got=text))
    return [*pieces, text[start:]]


def _field(piece: str, where: str) -> tuple[str, OutputField]:
    name, colon, kind = (part.strip() for part in piece.partition(":"))
    if not _NAME.match(name):
        raise SpaceError(problem(where, "task.signature: not a field name", got=name, expected="letters, digits and _"))
    kind = kind if colon else "str"
    plain = _PLAIN.get(re.sub(r"\s+", "", kind))
    if plain is not None:
        return name, OutputField(type=plain)
    values = _literal_values(kind)
    what = f"task.signature.{name}"
    if values is None:
        expected = "str, int, float, bool, list[str] or Literal['a', 'b', ...]"
        do = "For any other type write `signature` as typed fields (`inputs:` and `outputs:`)."
        do = " ".join(filter(None, [nearest(kind, _PLAIN), do]))
        raise SpaceError(problem(where, what, got=kind, expected=expected, do=do))
    try:
        return name, OutputField(type="enum", values=values)
    except ValidationError:
        raise SpaceError(problem(where, what, got=kind, expected="two or more different values")) from None


def _literal_values(kind: str) -> list[str] | None:
    """The strings of `Literal['a', 'b']`, or None when the text is anything else."""
    try:
        node: Any = ast.parse(kind, mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return None
    if not isinstance(node, ast.Subscript) or ast.unparse(node.value) not in ("Literal", "typing.Literal"):
        return None
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    values = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return values if len(values) == len(items) else None
