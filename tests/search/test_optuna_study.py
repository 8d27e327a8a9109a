"""The study in memory and the study in the storage are one."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from offramp.search.sampling.optuna_study import OptunaStudy, Seen, open_storage
from offramp.space.params import SearchParam
from offramp.store.engine import open_store

PARAMS = (
    SearchParam(name="model", choices=("small", "large")),
    SearchParam(name="demos", choices=(0, 2, 4), when={"model": ("large",)}),
    SearchParam(name="temperature", low=0.0, high=1.5),
)


@pytest.fixture
def store(tmp_path):
    with open_store(f"sqlite:///{tmp_path / 's.db'}", create=True) as store:
        yield store


def opened(store, sampler="tpe"):
    return OptunaStudy(store=store, name="s", directions=["maximize", "minimize"], metric_names=["quality", "cost"],
                       search_params=PARAMS, sampler=sampler, seed=3)  # fmt: skip


def seen(params):
    """What a candidate with these params comes to."""
    t = float(params["temperature"])
    values = [-abs(t - 0.7), t + (params["model"] == "large")]
    return Seen(params=params, values=values, constraints={"cost": t - 1.0})


def add(study, one, number):
    return study.add(one.params, {"candidate": f"c{number}", "params": dict(one.params)}, one.values, one.constraints)


def stored(store):
    storage = open_storage(store)
    found = optuna.load_study(study_name="s", storage=storage).get_trials()
    storage.remove_session()
    return found


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_proposals_follow_from_what_was_seen_and_the_batch_alone(tmp_path, sampler):
    found = []
    for number in (1, 2):
        with open_store(f"sqlite:///{tmp_path / f'{number}.db'}", create=True) as store:
            known, batches = [], []
            study = opened(store, sampler)
            for batch in range(6):
                if number == 2:  # a killed job opens its study again
                    study.close()
                    study = opened(store, sampler)
                batches.append(study.propose(known, 7, batch))
                known += [seen(params) for params in batches[-1]]
            study.close()
        found.append(batches)
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_what_is_expected_of_the_seen_moves_the_proposals(store):
    """High temperatures break a limit here: TPE and NSGA-II propose fewer of them once they know."""
    for sampler in ("tpe", "nsga2"):
        study = opened(store, sampler)
        known: list[Seen] = []
        for batch in range(15):
            known += [seen(params) for params in study.propose(known, 4, batch)]
        first, last = ([one.params["temperature"] > 1.0 for one in some] for some in (known[:20], known[40:]))
        assert sum(last) < sum(first), sampler
        study.close()


def test_equal_batches_of_one_number_are_equal_and_of_another_are_not(store):
    study = opened(store)
    assert study.propose([], 5, 3) == study.propose([], 5, 3) != study.propose([], 5, 4)
    study.close()


def test_the_storage_has_ended_trials_only_and_all_of_each(store):
    study = opened(store)
    ones = [seen(params) for params in study.propose([], 5, 0)]
    for number, one in enumerate(ones[:4]):
        assert add(study, one, number) == number == study.next_number - 1
    study.add_failed(ones[4].params, "an error")
    stopped = {"candidate": "c5", "params": dict(ones[4].params), "stopped_because": "behind"}
    assert study.add(ones[4].params, stopped, None) == 5
    trials = stored(store)
    states = [TrialState.COMPLETE] * 4 + [TrialState.FAIL, TrialState.PRUNED]
    assert [trial.state for trial in trials] == states
    assert [trial.number for trial in trials] == list(range(6))
    for trial in trials[:4]:
        assert trial.params["temperature"] == pytest.approx(trial.user_attrs["params"]["temperature"], abs=1e-5)
        assert trial.constraints["cost"] == pytest.approx(trial.params["temperature"] - 1.0, abs=1e-5)
    assert trials[4].user_attrs["failed_because"] == "an error"
    ended = ["c0", "c1", "c2", "c3", "c5"]
    assert [trial.candidate for trial in study.ended()] == ended
    study.close()
    again = opened(store)
    assert [trial.candidate for trial in again.ended()] == ended and again.next_number == 6
    again.close()


def test_what_others_left_unfinished_in_the_storage_is_ended(store):
    study = opened(store)
    one = seen(study.propose([], 1, 0)[0])
    add(study, one, 0)
    study.close()
    storage = open_storage(store)
    others = optuna.load_study(study_name="s", storage=storage)
    others.ask()
    others.enqueue_trial({"temperature": 0.5})
    storage.remove_session()
    study = opened(store)
    assert add(study, one, 3) == 3
    study.close()
    assert [t.state for t in stored(store)] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]


def test_trials_of_another_study_inform_the_proposals_and_are_no_candidates(store):
    study = opened(store)
    without = study.propose([], 20, 0)
    for number, params in enumerate(study.propose([], 30, 9)):
        one = seen(params)
        study.add_prior(one.params, one.values, one.constraints, candidate=f"old{number}", source="other")
    assert study.propose([], 20, 0) != without
    assert study.ended() == () and len(study.priors()) == 30
    study.close()
