"""The study in memory and the study in the storage are one."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from offramp.search.optuna_study import OptunaStudy, open_storage
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


def one_more(study):
    """Runs one trial; returns what was asked."""
    asked = study.ask()
    t = float(asked.params["temperature"])
    values = [-abs(t - 0.7), t + (asked.params["model"] == "large")]
    study.tell(asked.number, values, {"candidate": f"c{asked.number}", "params": dict(asked.params)}, {"cost": t - 1.0})
    return asked


def stored(store):
    storage = open_storage(store)
    found = optuna.load_study(study_name="s", storage=storage).get_trials()
    storage.remove_session()
    return found


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_study_that_is_opened_again_and_again_is_the_study_in_one_go(tmp_path, sampler):
    with open_store(f"sqlite:///{tmp_path / '1.db'}", create=True) as store:
        study = opened(store, sampler)
        whole = [one_more(study) for _ in range(45)]
        study.close()
    with open_store(f"sqlite:///{tmp_path / '2.db'}", create=True) as store:
        pieces = []
        for _ in range(15):
            study = opened(store, sampler)
            study.ask()  # a killed process never tells
            study.close()
            study = opened(store, sampler)
            pieces += [one_more(study) for _ in range(3)]
            study.close()
    assert pieces == whole


def test_the_storage_has_ended_trials_only_and_all_of_each(store):
    study = opened(store)
    for _ in range(4):
        one_more(study)
    study.tell_failed(study.ask().number, "an error")
    asked = study.ask()
    study.tell_stopped(asked.number, {"candidate": "c5", "params": dict(asked.params), "stopped_because": "behind"})
    study.ask()
    trials = stored(store)
    states = [TrialState.COMPLETE] * 4 + [TrialState.FAIL, TrialState.PRUNED]
    assert [trial.state for trial in trials] == states
    assert [trial.number for trial in trials] == list(range(6))
    for trial in trials[:4]:
        assert trial.params["temperature"] == pytest.approx(trial.user_attrs["params"]["temperature"], abs=1e-5)
        assert trial.constraints["cost"] == pytest.approx(trial.params["temperature"] - 1.0, abs=1e-5)
        assert trial.datetime_start <= trial.datetime_complete
    assert trials[4].user_attrs["failed_because"] == "an error"
    assert [trial.candidate for trial in study.ended()] == ["c0", "c1", "c2", "c3", "c5"]
    study.close()


def test_what_others_left_unfinished_in_the_storage_is_ended(store):
    study = opened(store)
    one_more(study)
    study.close()
    storage = open_storage(store)
    others = optuna.load_study(study_name="s", storage=storage)
    others.ask()
    others.enqueue_trial({"temperature": 0.5})
    storage.remove_session()
    study = opened(store)
    assert one_more(study).number == 3
    study.close()
    assert [t.state for t in stored(store)] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]


def test_a_queued_assignment_is_asked_next_and_once(store):
    study = opened(store)
    study.queue({"model": "large", "demos": 4, "temperature": 0.25, "seed": 1})
    assert one_more(study).params == {"model": "large", "demos": 4, "temperature": 0.25}
    assert one_more(study).params != {"model": "large", "demos": 4, "temperature": 0.25}
    study.close()


def test_a_long_study_of_generations_goes_on_as_if_it_had_never_been_closed(tmp_path):
    with open_store(f"sqlite:///{tmp_path / '1.db'}", create=True) as store:
        study = opened(store, "nsga2")
        whole = [one_more(study) for _ in range(140)]
        study.close()
    with open_store(f"sqlite:///{tmp_path / '2.db'}", create=True) as store:
        study = opened(store, "nsga2")
        first = [one_more(study) for _ in range(120)]
        study.close()
        again = opened(store, "nsga2")
        rest = [one_more(again) for _ in range(20)]
        again.close()
    assert first + rest == whole
