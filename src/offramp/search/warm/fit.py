"""A candidate of another study as an assignment of this space.

Instructions are matched by their text, everything else by value. A value that the space does not have becomes the
nearest one that it has.

Invariant: what comes out is an assignment that the space could have proposed itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from offramp.job.resolve import ResolvedJob
from offramp.records import Candidate, Scalar
from offramp.search.samplers import rounded
from offramp.space.dimensions import Dimension, Texts, choose, instruction_param, values_in

Assignment = Mapping[str, Scalar]


def wanted_of(candidate: Candidate, texts: Texts) -> dict[str, Scalar]:
    """Its params, with instructions under the names that the texts have here; those without a name are left out."""
    wanted = {name: value for name, value in candidate.params.items() if not name.startswith("instruction")}
    for predictor, text in candidate.instructions.items():
        names = [name for name, known in texts.get(predictor, {}).items() if known == text]
        if names:
            wanted[instruction_param(predictor)] = names[0]
    return wanted


def fitted(candidate: Candidate, job: ResolvedJob, **changes: Scalar) -> Assignment:
    """The assignment of this space that is nearest to the candidate, with `changes` (such as another model)."""
    wanted = {**wanted_of(candidate, job.all_texts), **changes}
    return choose(job.dims, lambda dim: nearest_value(dim, wanted.get(dim.name)))


def nearest_value(dim: Dimension, value: Scalar) -> Scalar:
    """The value as the dimension writes it, where it has it; else the nearest number; else the first choice."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if dim.choices and dim.holds(value):
        return dim.own(value)
    if dim.size == float("inf"):
        return rounded(dim.low if number is None else min(dim.high, max(dim.low, float(number))), dim)
    values = values_in(dim)
    if not dim.choices and number is not None:
        place = math.ceil((number - dim.low) / (dim.step or 1) - 0.5)
        return values[min(len(values) - 1, max(0, place))]
    numbers = [v for v in dim.choices if isinstance(v, int | float) and not isinstance(v, bool)]
    if number is None or not numbers:
        return values[0]
    return min(numbers, key=lambda v: abs(v - number))


def held(candidate: Candidate, job: ResolvedJob) -> dict[str, Scalar]:
    """The searched params of a candidate that this space has as they are: what a sampler can learn from."""
    wanted = wanted_of(candidate, job.all_texts)
    return {d.name: wanted[d.name] for d in job.dims if d.searched and d.name in wanted and d.holds(wanted[d.name])}
