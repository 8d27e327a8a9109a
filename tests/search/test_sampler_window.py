"""A proposal of TPE in a long study is made from a bounded number of trials."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.search.sampling.optuna_study import OptunaStudy, Seen
from offramp.search.sampling.samplers import SEEN_TRIALS, relevant_trials
from offramp.space.params import SearchParam
from offramp.stats import non_dominated
from offramp.store.engine import open_store

MOST = [True, False]


def values_of(trials: int) -> list[list[float]]:
    return np.random.default_rng(0).random((trials, 2)).tolist()


def test_a_short_study_is_seen_whole() -> None:
    assert list(relevant_trials("tpe", values_of(SEEN_TRIALS), MOST)) == list(range(SEEN_TRIALS))


def test_of_a_long_study_the_front_and_the_newest_are_seen() -> None:
    values = values_of(SEEN_TRIALS * 3)
    seen = list(relevant_trials("tpe", values, MOST))
    assert len(seen) == SEEN_TRIALS and seen == sorted(seen)
    assert set(np.flatnonzero(non_dominated(values, maximise=MOST))) <= set(seen)
    assert SEEN_TRIALS * 3 - 1 in seen


@pytest.mark.parametrize("maximise", [True, False])
def test_of_one_objective_the_best_are_seen_however_old(maximise: bool) -> None:
    sign = 1 if maximise else -1
    values = [[sign * (1.0 if number < 10 else number / 1e6)] for number in range(SEEN_TRIALS * 4)]
    seen = set(relevant_trials("tpe", values, [maximise]))
    assert set(range(10)) <= seen and len(seen) == SEEN_TRIALS


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_a_long_history_is_proposed_from_as_a_short_one_is(tmp_path, sampler) -> None:
    """Trials that a sampler does not look at change no proposal."""
    params = (SearchParam(name="model", choices=("a", "b", "c")), SearchParam(name="temperature", low=0.0, high=1.0))
    generator = np.random.default_rng(1)
    seen = [
        Seen(params={"model": "abc"[i % 3], "temperature": float(generator.random())}, values=[i / 1000, 0.5])
        for i in range(SEEN_TRIALS * 3)
    ]
    with open_store(f"sqlite:///{tmp_path}/s.db") as store:
        study = OptunaStudy(
            store=store, name="s", directions=["maximize", "minimize"], metric_names=["quality", "cost"],
            search_params=params, sampler=sampler, seed=0,
        )  # fmt: skip
        kept = relevant_trials(sampler, [one.values for one in seen], MOST)
        assert len(kept) == {"tpe": SEEN_TRIALS, "random": 0, "nsga2": len(seen)}[sampler]
        assert study.propose(seen, 4, 0) == study.propose([seen[i] for i in kept], 4, 0)
        study.close()
