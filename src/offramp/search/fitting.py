"""A candidate from elsewhere (another study, or with another instruction) as an assignment of this space.

Instructions are matched by their text, everything else by value. A value that the space does not have becomes the
nearest one that it has.

Invariant: the result is an assignment that the space could have proposed itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from offramp.job.resolved import ResolvedJob
from offramp.records import Candidate, Scalar
from offramp.search.sampling.samplers import rounded
from offramp.space.params import SearchParam, choose, instruction_param, values_in

Assignment = Mapping[str, Scalar]


def fitted(candidate: Candidate, job: ResolvedJob, **changes: Scalar) -> Assignment:
    """The assignment of this space that is nearest to the candidate, with `changes` (such as another model)."""
    wanted = {**_params_here(candidate, job), **changes}
    return choose(job.search_params, lambda param: nearest_value(param, wanted.get(param.name)))


def searched_params(candidate: Candidate, job: ResolvedJob) -> dict[str, Scalar]:
    """The candidate's values of searched params that this space has too: what a sampler can learn from."""
    params = _params_here(candidate, job)
    return {
        d.name: params[d.name] for d in job.search_params if d.searched and d.name in params and d.holds(params[d.name])
    }


def _params_here(candidate: Candidate, job: ResolvedJob) -> dict[str, Scalar]:
    """Its params, with instructions under the names that their texts have here; those without a name are left out."""
    params = {name: value for name, value in candidate.params.items() if not name.startswith("instruction")}
    for predictor, text in candidate.instructions.items():
        names = [name for name, known in job.all_texts.get(predictor, {}).items() if known == text]
        if names:
            params[instruction_param(predictor)] = names[0]
    return params


def nearest_value(param: SearchParam, value: Scalar) -> Scalar:
    """The value as the param spells it, if it has it; else the nearest number; else the first choice."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if param.choices and param.holds(value):
        return param.own(value)
    if param.size == math.inf:
        return rounded(param.low if number is None else min(param.high, max(param.low, float(number))), param)
    values = values_in(param)
    if not param.choices and number is not None:
        place = math.ceil((number - param.low) / (param.step or 1) - 0.5)
        return values[min(len(values) - 1, max(0, place))]
    numbers = [v for v in param.choices if isinstance(v, int | float) and not isinstance(v, bool)]
    if number is None or not numbers:
        return values[0]
    return min(numbers, key=lambda v: abs(v - number))
