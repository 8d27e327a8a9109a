"""What a field of the space file may hold, read from its annotation, and put into words.

Messages (`expected a number above 0`) and the tables of docs/space-file.md both use it, so that they say the same.

Invariant: the words follow from the models alone; nothing about single fields is written here.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": "a name of letters, digits, `.`, `_` and `-` (at most 64)",
    r"^[A-Za-z_][A-Za-z0-9_]{0,63}$": "a name of letters, digits and `_` that does not start with a digit (at most 64)",
    r"^\d{4}-\d{2}-\d{2}$": "a date such as 2027-01-31",
}
_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Any: "any value",
}
_SCALARS = {_WORDS[type_] for type_ in (str, int, float, bool)}
"""A field that takes all of these takes `a plain value`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a value may be.

    Attributes:
        base: a scalar type, a Literal, a list, dict or tuple type, or a model.
        metadata: pydantic's: bounds, length, pattern.
        members: for a union, the kinds of which the value is one; then `base` means nothing.
        discriminator: key that tells the members of a union apart; None if no key does.
    """

    base: Any = None
    metadata: tuple[Any, ...] = ()
    members: tuple[Kind, ...] = ()
    discriminator: str | None = None

    @property
    def is_model(self) -> bool:
        """Whether it is a part of the file with keys of its own."""
        return isinstance(self.base, type) and issubclass(self.base, BaseModel)

    def bound(self, name: str) -> Any:
        """A bound by its attribute name (`ge`, `min_length`, `pattern`, ...), or None."""
        return next((value for part in self.metadata if (value := getattr(part, name, None)) is not None), None)


def kinds_of_field(field: FieldInfo) -> Kind:
    """What a field of a model may hold."""
    tag = field.discriminator if isinstance(field.discriminator, str) else None
    return kind_of(field.annotation, tuple(field.metadata), tag)


def kind_of(annotation: Any, metadata: tuple[Any, ...] = (), discriminator: str | None = None) -> Kind:
    """What an annotation allows; metadata of a union hold for each of its members."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        for part in more:
            if isinstance(part, FieldInfo):
                metadata += tuple(part.metadata)
                discriminator = part.discriminator if isinstance(part.discriminator, str) else discriminator
            else:
                metadata += (part,)
        return kind_of(inner, metadata, discriminator)
    if get_origin(annotation) not in (Union, types.UnionType):
        return Kind(base=annotation, metadata=metadata)
    members: list[Kind] = []
    for arg in get_args(annotation):
        kind = kind_of(arg, metadata)
        members.extend(kind.members or (kind,))
    return Kind(members=tuple(members), discriminator=discriminator)


# ------------------------------------------------------------------------------------------------ in words


def describe(kind: Kind) -> str:
    """What is expected, as `expected ...` continues."""
    if kind.members:
        if kind.discriminator is not None:
            return f"a mapping with `{kind.discriminator}`"
        parts = [describe(m) for m in kind.members if m.base is not types.NoneType]
        parts += ["null"] * (len(parts) < len(kind.members))
        if set(parts) >= _SCALARS:
            parts = ["a plain value", *(part for part in parts if part not in _SCALARS)]
        parts = list(dict.fromkeys(parts))
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"
    if kind.is_model:
        required = [f"`{name}`" for name, field in kind.base.model_fields.items() if field.is_required()]
        return f"a mapping with {' and '.join(required)}" if required else "a mapping"
    origin = get_origin(kind.base)
    if origin is Literal:
        options = [str(option) for option in get_args(kind.base)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if origin in (list, tuple, dict):
        return _describe_container(kind, origin)
    return _describe_scalar(kind)


def _describe_container(kind: Kind, origin: Any) -> str:
    args = get_args(kind.base)
    if origin is tuple:
        return f"a list of {len(args)} numbers"
    if origin is dict:
        return "a mapping with at least one key" if kind.bound("min_length") else "a mapping"
    few = "of one or more" if kind.bound("min_length") else "of"
    inner = kind_of(args[0])
    words = {str: "texts", int: "whole numbers", float: "numbers", bool: "true and false"}
    return f"a list {few} {words.get(inner.base, 'values')}"


def _describe_scalar(kind: Kind) -> str:
    pattern = kind.bound("pattern")
    if pattern is not None:
        return _PATTERNS.get(pattern, f"text that matches {pattern}")
    word = _WORDS.get(kind.base, "null")
    if kind.base is str and kind.bound("min_length"):
        return f"text of {kind.bound('min_length')} characters or more"
    return f"{word}{_bounds(kind)}"


def _bounds(kind: Kind) -> str:
    ge, gt, le, lt = (kind.bound(name) for name in ("ge", "gt", "le", "lt"))
    low, high = gt if ge is None else ge, lt if le is None else le
    if low is not None and high is not None:
        return f" in {'(' if ge is None else '['}{low:g}, {high:g}{')' if le is None else ']'}"
    if low is not None:
        return f" of {low:g} or more" if ge is not None else f" above {low:g}"
    return "" if high is None else f" up to {high:g}"
