"""Optuna's samplers and distributions for the params of a space.

A sampler is made for one proposal, with its own seed. The population samplers are given the params that are searched
in every trial, since they would otherwise take that from the trials so far: an incumbent whose model is not searched
would take the model out of it for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection

from offramp.records import Scalar
from offramp.space.params import SearchParam
from offramp.stats import non_dominated

STARTUP_TRIALS = 5
POPULATION = 10
SEEN_TRIALS = 48
"""So many trials a TPE proposal is made from, at most."""
DIGITS = 6
"""Significant digits of a searched number without step."""


class _Narrowing:
    """Before a sampler: choices that may join later are stored with each trial and never drawn.

    Optuna wants the choices of a study to be the same from its first trial to its last. So a trial has them all, and
    the sampler is shown those that can be had today.
    """

    today: Mapping[str, BaseDistribution]

    def sample_independent(self, study: optuna.Study, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """A value of today's choices."""
        narrow = self.today.get(param_name, param_distribution)
        if narrow.single():
            return narrow.choices[0]
        return super().sample_independent(study, trial, param_name, narrow)  # type: ignore[misc]

    def sample_relative(self, study: optuna.Study, trial: Any, search_space: Mapping[str, Any]) -> dict[str, Any]:
        """Values of today's choices; a param with one choice is left to `sample_independent`."""
        narrow = {name: self.today.get(name, known) for name, known in search_space.items()}
        open_ = {name: known for name, known in narrow.items() if not known.single()}
        return super().sample_relative(study, trial, open_)  # type: ignore[misc,no-any-return]


class _Window:
    """A study of which a sampler sees so many trials: the newest of its front, and the newest of the others.

    TPE weighs every trial for every param, so that the thousandth proposal would take a second. What lies behind the
    front by hundreds of trials tells it little.
    """

    def __init__(self, study: optuna.Study, asked: int) -> None:
        self._study, self._asked = study, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, deepcopy: bool = True, states: Any = None, use_cache: bool = False) -> list[Any]:
        """Worked out once for the trial that is asked for, since it is wanted again for each of its params."""
        kept = _KEPT.get(self._study)
        if kept is None or kept[0] != (self._asked, states):
            trials = self._study._get_trials(deepcopy=deepcopy, states=states, use_cache=use_cache)
            kept = ((self._asked, states), self._newest(trials))
            _KEPT[self._study] = kept
        return list(kept[1])

    def _newest(self, trials: Sequence[Any]) -> Sequence[Any]:
        """Half of them from the front, as far as it goes; of one objective the best."""
        if len(trials) <= SEEN_TRIALS:
            return trials
        up = [direction == StudyDirection.MAXIMIZE for direction in self._study.directions]
        values = [[float("nan")] * len(up) if trial.values is None else trial.values for trial in trials]
        half = SEEN_TRIALS // 2
        if len(up) == 1:
            losses = -np.ravel(values) if up[0] else np.ravel(values)
            best = np.argsort(losses, kind="stable")[:half]  # NaN comes last
        else:
            best = np.flatnonzero(non_dominated(values, maximise=up))[-half:]
        rest = np.setdiff1d(np.arange(len(trials)), best)[len(best) - SEEN_TRIALS :].tolist()
        return [trials[i] for i in sorted([*best.tolist(), *rest])]


_KEPT: WeakKeyDictionary[Any, tuple[tuple[int, Any], Sequence[Any]]] = WeakKeyDictionary()


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

    def _sample(self, study: optuna.Study, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        return super()._sample(_Window(study, trial.number), trial, search_space)  # type: ignore[no-any-return]


class _Nsga2(_Narrowing, optuna.samplers.NSGAIISampler):  # type: ignore[misc]
    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed, population_size=POPULATION)
        self._whole_space = space

    def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> dict[str, BaseDistribution]:
        return dict(self._whole_space)

    def select_parent(self, study: optuna.Study, generation: int) -> list[Any]:
        """In the order of trials, as optuna returns them from the second time on."""
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


def make_sampler(kind: str, search_params: Sequence[SearchParam], seed: int) -> optuna.samplers.BaseSampler:
    """The sampler for one proposal. A `grid` is walked by the job itself, so that any will do."""
    sampler = _sampler(kind, search_params, seed)
    sampler.today = {param.name: CategoricalDistribution(param.choices) for param in search_params if param.reserved}
    return sampler


def warm_up(sampler: optuna.samplers.BaseSampler, study: optuna.Study) -> None:
    """Works out, oldest first, what NSGA-II keeps beside the trials: the parents of every generation so far.

    It would find them by itself, each from those before it, as deep as there are generations.
    """
    if isinstance(sampler, _Nsga2):
        key = sampler._get_generation_key()
        newest = max((t.system_attrs.get(key, 0) for t in study.get_trials(deepcopy=False)), default=0)
        for generation in range(1, newest + 1):
            sampler.get_parent_population(study, generation)


def _sampler(kind: str, search_params: Sequence[SearchParam], seed: int) -> Any:
    if kind == "tpe":
        return _Tpe(_in_every_trial(search_params), seed)
    if kind == "nsga2":
        return _Nsga2(_in_every_trial(search_params), seed)
    if kind == "gp":
        return _Gp(seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False)
    return _Random(seed=seed)


def _in_every_trial(search_params: Sequence[SearchParam]) -> dict[str, BaseDistribution]:
    found = {param.name: distribution_of(param) for param in search_params if param.searched and not param.when}
    return {name: found[name] for name in sorted(found) if not found[name].single()}


def distribution_of(param: SearchParam) -> BaseDistribution:
    """Optuna's distribution for a searched param: choices that may join later are in it from the start."""
    if param.choices:
        return CategoricalDistribution((*param.choices, *param.reserved))
    if param.whole:
        return IntDistribution(int(param.low), int(param.high), step=int(param.step or 1), log=param.log)
    return FloatDistribution(param.low, param.high, step=param.step, log=param.log)


def suggest(trial: optuna.Trial, param: SearchParam) -> Scalar:
    """The trial's value for a searched param, rounded so that it reads well and stays in its range."""
    distribution = distribution_of(param)
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(param.name, distribution.choices)  # type: ignore[no-any-return]
    if isinstance(distribution, IntDistribution):
        return int(
            trial.suggest_int(param.name, int(param.low), int(param.high), step=int(param.step or 1), log=param.log)
        )
    return rounded(float(trial.suggest_float(param.name, param.low, param.high, step=param.step, log=param.log)), param)


def rounded(value: float, param: SearchParam) -> float:
    """A value of a range with the digits that tell something: 12 places on a grid, else six significant ones."""
    if param.step is not None:
        return round(value, 12)
    return min(param.high, max(param.low, float(f"{value:.{DIGITS}g}")))


def is_inside(param: SearchParam, value: Scalar) -> bool:
    """Whether optuna takes this value for the param: in its range, and on its grid where there is one."""
    if not param.holds(value) or param.choices or param.step is None:
        return param.holds(value)
    steps = (float(value or 0) - param.low) / param.step
    return abs(steps - round(steps)) < 1e-8
