"""Optuna: who proposes candidates, and the record of a study that its own tools read.

Proposals come in batches, from a study in memory that holds everything tried so far with what its values are expected
to be: a candidate that was run on some examples counts as much as one that was run on all. They follow from that and a
seed of their own, not from a generator that lives in this process (docs/decisions/0012-proposals-in-memory.md).

In the storage, a trial is written once, when its candidate has ended: COMPLETE with its values, or PRUNED with the
reason and without values, since some examples do not give values of the study. A candidate that goes on in a later run
of the job gets another trial, which names the first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState, create_trial

from offramp.errors import OfframpError, StorageError, problem
from offramp.ids import derived_seed
from offramp.job.resolved import ResolvedJob
from offramp.records import Scalar
from offramp.search.sampling.samplers import (
    distribution_of,
    generation_of,
    is_inside,
    make_sampler,
    relevant_trials,
    suggest,
    warm_up,
)
from offramp.space.params import SearchParam, choose
from offramp.store.engine import Store, translated

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
"""Trials that were evaluated: in full, or until they were stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of a candidate that was tried, for the next proposals.

    Attributes:
        params: its full assignment.
        values: one per objective of the study, as expected over all examples.
        constraints: by how much each is missed.
    """

    params: Mapping[str, Scalar]
    values: Sequence[float]
    constraints: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTrial:
    """A trial that ended with values.

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
    """Silences Optuna's log and warnings, then restores its verbosity."""
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
    """One Optuna study over the params of a space. A failing storage raises StorageFullError or JobError."""

    def __init__(
        self, *, store: Store, name: str, directions: Sequence[str], metric_names: Sequence[str],
        search_params: Sequence[SearchParam], sampler: str, seed: int,
    ) -> None:  # fmt: skip
        self._search_params, self._sampler, self._seed, self._where = tuple(search_params), sampler, seed, store.url
        self._directions = list(directions)
        self._plain = optuna.samplers.RandomSampler(seed=0)  # never used: each proposal gets its own sampler
        self._storage = open_storage(store)
        with self._door():
            self._stored = optuna.create_study(
                storage=self._storage, study_name=name, directions=list(directions), load_if_exists=True,
                sampler=self._plain,
            )  # fmt: skip
            self._stored.set_metric_names(list(metric_names))
            for unfinished in self._stored.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
                # left by others, as offramp only writes trials that have ended; a waiting one has to be started first
                self._storage.set_trial_state_values(unfinished._trial_id, state=TrialState.RUNNING)
                self._storage.set_trial_state_values(unfinished._trial_id, state=TrialState.FAIL)
            self._written = self._stored.get_trials(deepcopy=False)

    def close(self) -> None:
        """Closes its connections."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def propose(self, seen: Sequence[Seen], count: int, batch: int) -> list[Mapping[str, Scalar]]:
        """So many assignments, proposed together; some may have been tried, or be equal.

        Args:
            seen: everything tried so far, in order; what `add_prior` added goes before it.
            batch: number of this batch in the study, which its seed follows from.
        """
        with self._door():
            study = optuna.create_study(directions=self._directions, sampler=self._plain)
            priors = self._priors()
            values = [*(trial.values for trial in priors), *(one.values for one in seen)]
            told = relevant_trials(self._sampler, values, [direction == "maximize" for direction in self._directions])
            later = (seen[i - len(priors)] for i in told if i >= len(priors))
            history = [priors[i] for i in told if i < len(priors)]
            history += [self._created(one.params, one.values, one.constraints) for one in later]
            for number, trial in enumerate(history):
                trial.system_attrs = {**trial.system_attrs, **generation_of(number)}
            study.add_trials(history)
            warm_up(self._proposer(batch, 0, "ask"), study)
            return [self._asked(study, batch, number) for number in range(count)]

    def _asked(self, study: optuna.Study, batch: int, number: int) -> Mapping[str, Scalar]:
        study.sampler = self._proposer(batch, number, "ask")
        trial = study.ask()

        def pick(param: SearchParam) -> Scalar:
            study.sampler = self._proposer(batch, number, param.name)
            return suggest(trial, param)

        return choose(self._search_params, pick)

    def add(
        self, params: Mapping[str, Scalar], attributes: Mapping[str, Any], values: Sequence[float] | None,
        constraints: Mapping[str, float] | None = None,
    ) -> int:  # fmt: skip
        """Adds a trial that has ended, without `values` as PRUNED; returns its number.

        Params outside the searched ranges are in its attributes only.
        """
        with self._door():
            return self._write(self._created(params, values, constraints or {}, attributes))

    def add_failed(self, params: Mapping[str, Scalar], reason: str) -> None:
        """Adds a trial that ended in an error, for those who look at the study with Optuna's own tools."""
        with self._door():
            trial = self._created(params, None, {}, {"failed_because": reason[:500]})
            trial.state = TrialState.FAIL
            self._write(trial)

    def add_prior(self, params: Mapping[str, Scalar], values: Sequence[float], constraints: Mapping[str, float], *,
                  candidate: str, source: str) -> None:  # fmt: skip
        """Adds a finished trial of another study as history for the sampler; no count and no report includes it."""
        with self._door():
            self._write(
                create_trial(
                    state=TrialState.COMPLETE, values=list(values), params=dict(params),
                    distributions={n: distribution_of(self._param(n)) for n in params},
                    user_attrs={"prior": source, "prior_candidate": candidate}, constraints=dict(constraints) or None,
                )
            )  # fmt: skip

    def priors(self) -> frozenset[str]:
        """Candidates whose trials were added with `add_prior`."""
        with self._door():
            return frozenset(trial.user_attrs["prior_candidate"] for trial in self._priors())

    def _priors(self) -> list[optuna.trial.FrozenTrial]:
        return [copy(trial) for trial in self._written if "prior_candidate" in trial.user_attrs]

    def _write(self, trial: optuna.trial.FrozenTrial) -> int:
        """Adds a trial to the storage; returns its number."""
        self._stored.add_trial(trial)
        number = trial.number = len(self._written)
        self._written.append(trial)
        return number

    def adopt(self, search_params: Sequence[SearchParam]) -> None:
        """Replaces the params by the same ones with more of their reserved choices available."""
        self._search_params = tuple(search_params)

    @property
    def next_number(self) -> int:
        """The number that the next trial will have."""
        return len(self._written)

    def finished(self) -> tuple[FinishedTrial, ...]:
        """All trials with values, in order."""
        return self._trials(TrialState.COMPLETE)

    def ended(self) -> tuple[FinishedTrial, ...]:
        """All trials with values and all that were stopped, in order."""
        return self._trials(*ENDED)

    def _trials(self, *states: TrialState) -> tuple[FinishedTrial, ...]:
        """All trials of candidates in these states, in order."""
        return tuple(
            FinishedTrial(
                number=trial.number,
                candidate=trial.user_attrs["candidate"],
                params=trial.user_attrs["params"],
                duplicate_of=trial.user_attrs.get("duplicate_of"),
            )
            for trial in self._written
            if trial.state in states and "candidate" in trial.user_attrs
        )

    @contextmanager
    def _door(self) -> Iterator[None]:
        with quiet(), _as_ours(self._where):
            yield

    def _created(
        self, params: Mapping[str, Scalar], values: Sequence[float] | None, constraints: Mapping[str, float],
        attributes: Mapping[str, Any] | None = None,
    ) -> optuna.trial.FrozenTrial:  # fmt: skip
        """A finished trial of these params, as far as they are searched and inside their ranges."""
        inside = {n: v for n, v in self._searched(params).items() if is_inside(self._param(n), v)}
        return create_trial(
            state=TrialState.PRUNED if values is None else TrialState.COMPLETE,
            values=None if values is None else list(values), params=inside,
            distributions={n: distribution_of(self._param(n)) for n in inside},
            user_attrs=dict(attributes or {}), constraints=dict(constraints) or None,
        )  # fmt: skip

    def _param(self, name: str) -> SearchParam:
        return next(param for param in self._search_params if param.name == name)

    def _searched(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        return {
            param.name: params[param.name] for param in self._search_params if param.searched and param.name in params
        }

    def _proposer(self, batch: int, number: int, part: str) -> optuna.samplers.BaseSampler:
        seed = derived_seed(self._seed, "sampler", batch, number, part)
        return make_sampler(self._sampler, self._search_params, seed)


def open_study(job: ResolvedJob, seed: int, store: Store) -> OptunaStudy:
    """The Optuna study of a job: one value per objective, or the utility alone."""
    single = job.space.search.mode == "utility"
    names = ["utility"] if single else [objective.name for objective in job.objectives]
    directions = ["maximize"] if single else ["maximize" if o.maximise else "minimize" for o in job.objectives]
    return OptunaStudy(
        store=store,
        name=job.study_name(seed),
        directions=directions,
        metric_names=names,
        search_params=job.search_params,
        sampler=job.space.search.sampler,
        seed=seed,
    )


@contextmanager
def _as_ours(where: str) -> Iterator[None]:
    """Turns Optuna's errors about a failing database into ours."""
    with translated(where):
        try:
            yield
        except StorageInternalError as error:
            raise (error.__cause__ or error) from None


def open_storage(store: Store) -> optuna.storages.RDBStorage:
    """Optuna's storage, in the same database as offramp's tables; optuna-dashboard opens it with the same URL.

    Raises:
        StorageError: it cannot be opened, or belongs to another version of optuna.
    """
    options = {"connect_args": {"timeout": 30}} if store.dialect == "sqlite" else {}
    try:
        with quiet(), _as_ours(store.url):
            return optuna.storages.RDBStorage(store.rdb_url, engine_kwargs=options)
    except OfframpError:
        raise
    except Exception as error:  # noqa: BLE001 - Optuna raises many kinds, and their texts may contain the URL
        raise StorageError(problem(store.url, f"optuna cannot open this storage ({type(error).__name__})")) from None
