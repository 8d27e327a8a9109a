"""The fields of a task, whichever way the space file gives them: typed fields, a string signature, or a module's names.

A string signature is read here without dspy, so that checks and `--help` stay light. It knows the types that an
`OutputField` knows and nothing else: a type that would be guessed wrong is an error, never a `str`.

Invariant: no name is used twice, and every output has an `OutputField`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError

from offramp.errors import SpaceError, nearest, problem
from offramp.ids import content_hash
from offramp.space.model import OutputField, Signature, TaskPart

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_PLAIN: Mapping[str, Literal["str", "int", "float", "bool", "list[str]"]] = {
    "str": "str",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "list[str]": "list[str]",
}
_TYPED = "Write `signature` as typed fields (`inputs:` and `outputs:`), where every type has a place."


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFields:
    """Inputs in order, outputs with their types, and what the file says about each input.

    Attributes:
        input_descs: by input name; None where the file says nothing.
    """

    inputs: tuple[str, ...]
    outputs: Mapping[str, OutputField]
    input_descs: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Content hash over names, order, types and descriptions."""
        return content_hash(
            {
                "inputs": [[name, self.input_descs.get(name)] for name in self.inputs],
                "outputs": [[name, output.model_dump(mode="json")] for name, output in self.outputs.items()],
            }
        )


def task_fields(part: TaskPart, where: str) -> TaskFields:
    """The fields of a task. Raises SpaceError for a signature that cannot be read and for a name used twice.

    Args:
        part: the `task` of a space file.
        where: the space file, for messages.
    """
    if isinstance(part.signature, Signature):
        return _typed(part.signature, where)
    if part.signature is not None:
        return _parsed(part.signature, where)
    inputs, outputs = part.inputs or [], part.outputs or []
    if not inputs or not outputs:
        raise SpaceError(problem(where, "task: a module needs at least one name in `inputs` and one in `outputs`"))
    return _fields(dict.fromkeys(inputs), [(name, OutputField()) for name in outputs], inputs, where)


def _typed(signature: Signature, where: str) -> TaskFields:
    descs = {name: given.desc if given else None for name, given in signature.inputs.items()}
    outputs = [(name, given or OutputField()) for name, given in signature.outputs.items()]
    return _fields(descs, outputs, list(signature.inputs), where)


def _fields(
    descs: Mapping[str, str | None], outputs: list[tuple[str, OutputField]], inputs: list[str], where: str
) -> TaskFields:
    _refuse_twice([*inputs, *(name for name, _ in outputs)], where)
    return TaskFields(
        inputs=tuple(inputs),
        outputs=MappingProxyType(dict(outputs)),
        input_descs=MappingProxyType(dict(descs)),
    )


def _refuse_twice(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SpaceError(problem(where, f"task: the field {name!r} is there twice", do="Give each field one name."))
        seen.add(name)


# ------------------------------------------------------------------------------------- string signatures


def _parsed(text: str, where: str) -> TaskFields:
    left, right = _sides(text, where)
    inputs = [_field(piece, where) for piece in left]
    outputs = [_field(piece, where) for piece in right]
    return _fields(dict.fromkeys(name for name, _ in inputs), outputs, [name for name, _ in inputs], where)


def _sides(text: str, where: str) -> tuple[list[str], list[str]]:
    sides = _split(text, "->", where)
    if len(sides) != 2 or not all(side.strip() for side in sides):
        expected = "inputs -> outputs, such as `message -> category: Literal['a', 'b'], score: float`"
        raise SpaceError(problem(where, "task.signature", got=text, expected=expected))
    return _split(sides[0], ",", where), _split(sides[1], ",", where)


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
    return name, _output(kind if colon else "str", f"task.signature.{name}", where)


def _output(kind: str, what: str, where: str) -> OutputField:
    plain = _PLAIN.get(re.sub(r"\s+", "", kind))
    if plain is not None:
        return OutputField(type=plain)
    values = _literal_values(kind)
    if values is None:
        expected = "str, int, float, bool, list[str] or Literal['a', 'b', ...]"
        hint = " ".join(filter(None, [nearest(kind, _PLAIN), _TYPED]))
        raise SpaceError(problem(where, what, got=kind, expected=expected, do=hint))
    try:
        return OutputField(type="enum", values=values)
    except ValidationError:
        expected = "two or more different values"
        raise SpaceError(problem(where, what, got=kind, expected=expected)) from None


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
