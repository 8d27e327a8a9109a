"""Promotion records as plain values and as YAML, and back. Apps load promotions through this, so it needs only yaml.

YAML is written in block style, keys in their order, long texts as literal blocks, without anchors; it is read with
nothing that could run or blow up: at most `MOST_BYTES`, no aliases, no tags, no duplicate keys, no depth that would
overflow the stack.

Invariants: `record_of(cls, values_of(record)) == record`; a value of the wrong type, a missing or an unknown key is a
`Mismatch` that says where. `read_yaml(yaml_text(values))` is the values, for every JSON value; other text raises
`Unreadable`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import yaml

MOST_BYTES = 4 * 1024 * 1024
DEEPEST = 60
Record = TypeVar("Record")
_WORDS: Mapping[Any, str] = {str: "text", int: "a whole number", bool: "true or false"}
_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


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


class Unreadable(Exception):
    """Text that is not one plain YAML document, in words."""


def read_yaml(content: bytes) -> Any:
    """The values that the text writes. Raises Unreadable."""
    if len(content) > MOST_BYTES:
        raise Unreadable(f"it is larger than {MOST_BYTES:,} bytes")
    try:
        loader = _Loader(content.decode("utf-8"))
        node = loader.get_single_node()
        if node is None:
            raise Unreadable("it is empty")
        _check(node, set(), 0)
        return loader.construct_document(node)
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(f"line {mark.line + 1 if mark else '?'}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise Unreadable(" ".join(str(error).split())[:200] or type(error).__name__) from None


def _check(node: yaml.Node, seen: set[int], depth: int) -> None:
    at = f"line {node.start_mark.line + 1}"
    if id(node) in seen:
        raise Unreadable(f"{at}: an alias (`*name`), which is not allowed here")
    if node.tag not in _PLAIN:
        raise Unreadable(f"{at}: a tag or kind of value that is not allowed here ({node.tag.removeprefix(_TAG)})")
    if depth > DEEPEST:
        raise Unreadable(f"{at}: nested more than {DEEPEST} deep")
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check(child, seen, depth + 1)
    elif isinstance(node, yaml.MappingNode):
        names = set()
        for name, child in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag != f"{_TAG}str":
                raise Unreadable(f"line {name.start_mark.line + 1}: a key that is not text")
            if name.value in names:
                raise Unreadable(f"line {name.start_mark.line + 1}: duplicate key {name.value!r}")
            names.add(name.value)
            _check(name, seen, depth + 1)
            _check(child, seen, depth + 1)


_DIGITS = re.compile(r"[-+]?(?:0[obx][\da-fA-F_]+|\.?\d[\d_.]*(?:[eE][-+]?\d+)?)")
"""Texts such as 1e3 and 0o17, which YAML 1.2 takes for numbers and PyYAML leaves without quotes."""


class _Readable(_Dumper):  # type: ignore[misc]
    """Literal blocks for texts of several lines; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors: a repeated value is written again."""
        return True


def _text(dumper: Any, text: str) -> yaml.Node:
    style = "|" if "\n" in text else "'" if _DIGITS.fullmatch(text) else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)  # type: ignore[no-any-return]


_Readable.add_representer(str, _text)


def yaml_text(values: Any) -> str:
    """JSON values as YAML. Raises ValueError for what YAML would not give back, such as half a surrogate pair."""
    try:
        text: str = yaml.dump(values, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=4096)
        same = read_yaml(text.encode("utf-8")) == values
    except (Unreadable, UnicodeEncodeError):
        same = False
    if not same:
        raise ValueError("it contains characters that a text file cannot store")
    return text
