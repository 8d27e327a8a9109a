"""Checks of what is sent along with a request: `params`, and the incumbent's and judge's own.

Invariant: nothing is asked of a catalogue here; which model takes which parameter is checked when models are resolved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.errors import SpaceError, nearest
from offramp.records import Scalar
from offramp.space.dimensions import Dimension, dimensions
from offramp.space.load import LoadedSpace, variant_names
from offramp.space.messages import AsWritten, Problem, shown
from offramp.space.model import Choices, Fixed, ModelPart, Range

PROGRAM_PARAMS: Mapping[str, str] = {
    "model": "List models under `models`.",
    "form": "Set it under `program`.",
    "format": "Set it under `program`.",
    "constrained": "Set it under `program`.",
    "instruction": "Write texts under `instructions`.",
    "demos": "Set them under `demos`.",
}
"""Names that the file searches elsewhere, with their place; also all that begin with them and a dot."""

KEPT_BACK: Mapping[str, str] = {
    "messages": "They are made from the program.",
    "prompt": "It is made from the program.",
    "stream": "Answers are read as a whole.",
    "n": "One answer is asked for at a time.",
    "response_format": "Use `program.constrained` with the json format.",
    "grammar": "Use `program.constrained` with the plain format.",
    "api_key": "Name an environment variable with `api_key_env` under `models`.",
    "api_base": "Set it under `models`.",
    "base_url": "Set `api_base` under `models`.",
    "extra_headers": "They may hold secrets, and params are stored.",
    "headers": "They may hold secrets, and params are stored.",
    "timeout": "Set `calls.timeout_s`.",
    "num_retries": "Set `calls.attempts`.",
    "max_retries": "Set `calls.attempts`.",
    "cache": "Answers are reused by the ledger.",
}
"""Request parameters that are not for the file to set, with the reason or the place."""

COMMON = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "seed", "stop", "presence_penalty",
    "frequency_penalty", "repeat_penalty", "reasoning_effort", "verbosity", "logprobs", "service_tier",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Values that every provider takes for a parameter."""

    low: float
    high: float = float("inf")
    low_open: bool = False
    whole: bool = False

    def __str__(self) -> str:
        word = "a whole number" if self.whole else "a number"
        if self.high == float("inf"):
            return f"{word} {'above' if self.low_open else 'of'} {self.low:g}{'' if self.low_open else ' or more'}"
        high = f"{self.high:,}" if self.whole else f"{self.high:g}"
        return f"{word} in {'(' if self.low_open else '['}{self.low:g}, {high}]"

    def wrong(self, value: Any) -> str | None:
        """What to do about a value; an empty string where there is nothing better to say; None where it is right."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        if value < self.low or (value == self.low and self.low_open):
            return "Raise it."
        if value > self.high:
            return "Lower it."
        return "" if self.whole and value != int(value) else None


MOST_NUMBER = 10**15
"""Of a range: whole numbers beyond are no longer told apart."""

BOUNDS: Mapping[str, Bounds] = {
    "temperature": Bounds(low=0, high=2),
    "top_p": Bounds(low=0, high=1, low_open=True),
    "min_p": Bounds(low=0, high=1),
    "presence_penalty": Bounds(low=-2, high=2),
    "frequency_penalty": Bounds(low=-2, high=2),
    "repeat_penalty": Bounds(low=0, low_open=True),
    "max_tokens": Bounds(low=1, high=10_000_000, whole=True),
    "max_completion_tokens": Bounds(low=1, high=10_000_000, whole=True),
    "top_k": Bounds(low=0, high=10_000_000, whole=True),
    "seed": Bounds(low=0, high=2**31 - 1, whole=True),
}


def check_params(loaded: LoadedSpace) -> Iterator[Problem]:
    """Names and bounds of `params`."""
    for name, part in loaded.space.params.items():
        key = f"params.{name}"
        yield from _name(loaded, key, name)
        yield from _values(loaded, key, name, part)


def check_fixed_params(loaded: LoadedSpace, key: str, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Names and bounds of parameters with one value each, such as the incumbent's."""
    for name, value in params.items():
        yield from _name(loaded, f"{key}.{name}", name)
        yield from _bounds(loaded, f"{key}.{name}", name, value)


def check_known_params(loaded: LoadedSpace, key: str, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Names that neither the file nor any common provider knows: most often misspelt."""
    supported = [name for m in loaded.space.models if isinstance(m, ModelPart) for name in m.supports or ()]
    known = {*loaded.space.params, *COMMON, *supported}
    for name in params:
        if name not in known and not _taken(name) and name not in KEPT_BACK:
            do = nearest(name, known) or "Name it under `params` or in a model's `supports` if it is right."
            yield loaded.problem(f"{key}.{name}", "unknown parameter", do=do)


def check_grid(loaded: LoadedSpace) -> Iterator[Problem]:
    """A grid is finite."""
    if loaded.space.search.sampler != "grid":
        return
    for dim in _dimensions(loaded):
        if dim.group == "request" and dim.size == float("inf"):
            do = "Give it a `step`, write `choices`, or use another `search.sampler`."
            note = "the range has no end of values, and search.sampler is grid"
            yield loaded.problem(f"params.{dim.name}", note, do=do)


def _dimensions(loaded: LoadedSpace) -> Sequence[Dimension]:
    texts = {predictor: dict.fromkeys(names, "") for predictor, names in variant_names(loaded).items()}
    try:
        return dimensions(loaded.space, texts, {})
    except SpaceError:  # a condition that is reported by its own check
        return ()


def _taken(name: str) -> str:
    return next((do for start, do in PROGRAM_PARAMS.items() if name == start or name.startswith(f"{start}.")), "")


def _name(loaded: LoadedSpace, key: str, name: str) -> Iterator[Problem]:
    place = _taken(name)
    if place:
        yield loaded.problem(key, "the name is taken by the program's own params", do=place)
    elif name in KEPT_BACK:
        yield loaded.problem(key, "not for a space file to set", do=KEPT_BACK[name])


# ------------------------------------------------------------------------------------------------ values


def _values(loaded: LoadedSpace, key: str, name: str, part: Any) -> Iterator[Problem]:
    if isinstance(part, Range):
        yield from _range(loaded, key, name, part)
    elif isinstance(part, Choices):
        for index, value in enumerate(part.choices):
            yield from _bounds(loaded, f"{key}.choices.{index}", name, value)
            yield from _equal(loaded, f"{key}.choices.{index}", value, part.choices[:index])
    elif isinstance(part, Fixed):
        yield from _bounds(loaded, f"{key}.value", name, part.value)
    else:
        yield from _bounds(loaded, key, name, part)


def _equal(loaded: LoadedSpace, key: str, value: Scalar, before: Sequence[Scalar]) -> Iterator[Problem]:
    """1, 1.0 and true are one choice to the search, and would be several candidates of one setting."""
    for other in before:
        if value == other:
            expected = f"a value that does not equal {json.dumps(other)}, which is there"
            got = AsWritten(json.dumps(value))
            yield loaded.problem(key, got=got, expected=expected, do="Remove one of them.")
            return


def _range(loaded: LoadedSpace, key: str, name: str, part: Range) -> Iterator[Problem]:
    for bound in ("low", "high"):
        if abs(getattr(part, bound)) > MOST_NUMBER and name not in BOUNDS:
            expected = f"a number in [-{MOST_NUMBER:,}, {MOST_NUMBER:,}]"
            yield loaded.problem(f"{key}.{bound}", got=shown(getattr(part, bound)), expected=expected)
    yield from _bounds(loaded, f"{key}.low", name, _number(part.low))
    yield from _bounds(loaded, f"{key}.high", name, _number(part.high))
    whole = part.type == "int" or (name in BOUNDS and BOUNDS[name].whole)
    if whole and part.type == "float":
        yield loaded.problem(f"{key}.type", got="float", expected=f"int for {name}")
    for bound, value in (("low", part.low), ("high", part.high), ("step", part.step)):
        if part.type == "int" and value is not None and value != int(value) and name not in BOUNDS:
            yield loaded.problem(f"{key}.{bound}", got=value, expected="a whole number, as `type: int` says")
    span = part.high - part.low
    if part.step is not None and not span / MOST_NUMBER <= part.step <= span:
        expected = f"at most {span:g}, the distance from `low` to `high`"
        expected = expected if part.step > span else f"at least {span / MOST_NUMBER:g}"
        yield loaded.problem(f"{key}.step", got=shown(part.step), expected=expected)


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _bounds(loaded: LoadedSpace, key: str, name: str, value: Any) -> Iterator[Problem]:
    if name not in BOUNDS or value is None:
        return
    do = BOUNDS[name].wrong(value)
    if do is not None:
        yield loaded.problem(key, got=shown(value), expected=str(BOUNDS[name]), do=do)


def many(value: Any) -> list[Any]:
    """One value or a list, as a list."""
    return list(value) if isinstance(value, list) else [value]


def distinct(loaded: LoadedSpace, key: str, value: Any) -> Iterator[Problem]:
    """A list of values has one or more, and none twice."""
    if isinstance(value, list) and not value:
        yield loaded.problem(key, got=shown(value), expected="one value or more")
    elif isinstance(value, list) and len(set(value)) < len(value):
        twice = next(one for index, one in enumerate(value) if one in value[:index])
        yield loaded.problem(key, "the same value is there twice", got=shown(twice), do="Remove one of them.")
