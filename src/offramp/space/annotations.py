"""What a field of the space file may hold, read from its annotation, and that in words.

Used for messages (`expected a number above 0`) and for the tables of docs/space-file.md, so that both say the same.

Invariant: what is said follows from the models alone; nothing about single fields is written here.
"""

from __future__ import annotations

import operator
import re
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": "a name of letters, digits, `.`, `_` and `-` (at most 64)",
    r"^[A-Za-z_][A-Za-z0-9_]{0,63}$": "a name of letters, digits and `_` that starts with no digit (at most 64)",
    r"^\d{4}-\d{2}-\d{2}$": "a date such as 2027-01-31",
}
_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Any: "any value",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a value may be.

    Attributes:
        base: a scalar type, a Literal, a list, dict or tuple type, or a model.
        limits: pydantic's metadata: bounds, length, pattern.
        members: kinds of which the value is one; then `base` means nothing.
        discriminator: key that tells the members apart.
    """

    base: Any = None
    limits: tuple[Any, ...] = ()
    members: tuple[Kind, ...] = ()
    discriminator: str | None = None

    @property
    def is_model(self) -> bool:
        """Whether it is a part of the file with keys of its own."""
        return isinstance(self.base, type) and issubclass(self.base, BaseModel)

    @property
    def is_container(self) -> bool:
        """Whether it is no scalar."""
        return self.is_model or get_origin(self.base) in (list, dict, tuple)

    def limit(self, name: str) -> Any:
        """A bound by its attribute name (`ge`, `min_length`, `pattern`, ...), or None."""
        return next((value for part in self.limits if (value := getattr(part, name, None)) is not None), None)

    def accepts(self, value: Any) -> bool:
        """Whether a scalar of the right type keeps the limits."""
        if isinstance(value, str):
            pattern = self.limit("pattern")
            return self.accepts_length(len(value)) and (
                pattern is None or re.search(_whole(pattern), value) is not None
            )
        checks = (("ge", operator.ge), ("gt", operator.gt), ("le", operator.le), ("lt", operator.lt))
        return all(bound is None or holds(value, bound) for name, holds in checks for bound in [self.limit(name)])

    def accepts_length(self, length: int) -> bool:
        """Whether a list or mapping may have so many entries."""
        return length >= (self.limit("min_length") or 0)


def _whole(pattern: str) -> str:
    """The pattern with an end that does not forgive a line break, as pydantic has it."""
    return pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern


def kinds_of_field(field: FieldInfo) -> Kind:
    """What a field of a model may hold."""
    tag = field.discriminator if isinstance(field.discriminator, str) else None
    return kind_of(field.annotation, tuple(field.metadata), tag)


def kind_of(annotation: Any, limits: tuple[Any, ...] = (), discriminator: str | None = None) -> Kind:
    """What an annotation allows; limits of a union hold for each member that is not null."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        for part in metadata:
            if isinstance(part, FieldInfo):
                limits += tuple(part.metadata)
                discriminator = part.discriminator if isinstance(part.discriminator, str) else discriminator
            else:
                limits += (part,)
        return kind_of(inner, limits, discriminator)
    if get_origin(annotation) in (Union, types.UnionType):
        return Kind(members=tuple(_members(annotation, limits)), discriminator=discriminator)
    return Kind(base=annotation, limits=limits)


def _members(annotation: Any, limits: tuple[Any, ...]) -> Sequence[Kind]:
    found: list[Kind] = []
    for part in get_args(annotation):
        kind = kind_of(part, () if part is types.NoneType else limits)
        found.extend(kind.members or (kind,))
    return found


# ------------------------------------------------------------------------------------------------ in words


def describe(kind: Kind) -> str:
    """What is expected, as `expected ...` continues."""
    if kind.members:
        if kind.discriminator is not None:
            return f"a mapping with `{kind.discriminator}`"
        parts = [describe(m) for m in kind.members if m.base is not types.NoneType]
        parts += ["null"] * (len(parts) < len(kind.members))
        return _either(list(dict.fromkeys(_alternatives(parts))))
    if kind.is_model:
        return _describe_model(kind.base)
    origin = get_origin(kind.base)
    if origin is Literal:
        options = [str(option) for option in get_args(kind.base)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if origin in (list, tuple, dict):
        return _describe_container(kind, origin)
    return _describe_scalar(kind)


def _either(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def _alternatives(parts: list[str]) -> list[str]:
    """Scalars of every type are one word: a plain value."""
    if {"text", "a whole number", "a number", "true or false"} <= set(parts):
        rest = [p for p in parts if p not in ("text", "a whole number", "a number", "true or false")]
        return ["a plain value", *rest]
    return parts


def _describe_model(cls: type[BaseModel]) -> str:
    required = [f"`{name}`" for name, field in cls.model_fields.items() if field.is_required()]
    return f"a mapping with {' and '.join(required)}" if required else "a mapping"


def _describe_container(kind: Kind, origin: Any) -> str:
    args = get_args(kind.base)
    if origin is tuple:
        return f"a list of {len(args)} numbers"
    if origin is dict:
        return "a mapping with one key or more" if kind.limit("min_length") else "a mapping"
    few = "of one or more" if kind.limit("min_length") else "of"
    inner = kind_of(args[0])
    words = {str: "texts", int: "whole numbers", float: "numbers", bool: "true and false"}
    return f"a list {few} {words.get(inner.base, 'values')}"


def _describe_scalar(kind: Kind) -> str:
    pattern = kind.limit("pattern")
    if pattern is not None:
        return _PATTERNS.get(pattern, f"text that matches {pattern}")
    word = _WORDS.get(kind.base, "null")
    if kind.base is str and kind.limit("min_length"):
        return f"text of {kind.limit('min_length')} characters or more"
    return f"{word}{_bounds(kind)}"


def _bounds(kind: Kind) -> str:
    ge, gt, le, lt = (kind.limit(name) for name in ("ge", "gt", "le", "lt"))
    low, high = gt if ge is None else ge, lt if le is None else le
    if low is not None and high is not None:
        return f" in {'(' if ge is None else '['}{low:g}, {high:g}{')' if le is None else ']'}"
    if low is not None:
        return f" of {low:g} or more" if ge is not None else f" above {low:g}"
    return "" if high is None else f" up to {high:g}"
