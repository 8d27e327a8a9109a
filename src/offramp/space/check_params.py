"""Checks of what is sent along with a request: `params`, their conditions (`when`), the incumbent's and judge's own.

No catalogue is asked here; which model takes which parameter is checked when models are resolved.

Invariant: a condition without a problem here holds for at least one value of every param that it names.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from offramp.errors import SpaceError, nearest
from offramp.records import Scalar
from offramp.space.load import LoadedSpace, variant_names
from offramp.space.messages import Problem, listing, shown
from offramp.space.model import OWN, Choices, Fixed, ModelPart, Range, as_list, model_name
from offramp.space.params import instruction_param, model_param, params_of, same_value

PROGRAM_PARAMS: Mapping[str, str] = {
    "model": "List models under `models`.",
    "form": "Set it under `program`.",
    "format": "Set it under `program`.",
    "constrained": "Set it under `program`.",
    "instruction": "Write texts under `instructions`.",
    "demos": "Set them under `demos`.",
}
"""Names that the file sets elsewhere, with their place; the same holds for a name that begins with one and a dot."""

NOT_SETTABLE: Mapping[str, str] = {
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
    "cache": "The ledger reuses answers.",
}
"""Request parameters that a file cannot set, with the reason or the place."""

COMMON = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "seed", "stop", "presence_penalty",
    "frequency_penalty", "repeat_penalty", "reasoning_effort", "verbosity", "logprobs", "service_tier",
)  # fmt: skip

KNOWN = ("top_a", "top_logprobs", "max_output_tokens", "repetition_penalty", "min_tokens", "logit_bias")
"""Others that servers take, and that are near those."""
NEARLY = 0.8
"""From this likeness on (`difflib`), a name may be another one misspelt."""

MOST_NUMBER = 10**15
"""Largest bound of a range: floats beyond it do not tell whole numbers apart."""


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

    def advice(self, value: Any) -> str | None:
        """What to do about a wrong value, empty if there is nothing to add; None if the value is right."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        if value < self.low or (value == self.low and self.low_open):
            return "Raise it."
        if value > self.high:
            return "Lower it."
        return "" if self.whole and value != int(value) else None


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


# ----------------------------------------------------------------------------------------------------- names


def check_params(loaded: LoadedSpace) -> Iterator[Problem]:
    """Names and values of `params`."""
    for name, part in loaded.space.params.items():
        key = f"params.{name}"
        yield from _name(loaded, key, name)
        if isinstance(part, Range):
            yield from _range(loaded, key, name, part)
        elif isinstance(part, Choices):
            yield from _choices(loaded, f"{key}.choices", name, part.choices)
        elif isinstance(part, Fixed):
            yield from _value(loaded, f"{key}.value", name, part.value)
        else:
            yield from _value(loaded, key, name, part)


def check_fixed_params(loaded: LoadedSpace, key: str, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Names and values of parameters with one value each, such as the incumbent's."""
    for name, value in params.items():
        yield from _name(loaded, f"{key}.{name}", name)
        yield from _value(loaded, f"{key}.{name}", name, value)


def check_known_params(loaded: LoadedSpace, key: str, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Names that neither the file nor any common provider knows: most often misspelt."""
    supported = [name for m in loaded.space.models if isinstance(m, ModelPart) for name in m.supports or ()]
    known = {*loaded.space.params, *COMMON, *supported}
    for name in params:
        if name not in known and not _place(name) and name not in NOT_SETTABLE:
            do = nearest(name, known) or "If it is right, list it under `params` or in a model's `supports`."
            yield loaded.problem(f"{key}.{name}", "unknown parameter", do=do)


def misspelt_params(loaded: LoadedSpace) -> list[str]:
    """Warnings: names of `params` that nearly are those of well-known parameters. A server of your own may take any."""
    supported = [name for m in loaded.space.models if isinstance(m, ModelPart) for name in m.supports or ()]
    known = {*COMMON, *NOT_SETTABLE, *KNOWN, *supported}
    told = []
    for name in loaded.space.params:
        near = get_close_matches(name.lower(), COMMON, n=1, cutoff=NEARLY)
        if near and name not in known and not _place(name):
            where = loaded.where(f"params.{name}")
            told.append(
                f"{where}: params.{name}: no well-known parameter, and sent as it is. Did you mean {near[0]!r}? If it "
                "is right, list it in a model's `supports`"
            )
    return told


def _place(name: str) -> str:
    """Where the file sets a param of the program, as advice; empty for the name of any other param."""
    return next((do for start, do in PROGRAM_PARAMS.items() if name == start or name.startswith(f"{start}.")), "")


def _name(loaded: LoadedSpace, key: str, name: str) -> Iterator[Problem]:
    if place := _place(name):
        yield loaded.problem(key, "the name is reserved for a param of the program", do=place)
    elif name in NOT_SETTABLE:
        yield loaded.problem(key, "a space file cannot set this parameter", do=NOT_SETTABLE[name])


# ---------------------------------------------------------------------------------------------------- values


def _value(loaded: LoadedSpace, key: str, name: str, value: Any) -> Iterator[Problem]:
    if name not in BOUNDS or value is None:
        return
    do = BOUNDS[name].advice(value)
    if do is not None:
        yield loaded.problem(key, got=shown(value), expected=str(BOUNDS[name]), do=do)


def _choices(loaded: LoadedSpace, key: str, name: str, choices: Sequence[Scalar]) -> Iterator[Problem]:
    """1, 1.0 and true are one choice to the search, and would be several candidates with the same settings."""
    for index, value in enumerate(choices):
        yield from _value(loaded, f"{key}.{index}", name, value)
        equal = next((other for other in choices[:index] if value == other), ...)
        if equal is not ...:
            new, old = json.dumps(value), json.dumps(equal)
            note = f"duplicate choice: {new} equals {old}" if new != old else f"duplicate choice {new}"
            yield loaded.problem(f"{key}.{index}", note, do="Remove one of them.")


def _range(loaded: LoadedSpace, key: str, name: str, part: Range) -> Iterator[Problem]:
    bounds = BOUNDS.get(name)
    for bound, value in (("low", part.low), ("high", part.high)):
        if abs(value) > MOST_NUMBER and bounds is None:
            expected = f"a number in [-{MOST_NUMBER:,}, {MOST_NUMBER:,}]"
            yield loaded.problem(f"{key}.{bound}", got=shown(value), expected=expected)
        yield from _value(loaded, f"{key}.{bound}", name, int(value) if value == int(value) else value)
    if bounds is not None and bounds.whole and part.type == "float":
        yield loaded.problem(f"{key}.type", got="float", expected=f"int for {name}")
    for bound, number in (("low", part.low), ("high", part.high), ("step", part.step)):
        if part.type == "int" and bounds is None and number is not None and number != int(number):
            yield loaded.problem(f"{key}.{bound}", got=number, expected="a whole number, since `type` is int")
    span = part.high - part.low
    if part.step is not None and not span / MOST_NUMBER <= part.step <= span:
        expected = f"at most {span:g}, the distance from `low` to `high`"
        expected = expected if part.step > span else f"at least {span / MOST_NUMBER:g}"
        yield loaded.problem(f"{key}.step", got=shown(part.step), expected=expected)


def check_grid(loaded: LoadedSpace) -> Iterator[Problem]:
    """A grid is finite."""
    if loaded.space.search.sampler != "grid":
        return
    texts = {predictor: dict.fromkeys(names, "") for predictor, names in variant_names(loaded).items()}
    try:
        search_params = params_of(loaded.space, texts, {})
    except SpaceError:  # a condition that has a problem of its own
        return
    for param in search_params:
        if param.group == "request" and param.size == float("inf"):
            note = "a range without a `step` has no finite number of values, and search.sampler is grid"
            do = "Give it a `step`, write `choices`, or use another `search.sampler`."
            yield loaded.problem(f"params.{param.name}", note, do=do)


# ------------------------------------------------------------------------------------------------ conditions


def check_conditions(loaded: LoadedSpace) -> Iterator[Problem]:
    """Params and values that conditions name."""
    known = _known_values(loaded)
    for own, part in loaded.space.params.items():
        for name, options in _when(part).items():
            key = f"params.{own}.when.{name}"
            if name == own:
                yield loaded.problem(key, "a param cannot depend on itself", do="Name another param.")
            elif name not in known:
                do = nearest(name, known) or f"Known params: {listing(sorted(known), 'and')}."
                yield loaded.problem(key, "unknown param", do=do)
            elif not options:
                yield loaded.problem(key, got=shown(options), expected="a list of at least one value")
            else:
                for index, option in enumerate(options):
                    yield from _option(loaded, f"{key}.{index}", option, known[name])


def check_circular_conditions(loaded: LoadedSpace) -> Iterator[Problem]:
    """Conditions that depend on each other."""
    waiting = {name: set(_when(part)) & set(loaded.space.params) for name, part in loaded.space.params.items()}
    while ready := [name for name, others in waiting.items() if not others & set(waiting)]:
        for name in ready:
            del waiting[name]
    circle = [name for name in waiting if name not in waiting[name]]
    if circle:
        note = f"the conditions of {listing(circle, 'and')} depend on each other"
        yield loaded.problem(f"params.{circle[0]}.when", note, do="Remove one of them.")


def _when(part: Any) -> Mapping[str, list[Any]]:
    return part.when if isinstance(part, Range | Choices | Fixed) else {}


def _known_values(loaded: LoadedSpace) -> dict[str, Any]:
    """Every param to its values: a list, or the `Range`."""
    space = loaded.space
    known: dict[str, Any] = {
        "model": [model_name(part) for part in space.models],
        "form": space.forms,
        "format": space.adapters,
        "constrained": as_list(space.program.constrained),
        "demos": space.demo_kinds,
        **({} if space.program.tools is None else {"tools": as_list(space.program.tools)}),
    }
    known |= {model_param(predictor): as_list(names) for predictor, names in space.program.models.items()}
    for predictor, variants in variant_names(loaded).items():
        known[instruction_param(predictor)] = list(variants)
    if not set(known["demos"]) <= {"none", OWN}:
        known["demos.count"] = as_list(space.demos.count)
    for name, part in space.params.items():
        values = part.choices if isinstance(part, Choices) else [part.value if isinstance(part, Fixed) else part]
        known.setdefault(name, part if isinstance(part, Range) else values)
    return known


def _option(loaded: LoadedSpace, key: str, option: Any, values: Any) -> Iterator[Problem]:
    if isinstance(values, Range):
        if isinstance(option, bool) or not isinstance(option, int | float) or not values.low <= option <= values.high:
            expected = f"a number in [{values.low:g}, {values.high:g}], the range of that param"
            yield loaded.problem(key, got=shown(option), expected=expected)
    elif not any(_same(option, value) for value in values):
        texts = [value for value in values if isinstance(value, str)]
        do = nearest(option, texts) if isinstance(option, str) else None
        shortest = ", ".join(str(shown(value)) for value in values[:12])
        raw = str(option) if isinstance(option, float) else None
        yield loaded.problem(key, got=shown(option, raw), expected=f"a value of that param ({shortest})", do=do)


def _same(option: Any, value: Any) -> bool:
    """As the search compares them: texts by glob, numbers by value."""
    if isinstance(option, str) and isinstance(value, str):
        return fnmatch.fnmatchcase(value, option)
    return same_value(option, value)
