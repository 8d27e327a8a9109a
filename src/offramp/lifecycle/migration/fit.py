"""Today's request parameters on another model: what it accepts of them, by value, and what has to be left out.

A model that thinks writes its reasoning within `max_tokens`. A cap that was meant for the answer alone then cuts it, so
that nothing is learned about the model; such a config is tried with a higher cap as well.

Invariant: nothing is sent; what a model rejects is never in a plan, and is never left out without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations, product
from typing import Any

from offramp.errors import UsageError
from offramp.lifecycle.migration.origin import Origin
from offramp.lifecycle.migration.spaces import Raised, model_part
from offramp.models.acceptance import SAMPLING, accepted, rejection
from offramp.models.capabilities import supported_params
from offramp.models.catalogue import resolve
from offramp.models.table import load_table
from offramp.records import Aggregate, Model
from offramp.space.model import Choices, Fixed, Range


def fitted(model: Model, params: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters that a model accepts, and those left out: `temperature=0.0 (only temperature=1 is supported)`."""
    takes = supported_params(model)
    known = {name: value for name, value in params.items() if takes is None or name in takes}
    kept, rejected = accepted(model, known)
    unknown = [f"{name}={params[name]!r} (the model has no such parameter)" for name in params if name not in known]
    gone = [f"{name}={known[name]!r} ({_why(name, rejected)})" for name in known if name not in kept]
    return kept, (*unknown, *gone)


def _why(name: str, rejected: Sequence[Any]) -> str:
    return next((item.why for item in rejected if name in item.params), "not accepted")


ROOM = (4096, 16384)
"""Tokens that the cap is raised by: the second where answers are still cut with the first."""
_CAPS = ("max_tokens", "max_completion_tokens")


def with_room(model: Model, params: Mapping[str, Any], room: int) -> Raised | None:
    """The higher cap; None where nothing caps the output, or the model cannot write more."""
    param = next((name for name in _CAPS if isinstance(params.get(name), int)), None)
    if param is None:
        return None
    after = min(params[param] + room, model.max_output_tokens or math.inf)
    return Raised(param=param, before=params[param], after=int(after)) if after > params[param] else None


def cut_by_reasoning(model: Model, seen: Sequence[Aggregate]) -> bool:
    """Whether answers were cut because of reasoning: it filled the cap, or the model is one that thinks."""
    if not any(one.n_cut for one in seen):
        return False
    row = load_table().find(model.route)
    return any(one.n_cut_reasoning for one in seen) or (row is not None and row.supports_reasoning)


def params_refused(origin: Origin, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """Request parameters, each with the models that reject one of its values, alone or beside another."""
    found: dict[str, frozenset[str]] = {}
    for name in names:
        with suppress(UsageError):  # a model that nobody knows is refused with its reason in `searchable`
            for param in _refused_by(resolve(model_part(origin, name), name), origin.space.space.params):
                found[param] = found.get(param, frozenset()) | {name}
    return found


def _refused_by(model: Model, params: Mapping[str, Any]) -> Iterator[str]:
    takes = supported_params(model)
    values = {name: _values(part) for name, part in params.items()}
    refused = {name for name in values if takes is not None and name not in takes}
    refused |= {n for n in values.keys() - refused if any(rejection(model, {n: value}) for value in values[n])}
    for one, other in combinations([name for name in values if name not in refused], 2):
        pairs = product(values[one], values[other])
        if refused.isdisjoint((one, other)) and any(rejection(model, {one: a, other: b}) for a, b in pairs):
            refused.add(one if one in SAMPLING else other)
    yield from refused


def _values(part: Any) -> tuple[Any, ...]:
    if isinstance(part, Choices):
        return tuple(part.choices)
    if isinstance(part, Range):
        return (part.low, part.high)
    return (part.value if isinstance(part, Fixed) else part,)
