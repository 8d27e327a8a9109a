"""From the task's fields to a DSPy signature.

Invariant: the signature holds the fields and their types alone; instructions come from the candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Optional, cast

import dspy
import pydantic

from offramp.space.model import OutputField
from offramp.task.fields import TaskFields

_SCALARS: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


def signature_of(fields: TaskFields, instructions: str) -> type[dspy.Signature]:
    """A DSPy signature with the task's fields, typed, and the given instructions."""
    columns: dict[str, tuple[Any, Any]] = {}
    for name in fields.inputs:
        columns[name] = (str, dspy.InputField(**_desc(fields.input_descs.get(name))))
    for name, output in fields.outputs.items():
        columns[name] = (annotation_of(name, output), dspy.OutputField(**_desc(output.desc)))
    return cast("type[dspy.Signature]", dspy.Signature(columns, instructions))


def _desc(text: str | None) -> dict[str, str]:
    return {} if text is None else {"desc": text}


def annotation_of(name: str, output: OutputField) -> Any:
    """The Python type of one output field."""
    base: Any
    if output.type in _SCALARS:
        base = _SCALARS[output.type]
    elif output.type == "enum":
        base = Literal[tuple(output.values or ())]
    elif output.type == "list[str]":
        base = list[str]
    else:
        record = _record(name, output.fields or {})
        base = list[record] if output.type == "list[object]" else record  # type: ignore[valid-type]
    return Optional[base] if output.optional else base  # noqa: UP045 (a runtime type)


def _record(name: str, fields: Mapping[str, str]) -> type[pydantic.BaseModel]:
    columns: dict[str, Any] = {key: (_SCALARS[kind], ...) for key, kind in fields.items()}
    return pydantic.create_model(name.title().replace("_", ""), **columns)
