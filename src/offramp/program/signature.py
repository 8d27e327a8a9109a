"""From the task's fields to a DSPy signature.

Invariant: the signature holds the fields and their types alone; instructions come from the candidate. A name that DSPy
takes for something else (an input called `demos` would be lost without a word) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Optional, cast

import dspy
import pydantic

from offramp.errors import SpaceError, problem
from offramp.program.inputs import MEDIA_TYPES
from offramp.space.model import OutputField
from offramp.task.fields import TaskFields

_SCALARS: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_TAKEN = frozenset({"signature", "demos", "config", "lm", "new_signature", "completions", "self"})
"""Arguments of DSPy's own that an input of that name would be taken for."""


def signature_of(fields: TaskFields, instructions: str, where: str = "") -> type[dspy.Signature]:
    """A DSPy signature with the task's fields, typed, and the given instructions.

    Args:
        where: the space file, for messages.

    Raises:
        SpaceError: DSPy cannot have a field of that name.
    """
    for name in sorted(_TAKEN & set(fields.inputs)):
        expected = f"another name than DSPy's own {', '.join(sorted(_TAKEN))}"
        do = "Rename it; `dataset.fields` maps it to its column."
        raise SpaceError(problem(where, "task: the name of an input", got=name, expected=expected, do=do))
    try:
        return _signature(fields, instructions)
    except (TypeError, ValueError, NameError, pydantic.PydanticUserError) as error:
        names = [*fields.inputs, *fields.outputs]
        what = f"task: DSPy refuses a field among {names}: {str(error).splitlines()[0]}"
        raise SpaceError(problem(where, what, do="Rename it; `dataset.fields` maps it to its column.")) from error


def _signature(fields: TaskFields, instructions: str) -> type[dspy.Signature]:
    columns: dict[str, tuple[Any, Any]] = {}
    for name in fields.inputs:
        columns[name] = (
            MEDIA_TYPES.get(fields.media.get(name, ""), str),
            dspy.InputField(**_desc(fields.input_descs.get(name))),
        )
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


class Record(pydantic.BaseModel):
    """An object that a model answered with: `invoice.vendor`, and `invoice["vendor"]` as in the JSON."""

    def __getitem__(self, name: str) -> Any:
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)


def _record(name: str, fields: Mapping[str, str]) -> type[pydantic.BaseModel]:
    columns: dict[str, Any] = {key: (_SCALARS[kind], ...) for key, kind in fields.items()}
    return pydantic.create_model(name.title().replace("_", ""), __base__=Record, **columns)
