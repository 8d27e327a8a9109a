"""Plain values against the models of the space file, key by key, so that every message is ours.

The models (`model.py`) stay the only statement of what a file may hold: this walk reads their annotations. Where a
value may be one of several things, it is judged as the one that the writer evidently meant: a mapping with `low` is a
range, one with `choices` a choice, a metric is what its `kind` says. Text is never taken for a number nor a number for
a switch, as YAML tells them apart.

Invariant: values without a finding here are accepted by the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from offramp.errors import nearest
from offramp.space.annotations import Kind, describe, kind_of, kinds_of_field
from offramp.space.messages import AsWritten, is_secret, joined, listing, say, shown
from offramp.space.model import Choices, Misfit, SpaceFile

Finding = tuple[str, str]
"""Dotted key and message."""
_BEYOND = 2**63
_DO_NOT_FIT = "the parts do not go together"


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One walk.

    Attributes:
        raw: dotted key to the scalar as the file has it, where it was not in quotes.
    """

    raw: Mapping[str, str]

    def model(self, cls: type[BaseModel], value: Any, key: str) -> Iterator[Finding]:
        """Findings for a mapping that has to fit a model."""
        if not isinstance(value, Mapping):
            yield self._wrong(Kind(base=cls), value, key)
            return
        before = list(self._parts(cls, value, key))
        yield from before or self._rules(cls, value, key)

    def _parts(self, cls: type[BaseModel], value: Mapping[str, Any], key: str) -> Iterator[Finding]:
        unknown = [name for name in value if name not in cls.model_fields]
        for name in unknown:
            yield joined(key, name), _unknown(cls, name, key, value)
        for name, field in cls.model_fields.items():
            inner = joined(key, name)
            if name in value:
                yield from self.value(kinds_of_field(field), value[name], inner)
            elif field.is_required() and not nearest(name, unknown):
                yield inner, _missing(inner, name, describe(kinds_of_field(field)))

    def value(self, kind: Kind, value: Any, key: str) -> Iterator[Finding]:
        """Findings for a value that has to be of a kind."""
        if kind.members:
            yield from self._one_of(kind, value, key)
        elif isinstance(kind.base, type) and issubclass(kind.base, BaseModel):
            yield from self.model(kind.base, value, key)
        elif get_origin(kind.base) is dict:
            yield from self._mapping(kind, value, key)
        elif get_origin(kind.base) is list:
            yield from self._list(kind, value, key)
        elif get_origin(kind.base) is tuple:
            yield from self._tuple(kind, value, key)
        elif not _fits(kind, value):
            yield self._wrong(kind, value, key)

    def _mapping(self, kind: Kind, value: Any, key: str) -> Iterator[Finding]:
        if not isinstance(value, Mapping) or not kind.accepts_length(len(value)):
            yield self._wrong(kind, value, key)
            return
        names, values = (kind_of(part) for part in get_args(kind.base))
        for name, inner in value.items():
            if not _fits(names, name):
                yield joined(key, name), say(joined(key, name), "the key", got=name, expected=describe(names))
            yield from self.value(values, inner, joined(key, name))

    def _list(self, kind: Kind, value: Any, key: str) -> Iterator[Finding]:
        if not isinstance(value, list) or not kind.accepts_length(len(value)):
            yield self._wrong(kind, value, key)
            return
        (part,) = get_args(kind.base)
        for index, inner in enumerate(value):
            yield from self.value(kind_of(part), inner, joined(key, index))

    def _tuple(self, kind: Kind, value: Any, key: str) -> Iterator[Finding]:
        parts = get_args(kind.base)
        if not isinstance(value, list) or len(value) != len(parts):
            yield self._wrong(kind, value, key)
            return
        for index, (part, inner) in enumerate(zip(parts, value, strict=True)):
            yield from self.value(kind_of(part), inner, joined(key, index))

    # -------------------------------------------------------------------------------- one of several

    def _one_of(self, kind: Kind, value: Any, key: str) -> Iterator[Finding]:
        if kind.discriminator is not None and isinstance(value, Mapping):
            yield from self._tagged(kind, value, key)
            return
        member = _meant(kind, value)
        if member is None:
            yield self._wrong(kind, value, key)
        else:
            yield from self.value(member, value, key)

    def _tagged(self, kind: Kind, value: Mapping[str, Any], key: str) -> Iterator[Finding]:
        """A mapping whose `kind` says which model it is."""
        tag = str(kind.discriminator)
        models = {get_args(m.base.model_fields[tag].annotation)[0]: m.base for m in kind.members}
        inner, expected = joined(key, tag), f"one of {listing(list(models))}"
        given = value.get(tag)
        if tag not in value:
            yield inner, _missing(inner, tag, expected)
        elif not isinstance(given, str) or given not in models:
            do = nearest(given, models) if isinstance(given, str) else None
            yield inner, say(inner, got=shown(given, self.raw.get(inner)), expected=expected, do=do)
        else:
            yield from self.model(models[given], value, key)

    def _rules(self, cls: type[BaseModel], value: Mapping[str, Any], key: str) -> Iterator[Finding]:
        """What a model says of parts that are each right but do not go together."""
        try:
            cls.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                cause = detail.get("ctx", {}).get("error")
                if len(detail["loc"]) == 1 and isinstance(cause, ValueError):  # of one field: what it says is expected
                    cause = Misfit(str(detail["loc"][0]), str(cause))
                yield self._misfit(cause, value, key) if isinstance(cause, Misfit) else (key, say(key, _DO_NOT_FIT))

    def _misfit(self, cause: Misfit, value: Mapping[str, Any], key: str) -> Finding:
        inner = joined(key, cause.name) if cause.name else key
        got = None if cause.name not in value else shown(value[cause.name], self.raw.get(inner))
        got = AsWritten(cause.got) if cause.got is not None else got
        return inner, say(inner, got=got, expected=cause.expected, do=cause.do)

    # ------------------------------------------------------------------------------------- messages

    def _wrong(self, kind: Kind, value: Any, key: str) -> Finding:
        raw = self.raw.get(key)
        return key, say(key, got=shown(value, raw), expected=describe(kind), do=_advice(kind, key, value, raw))


def _fits(kind: Kind, value: Any) -> bool:
    """Whether a scalar is of a kind, without any conversion but from whole to fractional numbers and back."""
    if kind.base is Any:
        return True
    if get_origin(kind.base) is Literal:
        return any(type(value) is type(option) and value == option for option in get_args(kind.base))
    return _is_a(kind.base, value) and kind.accepts(value)


def _is_a(base: Any, value: Any) -> bool:
    if base is NoneType:
        return value is None
    if base is int:
        return type(value) is int or (type(value) is float and value.is_integer() and abs(value) < _BEYOND)
    if base is float:
        return type(value) in (int, float)
    return type(value) is base


def _meant(kind: Kind, value: Any) -> Kind | None:
    """The member of a union that the writer meant; None where the value looks like none of them."""
    if isinstance(value, Mapping):
        return _meant_mapping(kind.members, value)
    if isinstance(value, list):
        return next((m for m in kind.members if get_origin(m.base) in (list, tuple)), None)
    scalars = [m for m in kind.members if not m.is_container]
    return next((m for m in scalars if _fits(m, value)), None)


def _meant_mapping(members: Sequence[Kind], value: Mapping[str, Any]) -> Kind | None:
    models = [m for m in members if m.is_model]
    mappings = [m for m in members if get_origin(m.base) is dict]
    if mappings:
        exact = [m for m in models if set(value) == set(m.base.model_fields)]
        return (exact or mappings)[0]
    if len(models) < 2:
        return models[0] if models else None
    shared = set.intersection(*(set(m.base.model_fields) for m in models))
    overlap = [len(set(value) & (set(m.base.model_fields) - shared)) for m in models]
    if max(overlap) == 0:
        overlap = [any(nearest(name, set(m.base.model_fields) - shared) for name in value) for m in models]
    return models[overlap.index(max(overlap))] if max(overlap) else None


def _missing(key: str, name: str, expected: str) -> str:
    return say(f"{key} is missing", expected=expected, do=f"Add `{name}:`.")


def _unknown(cls: type[BaseModel], name: str, key: str, value: Mapping[str, Any]) -> str:
    known = [field for field in cls.model_fields if field not in value]
    hint = (_key_hint(name) if key else _belongs(name)) or nearest(name, known)
    expected = None if hint else f"one of {listing(list(cls.model_fields))}"
    return say(joined(key, name), "unknown key", expected=expected, do=hint or None)


def _key_hint(name: str) -> str:
    if name.lower() in ("api_key", "apikey", "key", "token", "secret", "password"):
        return "A key belongs in an environment variable: name that with `api_key_env`."
    return ""


def _belongs(name: str) -> str:
    """Where a key that was written at the top would have its place."""
    for part, field in SpaceFile.model_fields.items():
        kinds = kinds_of_field(field)
        if part != "metric" and kinds.is_model and name in kinds.base.model_fields:
            return f"It belongs under `{part}`."
    return ""


def _advice(kind: Kind, key: str, value: Any, raw: str | None) -> str | None:
    bases = [m.base for m in kind.members or (kind,)]
    if str in bases and (isinstance(value, bool | int | float) or (value is None and raw and Choices not in bases)):
        fits = any(m.base is str and m.accepts(raw or "") for m in kind.members or (kind,))
        return f"Quote it: '{raw}'." if fits and not is_secret(key) else None
    if isinstance(value, list) and Choices in bases:
        return "Write the values as `{choices: [...]}`."
    if get_origin(kind.base) is list and isinstance(value, str | int | float):
        return f"Write it as a list: [{raw or value}]."
    if get_origin(kind.base) is list and value is None and kind.accepts_length(0):
        return "Leave it out, or write `[]`."
    return _advice_for_text(bases, value) if isinstance(value, str) else None


def _advice_for_text(bases: Sequence[Any], value: str) -> str | None:
    options = [option for base in bases if get_origin(base) is Literal for option in get_args(base)]
    if any(str(option) == value for option in options):
        return "Remove the quotes."
    hint = nearest(value, [option for option in options if isinstance(option, str)])
    if hint:
        return hint
    if bool in bases and value.lower() in ("true", "false", "yes", "no"):
        return "Remove the quotes."
    return "Remove the quotes." if {int, float} & set(bases) and _is_number(value) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
