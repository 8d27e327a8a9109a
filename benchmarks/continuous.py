"""How much of a known front a race finds in spaces that cannot be listed, next to Optuna's samplers and halving.

    python benchmarks/continuous.py [--seeds 2] [--landscapes 2] [--budgets 300,600,1200] [--shapes plain,conditional]

The spaces are made up: model x instruction x temperature (a float) x number of demos, and in `conditional` also params
that only some models, or only candidates with demos, have. Quality, cost and latency of every assignment follow from a
formula, so the true front is known: that of a dense grid of assignments (8,976 and 77,616 of them). A cell is one assignment on one of 100
examples. All methods have the same number of cells:

- `race`: the planner of live jobs, where new candidates join in batches; Optuna's TPE proposes them from what is
  expected of all that were tried (`Race.expected`).
- `TPE`, `NSGA-II`, `random`: every candidate on all examples, as many as fit.
- `halving`: successive halving by non-domination rank of random candidates (5 examples, then three times as many).

Prints a Markdown table: median (lowest) share of the true hypervolume that the declared candidates reach with their
true means, by budget; `ahead` is racing's median less that of the best other; CPU seconds of one race.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import optuna

from offramp.records import Scalar
from offramp.search.racing import COST, LATENCY, OPEN_BLOCK, QUALITY, Allowance, Planner, Race, RaceSettings, Wave
from offramp.search.racing.waves import run_waves
from offramp.stats import hypervolume, non_dominated

EXAMPLES, MODELS, INSTRUCTIONS, DEMOS = 100, 6, 8, 16
MAXIMISE = (True, False, False)
ORDERS = ("hard_first", "similar", "balanced")
Params = Mapping[str, Scalar]
Method = Callable[["Landscape", int, int], list[Params]]


@dataclass
class Landscape:
    """One made-up space with a known front."""

    conditional: bool
    seed: int
    cache: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draw = np.random.default_rng([self.seed, int(self.conditional)])
        self.strength = np.sort(draw.normal(0.0, 1.2, MODELS))
        self.price = np.exp(1.3 * np.arange(MODELS) / 2 + draw.normal(0.0, 0.4, MODELS))
        self.speed = np.exp(draw.normal(0.0, 0.5, MODELS)) * self.price**0.3
        self.wording, self.fit = draw.normal(0.0, 0.6, INSTRUCTIONS), draw.normal(0.0, 0.5, (MODELS, INSTRUCTIONS))
        self.length = draw.uniform(0.5, 2.0, INSTRUCTIONS)
        self.warmth, self.heat = draw.uniform(0.0, 0.8, MODELS), draw.uniform(1.0, 4.0, MODELS)
        self.learns, self.enough = draw.uniform(0.2, 1.0, MODELS), draw.uniform(3.0, 14.0, MODELS)
        self.order, self.effort = draw.normal(0.0, 0.4, (MODELS, len(ORDERS))), draw.uniform(0.1, 0.4, MODELS)
        self.hard, self.taste = draw.normal(0.0, 1.5, EXAMPLES), draw.normal(0.0, 0.5, (MODELS, EXAMPLES))

    def suggest(self, trial: Any) -> Params:
        """An assignment, as Optuna's samplers propose it."""
        model = trial.suggest_categorical("model", [f"m{i}" for i in range(MODELS)])
        params: dict[str, Scalar] = {
            "model": model,
            "instruction": trial.suggest_categorical("instruction", [f"i{i}" for i in range(INSTRUCTIONS)]),
            "temperature": trial.suggest_float("temperature", 0.0, 1.0),
            "demos.count": trial.suggest_int("demos.count", 0, DEMOS),
        }
        if self.conditional and params["demos.count"]:
            params["demos.order"] = trial.suggest_categorical("demos.order", list(ORDERS))
        if self.conditional and int(model[1:]) >= MODELS // 2:
            params["effort"] = trial.suggest_int("effort", 0, 4)
        return params

    def means(self, params: Params) -> tuple[float, np.ndarray]:
        """Ability, and expected cost and latency."""
        m, i = int(str(params["model"])[1:]), int(str(params["instruction"])[1:])
        demos, effort = int(params["demos.count"] or 0), int(params.get("effort") or 0)
        ability = self.strength[m] + self.wording[i] + self.fit[m, i]
        ability -= self.heat[m] * (float(params["temperature"] or 0.0) - self.warmth[m]) ** 2
        ability += self.learns[m] * (1.0 - (demos / self.enough[m] - 1.0) ** 2 if demos < self.enough[m] else 1.0)
        if "demos.order" in params:
            ability += self.order[m, ORDERS.index(str(params["demos.order"]))]
        ability += self.effort[m] * effort
        tokens = self.length[i] + 0.25 * demos + 0.8 * effort
        return float(ability), np.array([self.price[m] * tokens, self.speed[m] * (0.5 + 0.3 * tokens)])

    def chances(self, ability: float, model: int) -> np.ndarray:
        """Shape (examples,): how likely each is answered correctly."""
        return np.asarray(1.0 / (1.0 + np.exp(-(ability + 0.5 - self.hard + self.taste[model]))))

    def truth(self, params: Params) -> np.ndarray:
        """True means of quality, cost and latency."""
        ability, rest = self.means(params)
        return np.array([self.chances(ability, int(str(params["model"])[1:])).mean(), *rest])

    def cells(self, params: Params) -> np.ndarray:
        """Shape (examples, 3): what an evaluation on each example gives; the same whoever asks."""
        key = key_of(params)
        if key not in self.cache:
            draw = np.random.default_rng([self.seed, zlib.crc32(key.encode())])
            ability, rest = self.means(params)
            right = draw.random(EXAMPLES) < self.chances(ability, int(str(params["model"])[1:]))
            noise = draw.lognormal(-0.5 * np.array([0.2, 0.5]) ** 2, [0.2, 0.5], (EXAMPLES, 2))
            self.cache[key] = np.column_stack([right.astype(float), rest * noise])
        return self.cache[key]

    @cached_property
    def scale(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Lowest losses and span of a dense grid of assignments, and the hypervolume of its front."""
        losses = self.losses([self.truth(params) for params in self.grid()])
        low, span = losses.min(axis=0), np.ptp(losses, axis=0)
        return low, span, hypervolume((losses - low) / span, np.ones(3), maximise=[False] * 3)

    def grid(self) -> list[Params]:
        """Every assignment, with temperatures in steps of 0.1."""
        found: list[Params] = []
        for m, i, t, demos in product(range(MODELS), range(INSTRUCTIONS), range(0, 11), range(DEMOS + 1)):
            params: dict[str, Scalar] = {
                "model": f"m{m}", "instruction": f"i{i}", "temperature": t / 10, "demos.count": demos
            }  # fmt: skip
            orders = ORDERS if self.conditional and demos else (None,)
            efforts = range(5) if self.conditional and m >= MODELS // 2 else (None,)
            for order, effort in product(orders, efforts):
                more = {"demos.order": order, "effort": effort}
                found.append({**params, **{name: value for name, value in more.items() if value is not None}})
        return found

    @staticmethod
    def losses(means: Sequence[np.ndarray]) -> np.ndarray:
        """Smaller is better; money and seconds by their logarithm, since they span orders of magnitude."""
        array = np.array(means)
        return np.column_stack([-array[:, 0], np.log(array[:, 1]), np.log(array[:, 2])])

    def share(self, declared: Sequence[Params]) -> float:
        """Share of the true hypervolume that these reach."""
        if not declared:
            return 0.0
        low, span, best = self.scale
        losses = (self.losses([self.truth(params) for params in declared]) - low) / span
        return hypervolume(np.minimum(losses, 1.0), np.ones(3), maximise=[False] * 3) / best


class TpeJoining:
    """Optuna's TPE proposes from the expected values of everything tried."""

    def __init__(self, landscape: Landscape, race: Race, seed: int) -> None:
        self.landscape, self.race, self.seed = landscape, race, seed
        self.distributions: dict[str, dict[str, Any]] = {}

    def join(self, count: int) -> Sequence[Params]:
        """Proposals that are not in the pool yet."""
        sampler = optuna.samplers.TPESampler(
            seed=self.seed * 10_000 + len(self.race.pool), multivariate=True, group=True, constant_liar=True
        )
        study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
        if self.race.cells.known.any():
            expected = self.race.expected().tolist()
            study.add_trials([
                optuna.trial.create_trial(
                    params=dict(params), distributions=self.distributions[key_of(params)], values=values
                )
                for params, values in zip(self.race.pool, expected, strict=True)
            ])  # fmt: skip
        found: dict[str, Params] = {}
        for _ in range(count):
            trial = study.ask()
            params = self.landscape.suggest(trial)
            if key_of(params) not in self.distributions:
                found[key_of(params)] = params
                self.distributions[key_of(params)] = trial.distributions
        return list(found.values())


def key_of(params: Params) -> str:
    return repr(sorted(params.items()))


@dataclass
class Asking:
    """A landscape in place of the transport."""

    landscape: Landscape
    race: Race

    async def run(self, wave: Wave) -> list[np.ndarray]:
        """The values of a wave's blocks."""
        return [self.landscape.cells(self.race.pool[b.index])[list(b.positions)] for b in wave.blocks]

    def observed(self, wave: Wave) -> None:
        """Nothing else to do."""


def race(landscape: Landscape, cells: int, seed: int) -> list[Params]:
    """The planner of live jobs."""
    sizes = RaceSettings(first=OPEN_BLOCK, block=OPEN_BLOCK)
    found = Race(objectives=(QUALITY, COST, LATENCY), n_examples=EXAMPLES, seed=seed, settings=sizes)
    planner = Planner(
        race=found, wave=32, joining=TpeJoining(landscape, found, seed),
        allowance=lambda: Allowance(total=cells, left=cells - float(found.cells.count.sum())),
    )  # fmt: skip
    asyncio.run(run_waves(planner, Asking(landscape, found)))
    return [found.pool[i] for i in found.declare().front]


def front_of(landscape: Landscape, tried: Sequence[Params], cells: int) -> list[Params]:
    """Those that no other one dominates by its means over the first cells."""
    if not tried:
        return []
    means = np.array([landscape.cells(params)[:cells].mean(axis=0) for params in tried])
    return [tried[i] for i in np.flatnonzero(non_dominated(means, maximise=MAXIMISE))]


def sampled(sampler: Callable[[int], Any]) -> Method:
    """Full evaluation of what a sampler of Optuna proposes."""

    def method(landscape: Landscape, cells: int, seed: int) -> list[Params]:
        study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler(seed))
        tried = []
        for _ in range(cells // EXAMPLES):
            trial = study.ask()
            tried.append(landscape.suggest(trial))
            study.tell(trial, landscape.cells(tried[-1]).mean(axis=0).tolist())
        return front_of(landscape, tried, EXAMPLES)

    return method


def halving(landscape: Landscape, cells: int, seed: int, first: int = 5, eta: int = 3) -> list[Params]:
    """Successive halving of random candidates, of which first blocks take a third of the cells.

    A rung keeps a third of the candidates, and the whole front; what is declared is the front at the last rung that
    there are cells for.
    """
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    alive = [landscape.suggest(study.ask()) for _ in range(cells // (3 * first))]
    used = before = 0
    rung, found = first, list[Params]()
    while used + len(alive) * (rung - before) <= cells:
        used, before = used + len(alive) * (rung - before), rung
        means = np.array([landscape.cells(params)[:rung].mean(axis=0) for params in alive])
        found = front_of(landscape, alive, rung)
        if rung == EXAMPLES:
            break
        rank, rest, number = np.zeros(len(alive), dtype=int), np.arange(len(alive)), 0
        while len(rest):
            mask = non_dominated(means[rest], maximise=MAXIMISE)
            rank[rest[mask]], rest, number = number, rest[~mask], number + 1
        kept = max(len(found), -(-len(alive) // eta))
        alive = [alive[i] for i in np.argsort(rank, kind="stable")[:kept]]
        rung = min(EXAMPLES, rung * eta)
    return found


OTHERS: Mapping[str, Method] = {
    "TPE": sampled(lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)),
    "NSGA-II": sampled(lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=10)),
    "random": sampled(lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "halving": halving,
}


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--landscapes", type=int, default=2)
    parser.add_argument("--budgets", default="300,600,1200")
    parser.add_argument("--shapes", default="plain,conditional")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    print(f"| space | cells | race | {' | '.join(OTHERS)} | ahead | CPU s |")
    print("|---|---|---|" + "---|" * len(OTHERS) + "---|---|")
    for shape, budget in product(given.shapes.split(","), map(int, given.budgets.split(","))):
        lands = [Landscape(shape == "conditional", seed) for seed in range(given.landscapes)]
        runs = list(product(lands, range(given.seeds)))
        begin = time.process_time()
        ours = [land.share(race(land, budget, seed)) for land, seed in runs]
        cpu = (time.process_time() - begin) / len(runs)
        theirs = {
            name: [land.share(method(land, budget, seed)) for land, seed in runs] for name, method in OTHERS.items()
        }
        cells = [f"{statistics.median(row):.3f} ({min(row):.3f})" for row in (ours, *theirs.values())]
        ahead = statistics.median(ours) - max(statistics.median(row) for row in theirs.values())
        print(f"| {shape} | {budget} | {' | '.join(cells)} | {ahead:+.3f} | {cpu:.1f} |", flush=True)


if __name__ == "__main__":
    main()
