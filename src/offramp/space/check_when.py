"""Checks of conditions (`when`): what they name has to exist, and they may not wait for each other.

Invariant: a condition without a problem here holds for at least one value of every param that it names.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

from offramp.errors import nearest
from offramp.space.check_params import many
from offramp.space.dimensions import instruction_param, same_value
from offramp.space.load import LoadedSpace, variant_names
from offramp.space.messages import Problem, listing, shown
from offramp.space.model import Choices, Fixed, ModelPart, Range


def check_conditions(loaded: LoadedSpace) -> Iterator[Problem]:
    """Names and values in conditions."""
    known = _known_values(loaded)
    for name, part in loaded.space.params.items():
        yield from _conditions(loaded, f"params.{name}", name, _when(part), known)


def check_circles(loaded: LoadedSpace) -> Iterator[Problem]:
    """Conditions that wait for each other."""
    waiting = {name: set(_when(part)) & set(loaded.space.params) for name, part in loaded.space.params.items()}
    while ready := [name for name, others in waiting.items() if not others & set(waiting)]:
        for name in ready:
            del waiting[name]
    circle = [name for name in waiting if name not in waiting[name]]
    if circle:
        note = f"the conditions of {listing(circle, 'and')} wait for each other"
        yield loaded.problem(f"params.{circle[0]}.when", note, do="Remove one of them.")


def _when(part: Any) -> Mapping[str, list[Any]]:
    return part.when if isinstance(part, Range | Choices | Fixed) else {}


def _known_values(loaded: LoadedSpace) -> dict[str, Any]:
    """Every param to its values: a list, or the `Range`."""
    space = loaded.space
    own = ["own"] if space.task.module is not None else many(space.program.form)
    known: dict[str, Any] = {
        "model": [_model_name(m) for m in space.models],
        "form": own,
        "format": many(space.program.format),
        "constrained": many(space.program.constrained),
        "demos": many(space.demos.kind),
    }
    for predictor, variants in variant_names(loaded).items():
        known[instruction_param(predictor)] = list(variants)
    if set(known["demos"]) != {"none"}:
        known["demos.count"] = many(space.demos.count)
    for name, part in space.params.items():
        known.setdefault(name, _values_of(part))
    return known


def _values_of(part: Any) -> Any:
    if isinstance(part, Range):
        return part
    if isinstance(part, Choices):
        return part.choices
    return [part.value] if isinstance(part, Fixed) else [part]


def _model_name(part: str | ModelPart) -> str:
    return part if isinstance(part, str) else part.name


def _conditions(
    loaded: LoadedSpace, key: str, own: str, when: Mapping[str, list[Any]], known: Mapping[str, Any]
) -> Iterator[Problem]:
    for name, options in when.items():
        inner = f"{key}.when.{name}"
        if name == own:
            yield loaded.problem(inner, "a param cannot wait for itself", do="Name another param.")
        elif name not in known:
            do = nearest(name, known) or f"Known here: {listing(sorted(known), 'and')}."
            yield loaded.problem(inner, "unknown param", do=do)
        elif not options:
            yield loaded.problem(inner, got=shown(options), expected="a list of one value or more")
        else:
            for index, option in enumerate(options):
                yield from _option(loaded, f"{inner}.{index}", option, known[name])


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
