"""The only door to optuna: one study, asked and told.

Trials are proposed from the history of finished trials and a seed for each proposal, not from a generator that lives in
this process: a job that was killed proposes the same next candidate that it would have proposed. A trial that did not
finish is told as FAIL, and its params are queued again, so that no trial stays RUNNING and none is lost.

Invariant: after `ask`, exactly one `tell` or `tell_failed` follows on every way out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from offramp.errors import StorageError, problem
from offramp.ids import derived_seed
from offramp.records import Scalar
from offramp.space.dimensions import Dimension, choose, values_in
from offramp.store.engine import Store

STARTUP_TRIALS = 5
POPULATION = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A proposed trial: its number in the study and its assignment."""

    number: int
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTrial:
    """A trial that was told with values.

    Attributes:
        candidate: id.
        params: the full assignment of the candidate, fixed params included.
        duplicate_of: number of the trial that evaluated the same candidate before; None for the first.
    """

    number: int
    candidate: str
    params: Mapping[str, Scalar]
    duplicate_of: int | None


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps optuna's log and warnings away for a while, and puts its verbosity back."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", module="optuna")
            yield
    finally:
        optuna.logging.set_verbosity(before)


class OptunaStudy:
    """One optuna study with the dimensions of a space."""

    def __init__(
        self, *, store: Store, name: str, directions: Sequence[str], metric_names: Sequence[str],
        dims: Sequence[Dimension], sampler: str, seed: int,
    ) -> None:  # fmt: skip
        self._dims, self._sampler, self._seed = tuple(dims), sampler, seed
        self._live: dict[int, optuna.Trial] = {}
        with quiet():
            storage = open_storage(store)
            self._study = optuna.create_study(
                storage=storage, study_name=name, directions=list(directions), load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(seed=seed),
            )  # fmt: skip
            self._study.set_metric_names(list(metric_names))

    def take_back_unfinished(self) -> int:
        """Tells trials that a killed process left RUNNING as FAIL and queues their params again; how many there were."""
        with quiet():
            left = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            for trial in left:
                self.tell_failed(trial.number, "the process that ran it ended", again=True)
        return len(left)

    def ask(self) -> Asked:
        """The next trial: a queued assignment first, else what the sampler proposes."""
        with quiet():
            index = len(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
            self._study.sampler = self._make_sampler(index, "ask")
            trial = self._study.ask()
            self._live[trial.number] = trial

            def pick(dim: Dimension) -> Scalar:
                self._study.sampler = self._make_sampler(index, dim.name)
                return _suggest(trial, dim)

            return Asked(number=trial.number, params=choose(self._dims, pick))

    def queue(self, params: Mapping[str, Scalar]) -> None:
        """Puts an assignment first in the queue of `ask`."""
        with quiet():
            self._study.enqueue_trial(self._searched(params))

    def add_incumbent(self, params: Mapping[str, Scalar], values: Sequence[float], attributes: Mapping[str, Any],
                      constraints: Mapping[str, float]) -> int:  # fmt: skip
        """Adds the finished incumbent as a trial; params outside of the searched ranges are left to its attributes."""
        inside = {n: v for n, v in self._searched(params).items() if self._dim(n).holds(v)}
        with quiet():
            self._study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE, values=list(values), params=inside,
                    distributions={n: _distribution(self._dim(n)) for n in inside},
                    user_attrs=dict(attributes), constraints=dict(constraints) or None,
                )
            )  # fmt: skip
            return len(self._study.get_trials(deepcopy=False)) - 1

    def tell(
        self, number: int, values: Sequence[float], attributes: Mapping[str, Any], constraints: Mapping[str, float]
    ) -> None:
        """Finishes a trial with its values."""
        with quiet():
            trial = self._trial(number)
            for name, value in attributes.items():
                trial.set_user_attr(name, value)
            for name, missed in constraints.items():
                trial.set_constraint(name, missed)
            self._study.tell(number, values=list(values))

    def tell_failed(self, number: int, reason: str, *, again: bool) -> None:
        """Ends a trial without values; `again` queues its params for the next ask."""
        with quiet():
            trial = self._trial(number)
            trial.set_user_attr("failed_because", reason[:500])
            self._study.tell(number, state=TrialState.FAIL)
            params = dict(trial.params)
            wanted = [d.name for d in self._dims if d.searched and d.applies({**self._fixed(), **params})]
            if again and all(name in params for name in wanted):
                self._study.enqueue_trial(params)

    def finished(self) -> tuple[FinishedTrial, ...]:
        """All trials with values, in order."""
        return finished_trials(self._study)

    def _trial(self, number: int) -> optuna.Trial:
        if number in self._live:
            return self._live.pop(number)
        frozen = self._study.get_trials(deepcopy=False)[number]
        return optuna.Trial(self._study, frozen._trial_id)

    def _dim(self, name: str) -> Dimension:
        return next(dim for dim in self._dims if dim.name == name)

    def _fixed(self) -> dict[str, Scalar]:
        return {dim.name: dim.choices[0] for dim in self._dims if not dim.searched}

    def _searched(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        return {dim.name: params[dim.name] for dim in self._dims if dim.searched and dim.name in params}

    def _make_sampler(self, index: int, part: str) -> optuna.samplers.BaseSampler:
        seed = derived_seed(self._seed, "sampler", index, part)
        samplers = optuna.samplers
        if self._sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self._sampler == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
        if self._sampler == "grid":
            grid = {dim.name: list(values_in(dim)) for dim in self._dims if dim.searched}
            return samplers.GridSampler(grid, seed=derived_seed(self._seed, "grid"))
        if self._sampler == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False)
        return samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)


def open_storage(store: Store) -> optuna.storages.BaseStorage:
    """Optuna's storage in the same database as offramp's tables; optuna-dashboard opens it by the same URL.

    Raises:
        StorageError: it cannot be opened or belongs to another version of optuna.
    """
    options = {"connect_args": {"timeout": 30}} if store.dialect == "sqlite" else {}
    try:
        return optuna.storages.RDBStorage(store.rdb_url, engine_kwargs=options)
    except Exception as error:  # optuna raises many kinds, and its text may hold the URL
        raise StorageError(problem(store.url, f"optuna cannot open this storage ({type(error).__name__})")) from None


def load_finished(store: Store, name: str) -> tuple[FinishedTrial, ...]:
    """The finished trials of a study, to look at. Raises StorageError when there is no such study."""
    with quiet():
        try:
            return finished_trials(optuna.load_study(study_name=name, storage=open_storage(store)))
        except KeyError as error:
            raise StorageError(problem("study", f"optuna has no study {name!r}")) from error


def finished_trials(study: optuna.Study) -> tuple[FinishedTrial, ...]:
    """All trials with values, in order."""
    with quiet():
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return tuple(
        FinishedTrial(
            number=trial.number,
            candidate=trial.user_attrs["candidate"],
            params=trial.user_attrs["params"],
            duplicate_of=trial.user_attrs.get("duplicate_of"),
        )
        for trial in trials
        if "candidate" in trial.user_attrs
    )


def _suggest(trial: optuna.Trial, dim: Dimension) -> Scalar:
    distribution = _distribution(dim)
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(dim.name, dim.choices)  # type: ignore[no-any-return]
    if isinstance(distribution, IntDistribution):
        return int(trial.suggest_int(dim.name, int(dim.low), int(dim.high), step=int(dim.step or 1), log=dim.log))
    return round(float(trial.suggest_float(dim.name, dim.low, dim.high, step=dim.step, log=dim.log)), 6)


def _distribution(dim: Dimension) -> BaseDistribution:
    if dim.choices:
        return CategoricalDistribution(dim.choices)
    if dim.whole:
        return IntDistribution(int(dim.low), int(dim.high), step=int(dim.step or 1), log=dim.log)
    return FloatDistribution(dim.low, dim.high, step=dim.step, log=dim.log)
