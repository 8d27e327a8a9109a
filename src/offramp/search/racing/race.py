"""Racing: read the cells (candidate on example) that can still change the front, and say what the front is.

The contract, for recorded tables and live calls alike:

    race = Race(objectives=(QUALITY, COST, LATENCY), n_examples=100, seed=0)
    index = race.add(params)                          # at any time; the pool may grow while racing
    while (block := race.next(max_cells)) is not None:
        race.observe(block.index, block.positions, values)    # shape (cells, objectives); NaN rows have failed
    race.declare()                                    # front, recommendation, estimates: at any time

`next` hands out first blocks before anything else, then the block that may tell most about the front, and None when
every candidate is complete. Nobody is stopped: whoever has a budget of cells ends when it is spent, and takes what is
declared.

Invariant: what is handed out and declared depends on the seed, the params and the observed cells alone. Observing the
same cells in the same order again, with the same calls of `next`, leads to the same decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from offramp.records import Scalar
from offramp.search.racing.allocate import shares, worth
from offramp.search.racing.cells import Cells
from offramp.search.racing.declare import declared, near_front
from offramp.search.racing.draws import Draws, draw
from offramp.search.racing.features import Features, features_of
from offramp.search.racing.kernel import Kernel
from offramp.search.racing.model import Posterior, posterior_of
from offramp.search.racing.positions import next_positions, start_of
from offramp.search.racing.settings import Block, Declared, Estimate, RaceObjective, RaceSettings
from offramp.search.racing.threads import one_thread
from offramp.stats.pareto import Bools, Floats, Ints, non_dominated

FINAL_DRAWS = 4


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
        self._fitted_at = self._asked_at = 0
        self._ranking: list[int] = []
        self._coded: Features | None = None

    def add(self, params: Mapping[str, Scalar]) -> int:
        """A candidate joins; its index, counted from 0."""
        self.pool.append(dict(params))
        return self.cells.add()

    def observe(self, index: int, positions: ArrayLike, values: ArrayLike) -> None:
        """What came back for some cells.

        Args:
            values: shape (len(positions), objectives); a row with NaN is a cell whose call failed for no fault of the
                candidate: it counts as asked, and as nothing else.
        """
        self.cells.put(index, positions, values)

    def complete(self, index: int) -> bool:
        """Whether every cell of a candidate was asked for."""
        return bool(self.cells.complete[index])

    def next(self, max_cells: int) -> Block | None:
        """The cells to read next, at most so many; None when nobody is left to read, or no cell may be."""
        if max_cells < 1 or self.cells.complete.all():
            return None
        index = self._untried()
        if index is None:
            with one_thread():
                index = self._most_telling()
        size = self.settings.block if self.cells.read[index] else self.settings.first
        return Block(index=index, positions=self._positions(index, min(size, max_cells)))

    def declare(self) -> Declared:
        """The front as it would be declared now, over the candidates that have a cell."""
        known = self.cells.known
        if not known.any():
            return Declared(front=(), recommended=None, estimates={}, trust={})
        with one_thread():
            return self._declare(known)

    def _declare(self, known: Bools) -> Declared:
        posteriors = self._posteriors(refit=True)
        draws = self._draws(posteriors, FINAL_DRAWS * self.settings.draws)
        estimates = self._estimates(posteriors, np.flatnonzero(known))
        front = self._exact(estimates) if self.cells.complete.all() else self._declared(draws, known)
        trust, utility = near_front(draws), self._utility(posteriors)
        ordered = sorted(front.tolist(), key=lambda i: (-utility[i], i))
        return Declared(
            front=tuple(ordered), recommended=ordered[0], estimates=estimates,
            trust={i: float(trust[i]) for i in ordered},
        )  # fmt: skip

    def _declared(self, draws: Draws, known: Bools) -> Ints:
        wanted = self.settings
        return declared(
            draws, known, precision=wanted.precision, least_gain=wanted.least_gain, size=wanted.places
        )  # fmt: skip

    def _exact(self, estimates: Mapping[int, Mapping[str, Estimate]]) -> Ints:
        """The front when everything was read: nothing is left to expect."""
        known = sorted(estimates)
        points = [[estimates[i][o.name].mean for o in self.objectives] for i in known]
        return np.array(known)[non_dominated(points, maximise=[o.maximise for o in self.objectives])]

    def _untried(self) -> int | None:
        """The next candidate without a cell, while first blocks may still be handed out."""
        untried = np.flatnonzero((self.cells.read == 0) & ~self.cells.complete)
        budget, used = self.settings.budget, int(self.cells.read.sum())
        if not len(untried) or (budget is not None and used + self.settings.first > self.settings.first_share * budget):
            return None
        if budget is None:
            return int(untried[0])
        return int(np.random.default_rng([self.seed, 1, len(untried)]).choice(untried))

    def _positions(self, index: int, size: int) -> tuple[int, ...]:
        features = self._features()
        start = self._starts.setdefault(index, start_of(index, len(self.order), features))
        turned = np.roll(self.order, -start)
        return next_positions(index, turned, self.cells.asked, features, self._kernels[0], size)

    def _features(self) -> Features:
        """Of the pool as it is now."""
        if self._coded is None or len(self._coded.codes) != len(self.pool):
            self._coded = features_of(self.pool)
        return self._coded

    def _most_telling(self) -> int:
        used = int(self.cells.read.sum())
        if used >= self._asked_at:
            self._rank(used)
        if left := self._left():
            self._ranking = left[1:]
            return left[0]
        return int(np.random.default_rng([self.seed, 2, used]).choice(np.flatnonzero(~self.cells.complete)))

    def _left(self) -> list[int]:
        return [i for i in self._ranking if not self.complete(i)]

    def _rank(self, used: int) -> None:
        posteriors = self._posteriors(refit=used >= 1.25 * self._fitted_at)
        draws = self._draws(posteriors, self.settings.draws)
        value = worth(shares(draws, self.settings.places), self.cells.read, len(self.order))
        self._ranking = [int(i) for i in np.argsort(-value, kind="stable") if value[i] > 0]
        self._asked_at = used + max(self.settings.block, int(self.settings.patience * used))

    def _posteriors(self, *, refit: bool) -> list[Posterior]:
        features = self._features()
        found = [
            posterior_of(
                self.cells.values[:, :, m], features, positive=objective.positive, kernel=self._kernels[m], refit=refit
            )
            for m, objective in enumerate(self.objectives)
        ]
        if refit:
            self._fitted_at = int(self.cells.read.sum())
        self._kernels = [posterior.kernel for posterior in found]
        return found

    def _draws(self, posteriors: Sequence[Posterior], count: int) -> Draws:
        generator = np.random.default_rng([self.seed, 3, int(self.cells.read.sum()), len(self.pool)])
        return draw(posteriors, [o.maximise for o in self.objectives], count, generator)

    def _utility(self, posteriors: Sequence[Posterior]) -> Floats:
        """Shape (n,): weighted mean of the expected values on 0..1, 1 best."""
        total = np.zeros(len(self.pool))
        for objective, posterior in zip(self.objectives, posteriors, strict=True):
            values = posterior.natural(posterior.mean)
            worst, best = objective.scale or (values.min(), values.max())[:: 1 if objective.maximise else -1]
            total += objective.weight * np.clip((values - worst) / ((best - worst) or 1.0), 0.0, 1.0)
        return total

    def _estimates(self, posteriors: Sequence[Posterior], known: Ints) -> dict[int, dict[str, Estimate]]:
        return {
            int(i): {
                o.name: self._estimate(p, int(i), m)
                for m, (o, p) in enumerate(zip(self.objectives, posteriors, strict=True))
            }
            for i in known
        }

    def _estimate(self, posterior: Posterior, index: int, objective: int) -> Estimate:
        read = self.cells.values[index, :, objective]
        if self.complete(index) and not np.isnan(read).any():
            return Estimate(mean=float(read.mean()), sd=0.0)
        return Estimate(mean=float(posterior.natural(posterior.mean[index])), sd=posterior.sd(index))
