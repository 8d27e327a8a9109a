"""Gold values read by the type of the output that they are compared with, alike for every format.

A value that says the same in another form becomes the value of the type: 0 and 1, `true` and `yes` a boolean, `"5"` and
5.0 a whole number, JSON text a list or an object. A value that no answer of the type can equal is refused with the row:
every candidate would be wrong there without a word.

What a user's module gives is known from the signatures of its predictors alone, and its code may change it. Such a type
converts, and refuses only where other rows of the column are of it.

Invariant: a value of the type stays what it is.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import pydantic

from offramp.errors import DatasetError, problem
from offramp.ids import canonical_json
from offramp.records import Example
from offramp.space.messages import shown
from offramp.space.model import OutputField
from offramp.task.metrics._base import Comparison, How, is_empty
from offramp.task.metrics.number import EXPECTED as NUMBER
from offramp.task.metrics.number import last_number

Kind = Literal["text", "int", "float", "bool", "list", "object"]

EXPECTED: Mapping[str, str] = {
    "text": "text or a number",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a JSON list",
    "object": "a JSON object",
}
_BOOLEANS = {"true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False}
_LONGEST = 300
"""Digits of a whole number."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldType:
    """The type of an output, as far as gold is read by it.

    Attributes:
        item: of a list; None where it may hold anything.
        fields: of an object; None where they are not known.
        is_sure: whether answers are of this type for sure, as those of an output that the space file declares.
    """

    kind: Kind = "text"
    optional: bool = False
    item: GoldType | None = None
    fields: Mapping[str, GoldType] | None = None
    is_sure: bool = False


class Unreadable(ValueError):
    """A value that no answer of the type can equal: `path` leads to the part that is wrong (`.quantity`)."""

    def __init__(self, value: object, expected: str, path: str = "") -> None:
        super().__init__(f"got {value!r}, expected {expected}")
        self.value, self.expected, self.path = value, expected, path


# ------------------------------------------------------------------------------------------------- types


def type_of_output(output: OutputField) -> GoldType:
    """The type that a space file declares."""
    kinds: Mapping[str, Kind] = {"str": "text", "enum": "text", "list[str]": "list", "list[object]": "list"}
    kind: Kind = kinds.get(output.type, output.type)  # type: ignore[arg-type]
    fields = {name: type_of_output(OutputField(type=of)) for name, of in (output.fields or {}).items()}
    item = GoldType(kind="object", fields=fields, is_sure=True) if fields else GoldType(is_sure=True)
    return GoldType(
        kind=kind,
        optional=output.optional,
        item=item if kind == "list" else None,
        fields=fields if kind == "object" else None,
        is_sure=True,
    )


def type_of_annotation(annotation: Any) -> GoldType:
    """The type that an annotation of a field says; text where it is anything else, such as a label or a union."""
    base, optional = annotation, False
    if get_origin(annotation) in (Union, types.UnionType):
        others = [part for part in get_args(annotation) if part is not type(None)]
        optional = len(others) < len(get_args(annotation))
        base = others[0] if len(others) == 1 else None
    scalars: Mapping[Any, Kind] = {int: "int", float: "float", bool: "bool"}
    if isinstance(base, type) and base in scalars:
        return GoldType(kind=scalars[base], optional=optional)
    origin = get_origin(base) or base
    if not isinstance(origin, type) or origin.__module__.partition(".")[0] == "dspy":
        return GoldType(optional=optional)
    if issubclass(origin, list | tuple | set | frozenset):
        args = get_args(base)
        item = type_of_annotation(args[0]) if len(args) == 1 or args[1:] == (...,) else None
        return GoldType(kind="list", optional=optional, item=item)
    if issubclass(origin, pydantic.BaseModel):
        fields = {info.alias or name: type_of_annotation(info.annotation) for name, info in origin.model_fields.items()}
        return GoldType(kind="object", optional=optional, fields=fields)
    if issubclass(origin, Mapping) or typing.is_typeddict(origin) or dataclasses.is_dataclass(origin):
        return GoldType(kind="object", optional=optional)
    return GoldType(optional=optional)


# ------------------------------------------------------------------------------------------------ columns


def read_columns(
    examples: Sequence[Example], compared: Iterable[Comparison], types_of: Mapping[str, GoldType],
    at: Callable[[int], str], *, kept: Collection[str] = (), text_cells: bool = False, refuse: bool = True,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """By example id, the gold values that are read as another than the dataset has. Raises DatasetError with the row.

    Args:
        types_of: by output.
        at: the place of a row.
        kept: columns that are checked and stay as they are: a program is given them.
        text_cells: whether the format has nothing but text, so that a blank cell may stand for null.
        refuse: whether a value that no answer can equal is refused; else its column stays as the dataset has it.
    """
    found: dict[str, dict[str, Any]] = {}
    by_column: dict[str, list[Comparison]] = {}
    for one in sorted(compared, key=lambda one: (one.column != one.field, one.field, one.how)):
        by_column.setdefault(one.column, []).append(one)
    for column, comparisons in by_column.items():
        readings = [_column(examples, one, types_of[one.field], at, text_cells, refuse) for one in comparisons]
        for i, example in enumerate(examples if column not in kept else ()):
            values = {canonical_json(reading[i]): reading[i] for reading in readings}
            old = canonical_json(example.values.get(column))
            if len(values) == 1 and old not in values:
                found.setdefault(example.id, {})[column] = next(iter(values.values()))
    return found


def _column(
    examples: Sequence[Example], one: Comparison, of: GoldType, at: Callable[[int], str], text_cells: bool, refuse: bool
) -> list[Any]:
    """The column as one metric compares it with one output, in order."""
    raw = [example.values.get(one.column) for example in examples]
    raw = [None if text_cells and of.optional and is_blank(value) else value for value in raw]
    read: list[Any] = []
    wrong: list[tuple[Example, Unreadable]] = []
    for example, value in zip(examples, raw, strict=True):
        try:
            read.append(read_gold(value, of, one.how))
        except Unreadable as unreadable:
            wrong.append((example, unreadable))
    if refuse and wrong and (of.is_sure or one.how == "number" or any(value is not None for value in read)):
        example, error = wrong[0]
        what = f"{one.column}{error.path}"
        raise DatasetError(
            problem(at(example.row), what, got=shown(error.value), expected=error.expected, do=_do(one, of))
        )
    if wrong:  # the module's code makes something else of it, or a study has run on it as it is
        read = raw
    for example, value in zip(examples, read, strict=True):
        if refuse and value is None and not of.optional:
            raise DatasetError(
                problem(at(example.row), f"{one.column!r} is null", expected="a value", do=_fill(one, of))
            )
    return read


def _do(one: Comparison, of: GoldType) -> str:
    if one.how == "number":
        return "Correct the row: write the number so, with nothing else joined to its digits."
    if of.is_sure:
        return f"No answer of output {one.field!r} can equal it: correct the row, or the output's type under `task`."
    return f"The module's signature declares output {one.field!r} so: correct the row, or the signature."


def _fill(one: Comparison, of: GoldType) -> str:
    if of.is_sure:
        return "Fill it in, drop the row, or mark the output `optional: true` if null is a valid answer."
    declare = f"declare `{one.field}` as `Optional[...]` in the module's signature if null is a valid answer"
    return f"Fill it in, drop the row, or {declare}."


# ------------------------------------------------------------------------------------------------- values


def is_blank(value: object) -> bool:
    """Whether it is text without a character that shows."""
    return isinstance(value, str) and not value.strip()


def read_gold(value: Any, of: GoldType, how: How = "exact") -> Any:
    """A gold value as a value of the type. Null stays null, and so does blank text for a type other than text.

    Raises:
        Unreadable: no answer of the type can equal it.
    """
    if value is None:
        return None
    if how == "number":  # an answer of any type is compared by the number that its text ends with
        if last_number(value) is None:
            raise Unreadable(value, NUMBER)
        return value
    if of.kind == "text":
        if how == "exact" and of.is_sure and isinstance(value, list | Mapping):
            raise Unreadable(value, EXPECTED["text"])
        return value
    if how == "json_fields" and of.kind in ("list", "object") and is_empty(value):  # all that is empty is the same
        if of.kind == "object":
            _object({}, of, how)
        return value
    if is_blank(value):
        return None
    if how == "token_f1":
        return _for_words(value, of)
    if of.kind == "list":
        return _list(value, of, how)
    return _object(value, of, how) if of.kind == "object" else _scalar(value, of.kind)


def _for_words(value: Any, of: GoldType) -> Any:
    """As text has it after all: a list may be several accepted answers, and text the words of a list or an object."""
    if of.kind in ("list", "object"):
        try:
            return _list(value, of, "json_fields") if of.kind == "list" else _object(value, of, "json_fields")
        except Unreadable:
            return value
    if isinstance(value, list):
        return [each if each is None else _for_words(each, of) for each in value]
    read = _scalar(value, of.kind)
    return float(read) if of.kind == "float" else read  # the words of 3 are not those of 3.0


def _scalar(value: Any, kind: Kind) -> Any:
    wrong = Unreadable(value, EXPECTED[kind])
    if isinstance(value, str):
        try:
            return of_text(value, kind)
        except ValueError:
            raise wrong from None
    if kind == "bool" and isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    if kind == "bool" or isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    if kind == "int" and isinstance(value, float):
        if not value.is_integer():
            raise wrong
        return int(value)
    return value


def _list(value: Any, of: GoldType, how: How) -> Any:
    items = _json(value, "list")
    return items if of.item is None else [_part(each, of.item, how, f"[{i}]") for i, each in enumerate(items)]


def _object(value: Any, of: GoldType, how: How) -> Any:
    held = _json(value, "object")
    if of.fields is None:
        return held
    if of.is_sure:
        for name in [name for name in held if name not in of.fields and not _no_value(held[name], how)]:
            raise Unreadable(held[name], f"none but the fields {', '.join(map(repr, of.fields))}", f".{name}")
        for name in [name for name in of.fields if name not in held]:
            _part(None, of.fields[name], how, f".{name}")
    return {
        name: _part(inner, of.fields[name], how, f".{name}") if name in of.fields else inner
        for name, inner in held.items()
    }


def _no_value(value: Any, how: How) -> bool:
    return is_empty(value) if how == "json_fields" else value is None


def _part(value: Any, of: GoldType, how: How, path: str) -> Any:
    """A value inside a list or an object."""
    try:
        read = read_gold(value, of, how)
    except Unreadable as error:
        raise Unreadable(error.value, error.expected, f"{path}{error.path}") from None
    if read is None and of.is_sure and not (of.kind == "text" and how == "json_fields"):
        raise Unreadable(None, EXPECTED[of.kind], path)
    return read


def _json(value: Any, kind: Literal["list", "object"]) -> Any:
    if isinstance(value, str):
        try:
            return of_text(value, kind)
        except ValueError:
            pass
    if not isinstance(value, list if kind == "list" else Mapping):
        raise Unreadable(value, EXPECTED[kind])
    return value


def of_text(text: str, kind: Kind) -> Any:
    """The value that a text writes. Raises ValueError for text that is not of the kind."""
    text = text.strip()
    match kind:
        case "int":
            return _whole(text)
        case "float":
            return _right(float(text), math.isfinite)
        case "bool":
            if text.casefold() not in _BOOLEANS:
                raise ValueError(text)
            return _BOOLEANS[text.casefold()]
        case "list" | "object":
            wanted = list if kind == "list" else dict
            return _right(json_of(text), lambda value: isinstance(value, wanted))
    return text


def json_of(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, also for NaN and for what is nested too deeply."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not number.is_finite() or number.adjusted() > _LONGEST or number != number.to_integral_value():
        raise ValueError(text)
    return int(number)


def _right(value: _T, is_right: Callable[[_T], bool]) -> _T:
    if not is_right(value):
        raise ValueError(value)
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)
