"""A YAML tree as a pydantic model, or everything that is wrong with it in our words.

pydantic decides what fits, in strict mode: text never counts as a number, nor a number as a switch. Each of its errors
becomes one line in the house form: the key, what the file has there, what the field may hold (read from its
annotation), and what to do. Where a value may be one of several things, only the errors of the one that the writer
evidently meant are kept: a mapping with `low` is a range, one with `choices` a choice.

Invariant: `validated` returns a model or raises SpaceErrors, and no message holds pydantic's own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from offramp.errors import nearest
from offramp.space.annotations import Kind, describe, kind_of, kinds_of_field
from offramp.space.forms import KINDS
from offramp.space.messages import AsWritten, Problem, SpaceErrors, is_secret, joined, line_of, listing, say, shown
from offramp.space.model import Choices, CompoundPart, Misfit, SpaceFile
from offramp.space.yaml_tree import Tree

Model = TypeVar("Model", bound=BaseModel)

_LABEL = re.compile(r"(?:function-\w+\[[^,]*, )*(?:constrained-)?(\w+)")
"""pydantic's name for a member of a union, such as `function-after[_ordered(), Range]`; the group is its type."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def validated(cls: type[Model], tree: Tree, where: str) -> Model:
    """The model that a file states.

    Args:
        where: the file, for messages.

    Raises:
        SpaceErrors: with every problem, the tree's own included, in the order of the file.
    """
    found: dict[str, str] = {}
    try:
        model = cls.model_validate_json(json.dumps(tree.data), strict=True)
    except ValidationError as error:
        found = _messages(cls, tree, error)
    known = {item.key for item in tree.problems if item.key}
    problems = [*tree.problems]
    for key, message in found.items():
        if not any(key == other or other.startswith(f"{key}.") for other in known):  # else it only follows from that
            problems.append(Problem(where=where, line=line_of(tree.lines, key), key=key, message=message))
    if problems:
        raise SpaceErrors(sorted(problems, key=lambda item: item.line or 0))
    return model


def _messages(cls: type[BaseModel], tree: Tree, error: ValidationError) -> dict[str, str]:
    """Dotted key to message, the first one of each key."""
    details = error.errors(include_url=False, include_input=False)
    details.sort(key=lambda detail: detail["type"] != "extra_forbidden")  # first what is there, then what is missing
    unknown: dict[tuple[int | str, ...], list[str]] = {}
    for detail in details:
        if detail["type"] == "extra_forbidden":
            unknown.setdefault(detail["loc"][:-1], []).append(str(detail["loc"][-1]))
    found: dict[str, str] = {}
    for detail in details:
        loc = detail["loc"]
        if detail["type"] == "missing" and nearest(str(loc[-1]), unknown.get(loc[:-1], [])):
            continue  # it is misspelt, and reported as an unknown key
        place = _place(cls, tree.data, loc)
        if place is not None:
            cause = detail.get("ctx", {}).get("error")
            key, message = _message(place, cause, tree.raw)
            found.setdefault(key, message)
    return found or {"": say("", "the file does not fit its model")}  # never silent, whatever pydantic calls things


# ------------------------------------------------------------------------------------ where an error is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where an error is.

    Attributes:
        key: dotted key.
        name: its last part, which may have dots itself.
        kind: what the key may hold; None for an unknown key.
        value: what it holds; None if it is missing.
        part: the innermost model around it.
        holder: the mapping that this model is read from.
        is_missing: whether the file does not have the key.
        is_key: whether the key itself is wrong, and not its value.
    """

    key: str
    name: str
    kind: Kind | None
    value: Any
    part: type[BaseModel]
    holder: Any
    is_missing: bool
    is_key: bool


def _place(cls: type[BaseModel], data: Any, loc: Sequence[int | str]) -> _Place | None:
    """The place of an error; None for an error of a union's member that the writer did not mean."""
    kind: Kind | None = Kind(base=cls)
    key, name, value, part, holder = "", "", data, cls, data
    is_missing = is_key = False
    steps = list(loc)
    while steps and kind is not None:
        if kind.members:
            real = [member for member in kind.members if member.base is not NoneType]
            if kind.discriminator is not None:
                tag = steps.pop(0)
                kind = next(m for m in real if tag in get_args(m.base.model_fields[kind.discriminator].annotation))
            elif len(real) == 1:
                kind = real[0]
            elif (meant := _meant(real, value)) is None:
                break
            elif _is_of(meant, steps.pop(0)):
                kind = meant
            else:
                return None
            continue
        step = steps.pop(0)
        if kind.is_model:
            part, holder = kind.base, value
            is_missing = step not in holder
            kind = kinds_of_field(part.model_fields[str(step)]) if step in part.model_fields else None
        elif get_origin(kind.base) is dict:
            is_key = steps == ["[key]"]
            kind = kind_of(get_args(kind.base)[0 if is_key else 1])
            steps = [] if is_key else steps
        elif int(step) < len(value):
            args = get_args(kind.base)
            kind = kind_of(args[int(step)] if get_origin(kind.base) is tuple else args[0])
        else:  # a tuple that is too short
            break
        key, name = joined(key, step), str(step)
        value = value.get(step) if isinstance(value, Mapping) else value[int(step)]
    return _Place(
        key=key, name=name, kind=kind, value=value, part=part, holder=holder, is_missing=is_missing, is_key=is_key
    )


def _is_of(member: Kind, step: int | str) -> bool:
    """Whether a step of pydantic's path names this member of a union."""
    label = _LABEL.match(str(step))
    name = getattr(get_origin(member.base) or member.base, "__name__", "")
    return label is not None and label[1] == name


def _meant(members: Sequence[Kind], value: Any) -> Kind | None:
    """The member of a union that the writer meant by a list or mapping; None where nothing tells."""
    if isinstance(value, list):
        return next((m for m in members if get_origin(m.base) in (list, tuple)), None)
    if not isinstance(value, Mapping):
        return None
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


# ------------------------------------------------------------------------------------------------ in words


def _message(place: _Place, cause: object, raw: Mapping[str, str]) -> tuple[str, str]:
    """Dotted key and message of one error; `cause` is what a validator of ours raised, or None."""
    key, kind, value = place.key, place.kind, place.value
    if kind is None:
        return key, _unknown(place)
    if place.is_key:
        return key, say(key, "the key", got=place.name, expected=describe(kind))
    if place.is_missing:
        return key, _missing(key, place.name, describe(kind))
    if kind.discriminator is not None and isinstance(value, Mapping):
        return _wrong_tag(kind, value, key, raw)
    if isinstance(cause, Misfit):
        inner = joined(key, cause.name) if cause.name else key
        got = None if cause.name not in value else shown(value[cause.name], raw.get(inner))
        got = got if cause.got is None else AsWritten(cause.got)
        return inner, say(inner, got=got, expected=cause.expected, do=cause.do)
    expected = str(cause) if isinstance(cause, ValueError) else describe(kind)
    return key, say(key, got=shown(value, raw.get(key)), expected=expected, do=_advice(kind, key, value, raw.get(key)))


def _wrong_tag(kind: Kind, value: Mapping[str, Any], key: str, raw: Mapping[str, str]) -> tuple[str, str]:
    """A mapping whose `kind` is missing or unknown."""
    tag = str(kind.discriminator)
    known = [get_args(m.base.model_fields[tag].annotation)[0] for m in kind.members]
    inner, expected = joined(key, tag), f"one of {listing(known)}"
    if tag not in value:
        return inner, _missing(inner, tag, expected)
    do = nearest(value[tag], known) if isinstance(value[tag], str) else None
    return inner, say(inner, got=shown(value[tag], raw.get(inner)), expected=expected, do=do)


def _missing(key: str, name: str, expected: str) -> str:
    return say(f"{key} is missing", expected=expected, do=f"Add `{name}:`.")


def _unknown(place: _Place) -> str:
    name, hint = place.name, ""
    if place.key == name and place.part is SpaceFile:
        kinds = {part: kinds_of_field(field) for part, field in SpaceFile.model_fields.items() if part != "metric"}
        homes = [part for part, kind in kinds.items() if kind.is_model and name in kind.base.model_fields]
        hint = f"It belongs under `{homes[0]}`." if homes else ""
    elif name.lower() in ("api_key", "apikey", "key", "token", "secret", "password"):
        hint = "Put the key into an environment variable, and name that with `api_key_env`."
    hint = hint or nearest(name, [field for field in place.part.model_fields if field not in place.holder])
    expected = None if hint else f"one of {listing(list(place.part.model_fields))}"
    return say(place.key, "unknown key", expected=expected, do=hint or None)


def _advice(kind: Kind, key: str, value: Any, raw: str | None) -> str | None:
    members = kind.members or (kind,)
    bases = [member.base for member in members]
    if str in bases and (isinstance(value, bool | int | float) or (value is None and raw and Choices not in bases)):
        patterns = [re.compile(m.bound("pattern") or "") for m in members if m.base is str]
        can_quote = not is_secret(key) and any(pattern.search(raw or "") for pattern in patterns)
        return f"Quote it: '{raw}'." if can_quote else None
    if isinstance(value, str) and CompoundPart in bases and value.split(" ")[0] in KINDS:
        return f"Write it as a mapping: {{{value.split(' ')[0]}: 3}}."
    if isinstance(value, list) and Choices in bases:
        return "Write the values as `{choices: [...]}`."
    if get_origin(kind.base) is list and isinstance(value, str | int | float):
        return f"Write it as a list: [{raw or value}]."
    if get_origin(kind.base) is list and value is None and not kind.bound("min_length"):
        return "Leave it out, or write `[]`."
    if not isinstance(value, str):
        return None
    options = [option for base in bases if get_origin(base) is Literal for option in get_args(base)]
    is_quoted = (
        any(str(option) == value for option in options)
        or (bool in bases and value.lower() in ("true", "false", "yes", "no"))
        or ({int, float} & set(bases) and _NUMBER.fullmatch(value))
    )
    return "Remove the quotes." if is_quoted else nearest(value, [o for o in options if isinstance(o, str)]) or None
