"""Names and types of a task's outputs, as far as the space file alone tells them.

A string signature is only looked at: it is read for good, with messages, where the task is loaded.

Invariant: an unreadable signature gives no outputs, never a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from offramp.space.model import Signature, TaskPart

_FIELD = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?::(.*))?\Z", re.DOTALL)


def output_types(task: TaskPart) -> Mapping[str, str | None]:
    """Output name to type (as in `OutputField.type`); None where the type is not known here.

    Empty where a string signature cannot be read.
    """
    if isinstance(task.signature, Signature):
        return {name: "str" if output is None else output.type for name, output in task.signature.outputs.items()}
    if task.signature is None:
        return dict.fromkeys(task.outputs or ())
    return _of_text(task.signature)


def _of_text(text: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for piece in _pieces(text.partition("->")[2]):
        match = _FIELD.match(piece)
        if match is None:
            return {}
        found[match[1]] = _type((match[2] or "str").replace(" ", ""))
    return found


def _type(text: str) -> str | None:
    if text.startswith(("Literal[", "typing.Literal[")):
        return "enum"
    return text if text in ("str", "int", "float", "bool", "list[str]") else None


def _pieces(text: str) -> list[str]:
    """Parts between commas that are outside brackets and quotes."""
    pieces, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            depth += (char in "[(") - (char in "])")
        if char == "," and not depth and not quote:
            pieces.append("")
        else:
            pieces[-1] += char
    return pieces
