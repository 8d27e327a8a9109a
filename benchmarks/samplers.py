"""How long a proposal takes in a long study, and the front of many candidates.

    python benchmarks/samplers.py [--trials 2000] [--sampler tpe] [--profile]

A study with three objectives and seven params in SQLite is filled with finished trials. Then batches of proposals and
the writing of a trial are timed through search/sampling/optuna_study.py, as the search calls them. Prints one line of
JSON: the median and p95 of twenty, for one proposal of a batch and for one trial, and the time to open the study and to
compute a front of 10,000 candidates, in milliseconds of CPU. --profile also prints where the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from offramp.search.sampling.optuna_study import OptunaStudy, Seen
from offramp.space.params import SearchParam
from offramp.stats import non_dominated
from offramp.store.engine import Store, open_store

ROUNDS, BATCH = 20, 16
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


def assignment(generator: np.random.Generator) -> dict[str, Any]:
    """Random params."""
    params = {param.name: drawn(param, generator) for param in PARAMS}
    if params["demos"] == "none":
        del params["demos.count"]
    return params


def added(study: OptunaStudy, generator: np.random.Generator) -> Seen:
    """A finished trial with random params and values, written and seen."""
    seen = Seen(params=assignment(generator), values=generator.random(3).tolist())
    attributes = {"candidate": f"c{study.next_number}", "params": dict(seen.params), "utility": 0.5, "n": 100}
    study.add(seen.params, attributes, seen.values)
    return seen


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
        seen = [added(study, generator) for _ in range(given.trials)]
        study.propose(seen, BATCH, 0)
        profile = cProfile.Profile()
        if given.profile:
            profile.enable()
        proposing = [milliseconds(partial(study.propose, seen, BATCH, n))[0] / BATCH for n in range(1, ROUNDS + 1)]
        writing = [milliseconds(partial(added, study, generator))[0] for _ in range(ROUNDS)]
        profile.disable()
        opening, again = milliseconds(lambda: opened(store, given.sampler))
        again.close()
        study.close()
    numbers = {
        "proposal_ms": np.median(proposing), "proposal_p95_ms": np.quantile(proposing, 0.95),
        "trial_ms": np.median(writing), "trial_p95_ms": np.quantile(writing, 0.95),
        "open_ms": opening, "front_10000_ms": front_ms(10_000),
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
