"""Gold values in a format that has only text: a cell is read by the type of its output, and by nothing else.

Text and labels stay as they are. An empty cell is null where the output may be null or cannot be text.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from offramp.errors import DatasetError, problem
from offramp.space.model import OutputField

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def typed_cell(text: str, output: OutputField, where: str) -> Any:
    """The value of a cell. Raises DatasetError where the text is not of the output's type."""
    if not text.strip() and (output.optional or output.type not in ("str", "enum")):
        return None
    if output.type in ("str", "enum"):
        return text
    try:
        return _read(text.strip(), output.type)
    except (ValueError, KeyError, RecursionError):
        raise DatasetError(problem(where, "the cell", got=text[:80], expected=_expected(output.type))) from None


def _read(text: str, kind: str) -> Any:
    match kind:
        case "int":
            return int(text)
        case "float":
            return _finite(float(text))
        case "bool":
            return _BOOLEANS[text.lower()]
        case _:
            return _of_kind(json.loads(text, parse_constant=_refuse), kind)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else _refuse(str(value))


def _of_kind(value: Any, kind: str) -> Any:
    return value if isinstance(value, dict if kind == "object" else list) else _refuse(kind)


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _expected(kind: str) -> str:
    plain = {"int": "a whole number", "float": "a number", "bool": "true or false", "object": "a JSON object"}
    return plain.get(kind, "a JSON list")
