"""A TPE proposal in a long study is made from a bounded number of trials."""

from __future__ import annotations

import numpy as np
import optuna

from offramp.search.sampling.samplers import SEEN_TRIALS, TrialWindow


def study_of(trials: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "minimize"])
    generator = np.random.default_rng(0)
    for values in generator.random((trials, 2)).tolist():
        study.add_trial(optuna.trial.create_trial(values=values))
    return study


def test_a_short_study_is_seen_whole() -> None:
    study = study_of(SEEN_TRIALS)
    assert len(TrialWindow(study, len(study.trials))._get_trials(deepcopy=False)) == SEEN_TRIALS


def test_of_a_long_study_the_front_and_the_newest_are_seen() -> None:
    study = study_of(SEEN_TRIALS * 3)
    seen = {trial.number for trial in TrialWindow(study, len(study.trials))._get_trials(deepcopy=False)}
    assert len(seen) == SEEN_TRIALS
    assert {trial.number for trial in study.best_trials} <= seen
    assert SEEN_TRIALS * 3 - 1 in seen
    assert TrialWindow(study, len(study.trials)).directions == study.directions


def test_of_one_objective_the_best_are_seen_however_old() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(SEEN_TRIALS * 4):
        study.add_trial(optuna.trial.create_trial(values=[1.0 if number < 10 else number / 1e6]))
    seen = {trial.number for trial in TrialWindow(study, len(study.trials))._get_trials(deepcopy=False)}
    assert set(range(10)) <= seen and len(seen) == SEEN_TRIALS
