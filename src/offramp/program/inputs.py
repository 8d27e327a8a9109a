"""Inputs as a program declares them: images from references, conversations from lists, records from JSON objects.

A row of a dataset holds texts and JSON; what a program is called with has the types of its `forward`, or else of the
predictor that has an input of that name. A value that does not fit is handed on as it is: the program says what is
wrong with it.
"""

from __future__ import annotations

import copy
import functools
import inspect
import os
import typing
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import dspy
import pydantic

from offramp import media
from offramp.errors import UsageError, problem
from offramp.program.values import base_of, plain_text
from offramp.task.fields import TaskFields

MEDIA_TYPES: Mapping[str, type] = {"image": dspy.Image, "audio": dspy.Audio, "file": dspy.File}


def inputs_of(
    values: Mapping[str, Any], fields: TaskFields, declared: Mapping[str, Any] | None,
    defaults: Container[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """What a program is called with for a row.

    Args:
        declared: types by input of the user's own module; None for a task given by a signature, whose inputs are texts
            (anything else goes as JSON) or media.
        defaults: inputs that the module has a default for, which holds where a row has null, or an app gives nothing.
    """
    inputs = {}
    for name in fields.inputs:
        value = values.get(name)
        if value is None and name in defaults:
            continue
        if name in fields.media and value is not None:
            kind = fields.media[name]
            several = isinstance(value, list | tuple)
            inputs[name] = [media_of(each, kind, name) for each in value] if several else media_of(value, kind, name)
        elif declared is None:
            inputs[name] = plain_text(value)
        else:  # a module may change its inputs
            inputs[name] = as_declared(copy.deepcopy(value), declared.get(name))
    return inputs


def defaulted(module: dspy.Module, entry: str) -> frozenset[str]:
    """Inputs that may be left out, because `forward` has a default for them."""
    try:
        parameters = inspect.signature(getattr(type(module), entry)).parameters
    except (AttributeError, TypeError, ValueError):  # it has none, or one without a signature
        return frozenset()
    return frozenset(name for name, each in parameters.items() if each.default is not inspect.Parameter.empty)


def declared_types(module: dspy.Module, entry: str, predictors: Mapping[str, dspy.Predict]) -> dict[str, Any]:
    """Type by input: what `forward` says, else what a predictor says that has an input of the name."""
    found: dict[str, Any] = {}
    for predictor in reversed(list(predictors.values())):
        found |= {name: field.annotation for name, field in predictor.signature.input_fields.items()}
    function = getattr(type(module), entry)
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 (a name that exists for type checkers alone: the program runs without it)
        hints = {}
    names = inspect.signature(function).parameters
    return found | {name: hint for name, hint in hints.items() if name in names}


def as_declared(value: Any, annotation: Any) -> Any:
    """The value as the type that is declared for it, where it is not of that type and can be made one."""
    base, _ = base_of(annotation)
    if base in (None, Any, str, inspect.Parameter.empty) or value is None:
        return value
    for kind, type_ in MEDIA_TYPES.items():
        if base is type_:
            known = isinstance(value, bytes) or (isinstance(value, str) and _stands_for_itself(value))
            return media_of(value, kind, kind) if known else value
    if get_origin(base) is list and isinstance(value, list):
        return [as_declared(item, get_args(base)[0]) for item in value]
    if base is dspy.History and isinstance(value, list):
        value = {"messages": value}
    try:
        return pydantic.TypeAdapter(annotation).validate_python(value)
    except (pydantic.PydanticUserError, pydantic.ValidationError):
        return value


def media_of(value: Any, kind: str, name: str) -> Any:
    """An image, a recording or a file for DSPy from a reference, an address, bytes, a Path, or such an object itself.

    A text is never taken for a path: it may be a stranger's.

    Raises:
        UsageError: it is none of these, or cannot be read.
    """
    if isinstance(value, MEDIA_TYPES[kind]):
        return value
    if isinstance(value, bytes | bytearray):
        value = media.of_bytes(bytes(value))
    elif isinstance(value, str) and value.startswith("data:"):
        value = media.of_data_uri(value) or value
    elif isinstance(value, os.PathLike):
        try:
            value = media.of_file(Path(value))
        except OSError as error:
            raise UsageError(problem(name, f"the {kind} {str(value)!r} cannot be read ({error.strerror})")) from None
    if isinstance(value, str) and _stands_for_itself(value):
        return _made(value, kind)
    if isinstance(value, str):
        expected, do = "an address, a data: address, bytes or a pathlib.Path", "Wrap a path of yours in pathlib.Path."
        raise UsageError(problem(name, f"not of `type: {kind}`", got=value[:80], expected=expected, do=do))
    try:
        return MEDIA_TYPES[kind](value)  # such as an image of Pillow
    except (TypeError, ValueError) as error:
        expected = f"a path, an address, bytes or a dspy.{MEDIA_TYPES[kind].__name__}"
        raise UsageError(
            problem(name, f"not of `type: {kind}`", got=type(value).__name__, expected=expected)
        ) from error


def _stands_for_itself(value: str) -> bool:
    return media.is_reference(value) or media.is_remote(value)


@functools.lru_cache(maxsize=64)
def _made(value: str, kind: str) -> Any:
    if media.is_remote(value) and kind != "image":
        do = "Download it and name the file: providers fetch images alone."
        raise UsageError(problem(value, f"an address of `type: {kind}`", do=do))
    if kind == "image":
        return dspy.Image(value if media.is_remote(value) else media.data_uri(value))
    uri = media.data_uri(value)
    if kind == "audio":
        return dspy.Audio(uri)
    return dspy.File(file_data=uri)  # with a name, DSPy refuses it
