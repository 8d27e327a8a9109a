"""How long a proposal takes in a long study, and the front of many candidates.

    python benchmarks/samplers.py [--trials 2000] [--sampler tpe] [--profile]

A study with three objectives and seven params in SQLite is filled with finished trials. Then `ask` and `tell` are timed
through search/sampling/optuna_study.py, as the search calls them. Prints one line of JSON: the median and p95 of twenty, and the
time to open the study and to compute a front of 10,000 candidates, in milliseconds of CPU. The aim is 20 ms at 2,000
trials, and 50 ms for the front. --profile also prints where the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from offramp.search.sampling.optuna_study import Asked, OptunaStudy
from offramp.space.params import SearchParam
from offramp.stats import non_dominated
from offramp.store.engine import Store, open_store

ROUNDS = 20
PARAMS = (
    SearchParam(name="model", choices=tuple(f"m{i}" for i in range(6))),
    SearchParam(name="instruction", choices=tuple(f"i{i}" for i in range(12))),
    SearchParam(name="demos", choices=("none", "random", "balanced", "nearest")),
    SearchParam(name="demos.count", choices=(2, 4, 8), when={"demos": ("random", "balanced", "nearest")}),
    SearchParam(name="temperature", low=0.0, high=1.5),
    SearchParam(name="top_p", low=0.1, high=1.0),
    SearchParam(name="max_tokens", low=16, high=1024, whole=True, log=True),
)


def opened(store: Store, sampler: str) -> OptunaStudy:
    """A study as the search opens it."""
    return OptunaStudy(
        store=store, name="benchmark", directions=["maximize", "minimize", "minimize"],
        metric_names=["quality", "cost", "latency"], search_params=PARAMS, sampler=sampler, seed=0,
    )  # fmt: skip


def fill(study: OptunaStudy, trials: int) -> None:
    """Finished trials with random params and values."""
    generator = np.random.default_rng(0)
    for number in range(trials):
        params = {param.name: drawn(param, generator) for param in PARAMS}
        if params["demos"] == "none":
            del params["demos.count"]
        attributes = {"candidate": f"c{number}", "params": params, "utility": 0.5, "n": 100}
        study.add_incumbent(params, generator.random(3).tolist(), attributes, {})


def drawn(param: SearchParam, generator: np.random.Generator) -> Any:
    """A random value."""
    if param.choices:
        return param.choices[int(generator.integers(len(param.choices)))]
    value = generator.uniform(param.low, param.high)
    return int(value) if param.whole else float(value)


def milliseconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU time of one call, which is independent of other work on the machine, and what it returns."""
    begin = time.process_time()
    found = work()
    return (time.process_time() - begin) * 1000, found


def asked_and_told(study: OptunaStudy, generator: np.random.Generator) -> tuple[float, float]:
    """Milliseconds of one ask and of one tell."""
    asking, asked = milliseconds(study.ask)
    assert isinstance(asked, Asked)
    attributes = {"candidate": f"n{asked.number}", "params": dict(asked.params), "utility": 0.5, "n": 100}
    telling, _ = milliseconds(lambda: study.tell(asked.number, generator.random(3).tolist(), attributes, {}))
    return asking, telling


def front_ms(candidates: int) -> float:
    """The front of candidates with three objectives, hardly any of which dominates another."""
    points = np.random.default_rng(1).dirichlet([1, 1, 1], candidates)
    times = [milliseconds(lambda: non_dominated(points, maximise=[True, False, False]))[0] for _ in range(ROUNDS)]
    return float(np.median(times))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    generator = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as folder, open_store(f"sqlite:///{folder}/b.db") as store:
        study = opened(store, given.sampler)
        fill(study, given.trials)
        asked_and_told(study, generator)
        profile = cProfile.Profile()
        if given.profile:
            profile.enable()
        times = np.array([asked_and_told(study, generator) for _ in range(ROUNDS)])
        profile.disable()
        opening, again = milliseconds(lambda: opened(store, given.sampler))
        again.close()
        study.close()
    both = times.sum(axis=1)
    numbers = {
        "ask_ms": np.median(times[:, 0]), "tell_ms": np.median(times[:, 1]), "both_ms": np.median(both),
        "both_p95_ms": np.quantile(both, 0.95), "open_ms": opening, "front_10000_ms": front_ms(10_000),
    }  # fmt: skip
    print(
        json.dumps(
            {"trials": given.trials, "sampler": given.sampler, **{k: round(float(v), 1) for k, v in numbers.items()}}
        )
    )
    if given.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
