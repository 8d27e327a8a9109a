"""Racing: run the cells (candidate x example) that can still change the front, and say what the front is.

The contract, for recorded tables and live calls alike:

    race = Race(objectives=(QUALITY, COST, LATENCY), n_examples=100, seed=0)
    index = race.add(params)                          # at any time; the pool may grow while racing
    while (block := race.next(max_cells)) is not None:
        race.observe(block.index, block.positions, values)    # shape (cells, objectives); NaN rows have no value
    race.declare()                                    # front, recommendation, estimates: at any time

`next` hands out every first block before anything else, then the block that may tell most about the front, and None
once every candidate is complete. It never stops anyone: a caller with a budget of cells stops when that is spent, and
takes what is declared.

Invariant: what is handed out and declared depends on the seed, the params and the observed cells alone. The same cells
observed in the same order, with the same calls of `next`, lead to the same decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import ThreadpoolController

from offramp.records import Scalar
from offramp.search.racing.allocate import hypervolume_shares, next_positions, start_of, value_of_next_cell
from offramp.search.racing.cells import Cells
from offramp.search.racing.front import Draws, declare_front, draw, near_front
from offramp.search.racing.kernel import Features, Kernel, features_of
from offramp.search.racing.model import Posterior, posterior_of
from offramp.search.racing.settings import Block, DeclaredFront, Estimate, RaceObjective, RaceSettings
from offramp.stats.pareto import Bools, Floats, Ints, non_dominated

FINAL_DRAWS = 4
"""A front is declared from this many times the draws of an allocation."""
REFIT = 1.25
"""The kernels are fitted again when the number of cells has grown by this factor."""


class Race:
    """One race.

    Args:
        objectives: in the order of the values' columns.
        n_examples: size of the example set; positions are 0..n_examples - 1.
        seed: of the shared example order and of all draws.
        settings: None for the defaults.
    """

    def __init__(
        self, *, objectives: Sequence[RaceObjective], n_examples: int, seed: int, settings: RaceSettings | None = None
    ) -> None:
        self.objectives, self.seed = tuple(objectives), seed
        self.settings = settings or RaceSettings()
        self.order: Ints = np.random.default_rng([seed, 0]).permutation(n_examples)
        self.cells = Cells(n_examples, len(self.objectives))
        self.pool: list[Mapping[str, Scalar]] = []
        self._starts: dict[int, int] = {}
        self._kernels: list[Kernel | None] = [None] * len(self.objectives)
        self._fitted_at = self._next_ranking_at = 0
        self._ranking: list[int] = []
        self._coded: Features | None = None

    def add(self, params: Mapping[str, Scalar]) -> int:
        """Adds a candidate and returns its index, counted from 0."""
        self.pool.append(dict(params))
        return self.cells.add()

    def observe(self, index: int, positions: ArrayLike, values: ArrayLike) -> None:
        """Takes what came back for some cells.

        Args:
            values: shape (len(positions), objectives); a row of NaN is a cell whose call ended in an infrastructure
                error: it counts as requested, and as nothing else.
        """
        self.cells.put(index, positions, values)

    def complete(self, index: int) -> bool:
        """Whether every cell of a candidate was requested."""
        return bool(self.cells.complete[index])

    def next(self, max_cells: int) -> Block | None:
        """The cells to run next, at most `max_cells`; None when no candidate has any left, or `max_cells` is 0."""
        if max_cells < 1 or self.cells.complete.all():
            return None
        index = self._untried()
        if index is None:
            with _one_thread():
                index = self._most_informative()
        size = self.settings.block if self.cells.count[index] else self.settings.first
        features = self._features()
        start = self._starts.setdefault(index, start_of(index, len(self.order), features))
        positions = next_positions(
            index, np.roll(self.order, -start), self.cells.requested, features, self._kernels[0], min(size, max_cells)
        )
        return Block(index=index, positions=positions)

    def declare(self) -> DeclaredFront:
        """The front as it would be declared now, over the candidates with a known cell."""
        known = self.cells.known
        if not known.any():
            return DeclaredFront(front=(), recommended=None, estimates={}, trust={})
        with _one_thread():
            return self._declare(known)

    def _declare(self, known: Bools) -> DeclaredFront:
        posteriors = self._posteriors(refit=True)
        draws = self._draws(posteriors, FINAL_DRAWS * self.settings.draws)
        estimates = {
            int(i): {
                objective.name: self._estimate(posterior, int(i), m)
                for m, (objective, posterior) in enumerate(zip(self.objectives, posteriors, strict=True))
            }
            for i in np.flatnonzero(known)
        }
        if self.cells.complete.all():
            front = self._exact_front(estimates)
        else:
            front = declare_front(
                draws, known, precision=self.settings.precision, least_gain=self.settings.least_gain,
                grid_points=self.settings.grid_points,
            )  # fmt: skip
        trust, utility = near_front(draws), self._utility(posteriors)
        ordered = sorted(front.tolist(), key=lambda i: (-utility[i], i))
        return DeclaredFront(
            front=tuple(ordered), recommended=ordered[0], estimates=estimates,
            trust={i: float(trust[i]) for i in ordered},
        )  # fmt: skip

    def _exact_front(self, estimates: Mapping[int, Mapping[str, Estimate]]) -> Ints:
        """The front once every cell was run: there is nothing left to estimate."""
        known = sorted(estimates)
        points = [[estimates[i][o.name].mean for o in self.objectives] for i in known]
        return np.array(known)[non_dominated(points, maximise=[o.maximise for o in self.objectives])]

    def _untried(self) -> int | None:
        """The next candidate without a cell, while first blocks may still be handed out."""
        untried = np.flatnonzero((self.cells.count == 0) & ~self.cells.complete)
        budget, used = self.settings.budget, int(self.cells.count.sum())
        if not len(untried) or (budget is not None and used + self.settings.first > self.settings.first_share * budget):
            return None
        if budget is None:
            return int(untried[0])
        return int(np.random.default_rng([self.seed, 1, len(untried)]).choice(untried))

    def _features(self) -> Features:
        """Those of the pool as it is now."""
        if self._coded is None or len(self._coded.codes) != len(self.pool):
            self._coded = features_of(self.pool)
        return self._coded

    def _most_informative(self) -> int:
        """The candidate whose next block may tell most about the front; at random once none may tell anything."""
        used = int(self.cells.count.sum())
        if used >= self._next_ranking_at:
            self._rank(used)
        self._ranking = [i for i in self._ranking if not self.complete(i)]
        if self._ranking:
            return self._ranking.pop(0)
        return int(np.random.default_rng([self.seed, 2, used]).choice(np.flatnonzero(~self.cells.complete)))

    def _rank(self, used: int) -> None:
        posteriors = self._posteriors(refit=used >= REFIT * self._fitted_at)
        draws = self._draws(posteriors, self.settings.draws)
        shares = hypervolume_shares(draws, self.settings.grid_points)
        value = value_of_next_cell(shares, self.cells.count, len(self.order))
        self._ranking = [int(i) for i in np.argsort(-value, kind="stable") if value[i] > 0]
        self._next_ranking_at = used + max(self.settings.block, int(self.settings.patience * used))

    def _posteriors(self, *, refit: bool) -> list[Posterior]:
        features, values = self._features(), self.cells.values
        posteriors = [
            posterior_of(
                values[:, :, m], features, positive=objective.positive, kernel=self._kernels[m], refit=refit
            )
            for m, objective in enumerate(self.objectives)
        ]  # fmt: skip
        if refit:
            self._fitted_at = int(self.cells.count.sum())
        self._kernels = [posterior.kernel for posterior in posteriors]
        return posteriors

    def _draws(self, posteriors: Sequence[Posterior], count: int) -> Draws:
        generator = np.random.default_rng([self.seed, 3, int(self.cells.count.sum()), len(self.pool)])
        return draw(posteriors, [o.maximise for o in self.objectives], count, generator)

    def _utility(self, posteriors: Sequence[Posterior]) -> Floats:
        """Shape (n,): weighted sum of the expected values, each scaled to 0..1 with 1 best."""
        total = np.zeros(len(self.pool))
        for objective, posterior in zip(self.objectives, posteriors, strict=True):
            values = posterior.natural(posterior.mean)
            worst, best = objective.scale or (values.min(), values.max())[:: 1 if objective.maximise else -1]
            total += objective.weight * np.clip((values - worst) / ((best - worst) or 1.0), 0.0, 1.0)
        return total

    def _estimate(self, posterior: Posterior, index: int, objective: int) -> Estimate:
        values = self.cells.values[index, :, objective]
        if self.complete(index) and not np.isnan(values).any():
            return Estimate(mean=float(values.mean()), sd=0.0)
        return Estimate(mean=float(posterior.natural(posterior.mean[index])), sd=posterior.sd(index))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Holds the BLAS libraries of numpy and scipy to one thread while the race computes, then restores the setting.

    The matrices are small: on a busy machine, threads that wait for each other cost ten times what they save. It also
    keeps results the same whatever the number of cores.
    """
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401 - both libraries have to be loaded before the controller looks for them

    return ThreadpoolController()
