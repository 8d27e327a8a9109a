"""From plain values to frozen records and back, by the records' own types. No library: apps load through this.

Invariant: `record_of(cls, values_of(record)) == record`; a value of the wrong type, a missing or an unknown key is a
`Mismatch` that says where.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, cast

Record = TypeVar("Record")
_WORDS: Mapping[Any, str] = {str: "text", int: "a whole number", bool: "true or false"}


class Mismatch(Exception):
    """A value that is not what the record has there: dotted key and what was expected."""


def record_of(cls: type[Record], values: Any, key: str = "") -> Record:
    """The record that the values write. Raises Mismatch."""
    if not isinstance(values, Mapping):
        raise Mismatch(_says(key, "a mapping", values))
    hints = _hints(cast(Any, cls))
    fields = {field.name: field for field in dataclasses.fields(cast(Any, cls))}
    for name in values:
        if name not in fields:
            raise Mismatch(f"{_joined(key, str(name))}: unknown key")
    made = {}
    for name, field in fields.items():
        if name in values:
            made[name] = _value(hints[name], values[name], _joined(key, name))
        elif field.default is dataclasses.MISSING:
            raise Mismatch(f"{_joined(key, name)}: missing")
    return cls(**made)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _value(kind: Any, value: Any, key: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _value(next(arg for arg in args if arg is not type(None)), value, key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise Mismatch(_says(key, "a list", value))
        return tuple(_value(args[0], item, _joined(key, str(i))) for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise Mismatch(_says(key, "a mapping with text keys", value))
        return {name: _value(args[1], item, _joined(key, name)) for name, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return record_of(cast(Any, kind), value, key)
    return _scalar(kind, value, key)


def _scalar(kind: Any, value: Any, key: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise Mismatch(_says(key, _WORDS.get(kind, "a number"), value))
    return value


def _says(key: str, expected: str, value: Any) -> str:
    return f"{key or 'the file'}: got {type(value).__name__}, expected {expected}"


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def values_of(record: Any) -> Any:
    """The record as plain values. Fields at their default of None, () or False are left out."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        found = {}
        for field in dataclasses.fields(record):
            value = getattr(record, field.name)
            if field.default is dataclasses.MISSING or value != field.default:
                found[field.name] = values_of(value)
        return found
    if isinstance(record, Mapping):
        return {name: values_of(value) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [values_of(value) for value in record]
    return record
