"""Ask and tell for one Optuna study.

A proposal follows from the finished trials and a seed of its own, not from a generator that lives in this process, so a
job that was killed proposes the same next candidate as it would have. A trial that did not finish is recorded as FAIL,
so that none stays RUNNING, and is proposed again. (Queueing its params would lose what a sampler notes on its own
proposals: NSGA-II does not count a queued trial as part of its population.)

There are two copies of the study. Proposals are made in memory, where reading two thousand trials is fast. A trial is
written to the storage once, when it has ended, with everything that samplers noted on it, so a killed job never leaves
a half-written trial there (docs/decisions/0012-proposals-in-memory.md).

Invariants: every `ask` is followed by exactly one `tell`, `tell_stopped` or `tell_failed`, whatever happens. Both
copies hold the same ended trials under the same numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState, create_trial

from offramp.errors import OfframpError, StorageError, problem
from offramp.ids import derived_seed
from offramp.job.resolved import ResolvedJob
from offramp.records import Scalar
from offramp.scrubbing import scrubbed, scrubbed_value
from offramp.search.samplers import distribution_of, is_inside, make_sampler, suggest, warm_up
from offramp.space.params import SearchParam, choose
from offramp.store.engine import Store, translated

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
"""Trials that were evaluated: in full, or until they were stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A proposed trial: its number in the study and its assignment."""

    number: int
    params: Mapping[str, Scalar]


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
        self._live: dict[int, optuna.Trial] = {}
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
            self._study = optuna.create_study(directions=list(directions), sampler=self._plain)
            self._study.add_trials(self._stored.get_trials(deepcopy=False))
            warm_up(self._proposer(0, "ask"), self._study)

    def close(self) -> None:
        """Closes its connections."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def ask(self) -> Asked:
        """The next trial: a queued assignment first, else what the sampler proposes."""
        with self._door():
            index = len(self._study.get_trials(deepcopy=False, states=ENDED))
            try:
                self._study.sampler = self._proposer(index, "ask")
                trial = self._study.ask()
                self._live[trial.number] = trial

                def pick(param: SearchParam) -> Scalar:
                    self._study.sampler = self._proposer(index, param.name)
                    return suggest(trial, param)

                return Asked(number=trial.number, params=choose(self._search_params, pick))
            except Exception as error:
                for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                    self.tell_failed(trial.number, f"{type(error).__name__}: {error}")
                raise
            finally:
                self._study.sampler = self._plain

    def queue(self, params: Mapping[str, Scalar]) -> None:
        """Puts an assignment first in the queue of `ask`."""
        with self._door():
            self._study.enqueue_trial(self._searched(params))

    def duplicates_in_a_row(self) -> int:
        """How many of the last trials in a row proposed a candidate that had been evaluated before."""
        with self._door():
            trials = self._study.get_trials(deepcopy=False, states=ENDED)
        ended = (trial for trial in reversed(trials) if "candidate" in trial.user_attrs)
        return sum(1 for _ in takewhile(lambda trial: "duplicate_of" in trial.user_attrs, ended))

    def add_incumbent(self, params: Mapping[str, Scalar], values: Sequence[float], attributes: Mapping[str, Any],
                      constraints: Mapping[str, float]) -> int:  # fmt: skip
        """Adds the finished incumbent as a trial; its params outside the searched ranges are in its attributes only."""
        inside = {n: v for n, v in self._searched(params).items() if is_inside(self._param(n), v)}
        with self._door():
            self._add(
                create_trial(
                    state=TrialState.COMPLETE, values=list(values), params=inside,
                    distributions={n: distribution_of(self._param(n)) for n in inside},
                    user_attrs=dict(attributes), constraints=dict(constraints) or None,
                )
            )  # fmt: skip
            return self.next_number() - 1

    def add_prior(self, params: Mapping[str, Scalar], values: Sequence[float], constraints: Mapping[str, float], *,
                  candidate: str, source: str) -> None:  # fmt: skip
        """Adds a finished trial of another study as history for the sampler; no count and no report includes it."""
        with self._door():
            self._add(
                create_trial(
                    state=TrialState.COMPLETE, values=list(values), params=dict(params),
                    distributions={n: distribution_of(self._param(n)) for n in params},
                    user_attrs={"prior": source, "prior_candidate": candidate}, constraints=dict(constraints) or None,
                )
            )  # fmt: skip

    def priors(self) -> frozenset[str]:
        """Candidates whose trials were added with `add_prior`."""
        with self._door():
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return frozenset(t.user_attrs["prior_candidate"] for t in trials if "prior_candidate" in t.user_attrs)

    def adopt(self, search_params: Sequence[SearchParam]) -> None:
        """Replaces the params by the same ones with more of their reserved choices available."""
        self._search_params = tuple(search_params)

    def next_number(self) -> int:
        """The number that the next trial will have."""
        with self._door():
            return len(self._study.get_trials(deepcopy=False))

    def tell(
        self, number: int, values: Sequence[float], attributes: Mapping[str, Any], constraints: Mapping[str, float]
    ) -> None:
        """Finishes a trial with its values."""
        with self._door():
            trial = self._trial(number)
            for name, value in attributes.items():
                trial.set_user_attr(name, scrubbed_value(value))
            for name, missed in constraints.items():
                trial.set_constraint(name, missed)
            self._end(number, TrialState.COMPLETE, list(values))

    def tell_failed(self, number: int, reason: str) -> None:
        """Ends a trial without values, unless it has ended already."""
        with self._door():
            if not self._study.get_trials(deepcopy=False)[number].state.is_finished():
                self._trial(number).set_user_attr("failed_because", scrubbed(reason)[:500])
                self._end(number, TrialState.FAIL)

    def tell_stopped(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Ends the trial of a stopped candidate as PRUNED, without values: those it has are of some examples only."""
        with self._door():
            trial = self._trial(number)
            for name, value in attributes.items():
                trial.set_user_attr(name, scrubbed_value(value))
            self._end(number, TrialState.PRUNED)

    def finished(self) -> tuple[FinishedTrial, ...]:
        """All trials with values, in order."""
        return self._trials(TrialState.COMPLETE)

    def ended(self) -> tuple[FinishedTrial, ...]:
        """All trials with values and all that were stopped, in order."""
        return self._trials(*ENDED)

    def _trials(self, *states: TrialState) -> tuple[FinishedTrial, ...]:
        """All trials of candidates in these states, in order."""
        with self._door():
            trials = self._study.get_trials(deepcopy=False, states=states)
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

    @contextmanager
    def _door(self) -> Iterator[None]:
        with quiet(), _as_ours(self._where):
            yield

    def _add(self, trial: optuna.trial.FrozenTrial) -> None:
        self._stored.add_trial(trial)
        self._study.add_trial(trial)

    def _end(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        """Ends a running trial in memory and writes it to the storage."""
        self._study.tell(number, state=state, values=values)
        self._stored.add_trial(self._study.get_trials(deepcopy=False)[number])

    def _trial(self, number: int) -> optuna.Trial:
        if number in self._live:
            return self._live.pop(number)
        return optuna.Trial(self._study, self._study.get_trials(deepcopy=False)[number]._trial_id)

    def _param(self, name: str) -> SearchParam:
        return next(param for param in self._search_params if param.name == name)

    def _searched(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        return {
            param.name: params[param.name] for param in self._search_params if param.searched and param.name in params
        }

    def _proposer(self, index: int, part: str) -> optuna.samplers.BaseSampler:
        return make_sampler(self._sampler, self._search_params, derived_seed(self._seed, "sampler", index, part))


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
