"""Optuna's samplers and distributions for the params of a space.

Each proposal gets a sampler of its own, with its own seed. TPE and NSGA-II are given the params that are searched in
every trial; otherwise they would take those that all trials so far share, and an incumbent whose model is not searched
would remove the model from their search for good.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from offramp.ids import derived_seed
from offramp.records import Scalar
from offramp.space.params import SearchParam
from offramp.stats import non_dominated

STARTUP_TRIALS = 5
POPULATION = 10
SEEN_TRIALS = 48
"""A proposal of TPE is made from at most this many trials."""
DIGITS = 6
"""Significant digits of a searched number without a step."""


class _Narrowing:
    """Mixed into a sampler: choices that may join later are stored with each trial but never drawn.

    Optuna requires a study's choices to be the same from its first trial to its last. So every trial lists them all,
    and the sampler sees only those available today. Choices that were withdrawn are in its trials, so it may propose
    them: then one of those left is drawn at random in their place.

    Attributes:
        today: by param with choices that may join later, those available.
        left: by param with withdrawn choices, the others.
    """

    today: Mapping[str, BaseDistribution]
    left: Mapping[str, tuple[Scalar, ...]]
    chance: random.Random

    def sample_independent(self, study: optuna.Study, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """One of today's choices."""
        narrow = self.today.get(param_name, param_distribution)
        if narrow.single():
            return narrow.choices[0]
        return self._left(param_name, super().sample_independent(study, trial, param_name, narrow))  # type: ignore[misc]

    def sample_relative(self, study: optuna.Study, trial: Any, search_space: Mapping[str, Any]) -> dict[str, Any]:
        """Values of today's choices; a param with one choice is left to `sample_independent`."""
        narrow = {name: self.today.get(name, known) for name, known in search_space.items()}
        open_ = {name: known for name, known in narrow.items() if not known.single()}
        drawn = super().sample_relative(study, trial, open_)  # type: ignore[misc]
        return {name: self._left(name, value) for name, value in drawn.items()}

    def _left(self, name: str, value: Any) -> Any:
        left = self.left.get(name)
        return value if left is None or value in left else self.chance.choice(left)


class _Random(_Narrowing, optuna.samplers.RandomSampler):  # type: ignore[misc]
    pass


class _Gp(_Narrowing, optuna.samplers.GPSampler):  # type: ignore[misc]
    pass


class _Tpe(_Narrowing, optuna.samplers.TPESampler):  # type: ignore[misc]
    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed, n_startup_trials=STARTUP_TRIALS)
        self._whole_space = space

    def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> dict[str, BaseDistribution]:
        return dict(self._whole_space) if self._is_multivariate(study) else {}


class _Nsga2(_Narrowing, optuna.samplers.NSGAIISampler):  # type: ignore[misc]
    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed, population_size=POPULATION)
        self._whole_space = space

    def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> dict[str, BaseDistribution]:
        return dict(self._whole_space)

    def select_parent(self, study: optuna.Study, generation: int) -> list[Any]:
        """In the order of trials; Optuna's own order differs between the first call and later ones."""
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


def make_sampler(kind: str, search_params: Sequence[SearchParam], seed: int) -> optuna.samplers.BaseSampler:
    """The sampler for one proposal. The job itself walks through a `grid`, so any sampler will do there."""
    sampler: Any
    if kind == "tpe":
        sampler = _Tpe(_in_every_trial(search_params), seed)
    elif kind == "nsga2":
        sampler = _Nsga2(_in_every_trial(search_params), seed)
    elif kind == "gp":
        sampler = _Gp(seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False)
    else:
        sampler = _Random(seed=seed)
    sampler.today = {param.name: CategoricalDistribution(param.choices) for param in search_params if param.reserved}
    sampler.left = {param.name: param.choices for param in search_params if param.listed}
    sampler.chance = random.Random(derived_seed(seed, "withdrawn"))
    return sampler


def relevant_trials(kind: str, values: Sequence[Sequence[float]], maximise: Sequence[bool]) -> Sequence[int]:
    """Which trials of a history a proposal is made from, in order: the others tell the sampler little or nothing.

    TPE weighs every trial for every param, so that the thousandth proposal would take a second. It is given up to half
    of `SEEN_TRIALS` from the front, the newest of it (with one objective, the best), and the newest of the others.

    Args:
        values: one row per trial, one column per objective.
    """
    if kind == "random":
        return ()
    if kind != "tpe" or len(values) <= SEEN_TRIALS:
        return range(len(values))
    half = SEEN_TRIALS // 2
    if len(maximise) == 1:
        losses = -np.ravel(values) if maximise[0] else np.ravel(values)
        best = np.argsort(losses, kind="stable")[:half]  # NaN comes last
    else:
        best = np.flatnonzero(non_dominated(values, maximise=maximise))[-half:]
    rest = np.setdiff1d(np.arange(len(values)), best)[len(best) - SEEN_TRIALS :]
    return [int(i) for i in sorted([*best, *rest])]


def generation_of(number: int) -> dict[str, Any]:
    """What NSGA-II notes on the trial with this number: generations are as many trials each, in order."""
    return {optuna.samplers.NSGAIISampler._get_generation_key(): number // POPULATION}


def warm_up(sampler: optuna.samplers.BaseSampler, study: optuna.Study) -> None:
    """Computes, oldest first, what NSGA-II keeps beside the trials: the parents of every generation so far.

    It would find them itself, but by a recursion as deep as there are generations.
    """
    if isinstance(sampler, _Nsga2):
        key = sampler._get_generation_key()
        newest = max((t.system_attrs.get(key, 0) for t in study.get_trials(deepcopy=False)), default=0)
        for generation in range(1, newest + 1):
            sampler.get_parent_population(study, generation)


def _in_every_trial(search_params: Sequence[SearchParam]) -> dict[str, BaseDistribution]:
    """Params that have something to choose and no condition, by name."""
    found = {param.name: distribution_of(param) for param in search_params if param.searched and not param.when}
    return {name: found[name] for name in sorted(found) if not found[name].single()}


def distribution_of(param: SearchParam) -> BaseDistribution:
    """Optuna's distribution for a searched param, including choices that may join later."""
    if param.choices:
        return CategoricalDistribution(param.listed or (*param.choices, *param.reserved))
    if param.whole:
        return IntDistribution(int(param.low), int(param.high), step=int(param.step or 1), log=param.log)
    return FloatDistribution(param.low, param.high, step=param.step, log=param.log)


def suggest(trial: optuna.Trial, param: SearchParam) -> Scalar:
    """The trial's value for a searched param, rounded to few digits within its range."""
    distribution = distribution_of(param)
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(param.name, distribution.choices)  # type: ignore[no-any-return]
    if isinstance(distribution, IntDistribution):
        return int(
            trial.suggest_int(param.name, int(param.low), int(param.high), step=int(param.step or 1), log=param.log)
        )
    return rounded(float(trial.suggest_float(param.name, param.low, param.high, step=param.step, log=param.log)), param)


def rounded(value: float, param: SearchParam) -> float:
    """A value of a range without meaningless digits: 12 decimal places on a grid, else six significant digits."""
    if param.step is not None:
        return round(value, 12)
    return min(param.high, max(param.low, float(f"{value:.{DIGITS}g}")))


def is_inside(param: SearchParam, value: Scalar) -> bool:
    """Whether Optuna accepts this value for the param: in its range, and on its grid if it has one."""
    if not param.holds(value) or param.choices or param.step is None:
        return param.holds(value)
    steps = (float(value or 0) - param.low) / param.step
    return abs(steps - round(steps)) < 1e-8
