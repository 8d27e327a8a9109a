"""Racing: run the cells (candidate x example) that can still change the front, and say what the front is.

The contract, for recorded tables and live calls alike:

    race = Race(objectives=(QUALITY, COST, LATENCY), n_examples=100, seed=0)
    index = race.add(params)                          # at any time; the pool may grow while racing
    for block in race.looks(cells) + race.informative(cells):
        race.observe(block.index, block.positions, values)    # shape (cells, objectives); NaN rows have no value
    race.declare()                                    # front, recommendation, estimates: at any time

Blocks are requested as they are handed out: no cell comes twice, and blocks may be observed later, together with others
and in any order. `plan.py` says how many cells go to which of these. A candidate that is closed gets no more cells.

Invariant: what is handed out and declared depends on the seed, the params, what was requested and what was observed,
and on `kernels` and `fitted_at` as the last allocation left them. The order in which values came back does not matter,
and declaring changes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import ThreadpoolController

from offramp.records import Scalar
from offramp.search.racing.allocate import (
    CELLS_EACH,
    best_gains,
    contenders,
    hypervolume_shares,
    next_positions,
    start_of,
    value_of_next_cell,
)
from offramp.search.racing.cells import Cells
from offramp.search.racing.front import Draws, declare_front, draw, near_front
from offramp.search.racing.kernel import Features, Kernel, features_of
from offramp.search.racing.model import Posterior, posterior_of
from offramp.search.racing.settings import Block, DeclaredFront, Estimate, RaceObjective, RaceSettings
from offramp.search.racing.spending import Spending, unlimited
from offramp.stats.pareto import Bools, Floats, Ints, non_dominated

REFIT = 1.25
"""The kernels are fitted again when the number of cells has grown by this factor."""
MAY_BE_BEST = 0.05
"""Share of the draws in which a candidate is best that makes it one to reckon with."""


class Race:
    """One race.

    Args:
        objectives: in the order of the values' columns.
        n_examples: size of the example set; positions are 0..n_examples - 1.
        seed: of the shared example order and of all draws.
        settings: None for the defaults.
        order: the shared order of examples; a seeded one for None.

    Attributes:
        pool: params of the candidates, by index.
        closed: indices of candidates that get no more cells and are not declared.
        kernels, fitted_at: what the model learnt last, by objective, and from how many cells.
        given: cells that were known before the race, which say nothing of how candidates differ.
    """

    def __init__(
        self, *, objectives: Sequence[RaceObjective], n_examples: int, seed: int,
        settings: RaceSettings | None = None, order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self.objectives, self.seed = tuple(objectives), seed
        self.settings = settings or RaceSettings()
        self.order: Ints = np.random.default_rng([seed, 0]).permutation(n_examples)
        if order is not None:
            self.order = np.asarray(order, dtype=np.int64)
        self.cells = Cells(n_examples, len(self.objectives))
        self.pool: list[Mapping[str, Scalar]] = []
        self.closed: set[int] = set()
        self.kernels: list[Kernel | None] = [None] * len(self.objectives)
        self.fitted_at = self.given = 0
        self._first: list[int] = []
        self._prompts: list[Hashable] = []
        self._coded: Features | None = None

    def add(self, params: Mapping[str, Scalar], *, first: bool = False, prompt: Hashable = None) -> int:
        """Adds a candidate and returns its index, counted from 0.

        Args:
            first: it is looked at before the others.
            prompt: the same for candidates that are cheap to run after one another, because their model has just read
                the same prompt; None where that makes no difference.
        """
        self.pool.append(dict(params))
        index = self.cells.add()
        if first:
            self._first.append(index)
        self._prompts.append(prompt)
        return index

    def observe(self, index: int, positions: ArrayLike, values: ArrayLike) -> None:
        """Takes what came back for some cells.

        Args:
            values: shape (len(positions), objectives); a row of NaN is a cell whose call ended in an infrastructure
                error: it counts as requested, and as nothing else.
        """
        self.cells.put(index, positions, values)

    def request(self, blocks: Iterable[Block]) -> None:
        """Marks the cells of blocks that were handed out before, such as by an earlier run of a job."""
        for block in blocks:
            self.cells.request(block.index, block.positions)

    def begin(self) -> None:
        """What is known now was known before the race."""
        self.given = self._used()

    def learn(self) -> None:
        """Fits the kernels to the cells so far, where enough of them are new since the last time."""
        used = self._used()
        if used > self.fitted_at and used - self.given >= REFIT * (self.fitted_at - self.given):
            with _one_thread():
                self.kernels = [posterior.kernel for posterior in self._posteriors(refit=True)]
            self.fitted_at = used

    def complete(self, index: int) -> bool:
        """Whether every cell of a candidate was requested."""
        return bool(self.cells.complete[index])

    @property
    def open(self) -> Ints:
        """Indices of candidates that may get more cells."""
        return np.array([i for i in np.flatnonzero(~self.cells.complete) if i not in self.closed], dtype=np.int64)

    def spending(self, units: float, unit: Floats | None = None, reading: Floats | None = None) -> Spending:
        """What the next blocks are paid from.

        Args:
            unit, reading: shape (n,); as in `Allowance`; None for 1 and 0. Prompts that were read are not read again.
        """
        nothing = np.zeros(len(self.pool))
        beyond = nothing if reading is None else np.where(self._is_read(), 0.0, reading)
        return Spending(units, nothing + 1.0 if unit is None else unit, beyond, self._prompts)

    def looks(self, cells: int, spending: Spending | None = None) -> list[Block]:
        """First blocks of candidates that have none, for at most so many cells.

        Those added `first`, then those whose prompt is that of one that was looked at, then any.

        Args:
            spending: what they are paid from; None for one without an end.
        """
        spending = spending or unlimited(len(self.pool))
        blocks: list[Block] = []
        too_expensive = set[int]()
        while cells > 0 and (index := self._unseen(too_expensive)) is not None:
            size = int(min(self.settings.first, cells, spending.affordable()[index]))
            if size < 1:
                too_expensive.add(index)
                continue
            blocks.append(self._block(index, size))
            cells -= size
            spending.pay(index, size)
        return blocks

    def informative(self, cells: int, spending: Spending | None = None) -> list[Block]:
        """Blocks for at most so many cells, of the candidates whose next cells may tell most per unit of the budget.

        Args:
            spending: what they are paid from; None for one without an end.
        """
        spending = spending or unlimited(len(self.pool))
        lacking = np.zeros(len(self.pool), dtype=np.int64)
        lacking[self.open] = (len(self.order) - self.cells.count)[self.open]
        if cells < 1 or not np.minimum(lacking, spending.affordable()).any():
            return []
        front, best = self._spreads(lacking, spending)
        count, handed, order = self.cells.count, np.zeros_like(lacking), dict[int, None]()
        for_best = 0
        while cells > 0 and (able := np.minimum(lacking - handed, spending.affordable())).any():
            turn = for_best < self.settings.recommend * (handed.sum() + 1)
            price = spending.price(min(self.settings.block, cells))
            index = self._most(best if turn else front, front, able, count + handed, price)
            size = int(min(self.settings.block, cells, able[index]))
            handed[index] += size
            for_best += size if turn else 0
            cells -= size
            spending.pay(index, size)
            order[index] = None
        return [self._block(index, int(handed[index])) for index in order]

    def _most(self, wanted: Floats, otherwise: Floats, able: Ints, count: Ints, price: Floats) -> int:
        """The candidate whose next cell tells most of what is wanted; else of the other; else any that may get cells.

        Args:
            wanted, otherwise: shape (n,); how far each candidate's worth varies between the draws.
            able: shape (n,); cells that each may get.
            count: shape (n,); cells of each so far.
            price: shape (n,); what a cell of each takes.
        """
        for spread in (wanted, otherwise):
            value = np.where(able > 0, value_of_next_cell(spread, count, len(self.order)) / price, -1.0)
            index = int(np.argmax(value))
            if value[index] > 0:
                return index
        anyone = np.random.default_rng([self.seed, 2, int(count.sum())])
        return int(anyone.choice(np.flatnonzero(able)))

    def rest(self, index: int, cells: int) -> Block | None:
        """The cells that a candidate lacks, at most so many; None where it lacks none."""
        return None if cells < 1 or self.complete(index) else self._block(index, cells)

    def declare(self, *, refit: bool = True) -> DeclaredFront:
        """The front as it would be declared now, over the candidates with a known cell.

        Declaring changes nothing in the race, so that it decides the same however often anyone looks.

        Args:
            refit: whether the model is fitted to all cells so far; otherwise it is the one of the last allocation.
        """
        known = self.cells.known
        for index in self.closed:
            known[index] = False
        if not known.any():
            return DeclaredFront(front=(), recommended=None, by_gain=(), estimates={}, trust={}, promising=())
        with _one_thread():
            return self._declare(known, refit=refit)

    def rivals(self, without: Container[int] = ()) -> list[int]:
        """Who may turn out to be best by utility: the leader, then whoever is in `MAY_BE_BEST` of the draws.

        The leader has cells and is expected to be best. Candidates without a cell may be among the others, by their
        predictions; nobody is before any cell is known.
        """
        able = np.array([i for i in range(len(self.pool)) if i not in self.closed and i not in without], dtype=np.int64)
        known = self.cells.known
        if not len(able) or not known.any():
            return []
        with _one_thread():
            posteriors = self._posteriors(refit=False)
            expected, drawn = self._utility(posteriors), self._utilities(self._draws(posteriors).values)[:, able]
        leader = min(able[known[able]].tolist(), key=lambda i: (-expected[i], i), default=None)
        best = np.bincount(drawn.argmax(axis=1), minlength=len(able)) / len(drawn)
        found = able[best >= MAY_BE_BEST].tolist()
        return list(dict.fromkeys([*([] if leader is None else [leader]), *found]))

    def expected(self) -> Floats:
        """Shape (n, objectives): what each candidate's means are expected to be, in the objectives' units."""
        with _one_thread():
            posteriors = self._posteriors(refit=False)
        return np.stack([posterior.natural(posterior.mean) for posterior in posteriors], axis=1)

    def _declare(self, known: Bools, *, refit: bool) -> DeclaredFront:
        posteriors = self._posteriors(refit=refit)
        draws = self._draws(posteriors)
        trust, utility = near_front(draws), self._utility(posteriors)
        estimates = {
            int(i): {
                objective.name: self._estimate(posterior, int(i), m)
                for m, (objective, posterior) in enumerate(zip(self.objectives, posteriors, strict=True))
            }
            for i in np.flatnonzero(known)
        }
        if self.cells.complete[known].all() and not len(self.open):
            front = self._exact_front(estimates)
        else:
            front = declare_front(
                draws, known, trust, precision=self.settings.precision, least_gain=self.settings.least_gain,
                grid_points=self.settings.grid_points,
            )  # fmt: skip
        members = front.tolist()
        best = min(np.flatnonzero(known).tolist(), key=lambda i: (-utility[i], i not in members, i))
        if best not in members:  # precise or not, it is what anyone would take
            members.append(best)
        ordered = sorted(members, key=lambda i: (-utility[i], i))
        return DeclaredFront(
            front=tuple(ordered), recommended=best, by_gain=tuple(members), estimates=estimates,
            trust={i: float(trust[i]) for i in ordered}, promising=self._promising(known, draws),
        )  # fmt: skip

    def _promising(self, known: Bools, draws: Draws) -> tuple[int, ...]:
        """Candidates that lack cells, by how much better than the best complete one each is expected to turn out.

        Only a complete candidate is recommended, so what counts is what is found where it is good, weighed by how
        likely that is.
        """
        able = [i for i in np.flatnonzero(known & ~self.cells.complete).tolist() if i not in self.closed]
        if not able:
            return ()
        utilities = self._utilities(draws.values)
        complete = [i for i in np.flatnonzero(known & self.cells.complete).tolist() if i not in self.closed]
        best = utilities[:, complete].max(axis=1) if complete else np.zeros(len(utilities))
        ahead = np.maximum(0.0, utilities[:, able] - best[:, None]).mean(axis=0)
        expected = utilities[:, able].mean(axis=0)
        return tuple(able[k] for k in np.lexsort((able, -expected, -np.round(ahead, 9))))

    def _exact_front(self, estimates: Mapping[int, Mapping[str, Estimate]]) -> Ints:
        """The front once every cell was run: there is nothing left to estimate."""
        known = sorted(estimates)
        points = [[estimates[i][o.name].mean for o in self.objectives] for i in known]
        return np.array(known)[non_dominated(points, maximise=[o.maximise for o in self.objectives])]

    def _unseen(self, without: Container[int]) -> int | None:
        """The next candidate without a cell: those added first in their order, then by prompt, then any."""
        unseen = [i for i in self.open.tolist() if not self.cells.count[i] and i not in without]
        if not unseen:
            return None
        ahead = next((i for i in self._first if i in unseen), None)
        if ahead is not None:
            return ahead
        read = self._is_read()
        again = [i for i in unseen if read[i]]
        return int(np.random.default_rng([self.seed, 1, len(unseen)]).choice(again or unseen))

    def _is_read(self) -> Bools:
        """Shape (n,): whether a candidate's prompt was read, by itself or by another with the same."""
        looked: Bools = self.cells.count > 0
        read = {prompt for prompt, seen in zip(self._prompts, looked, strict=True) if seen and prompt is not None}
        return np.array(
            [seen or prompt in read for prompt, seen in zip(self._prompts, looked, strict=True)], dtype=bool
        )

    def _block(self, index: int, size: int) -> Block:
        """A block that is requested from here on."""
        features = self._features()
        order = np.roll(self.order, -start_of(index, len(self.order), features))
        positions = next_positions(index, order, self.cells.requested, features, self.kernels[0], size)
        self.cells.request(index, positions)
        return Block(index=index, positions=positions)

    def _features(self) -> Features:
        """Those of the pool as it is now."""
        if self._coded is None or len(self._coded.codes) != len(self.pool):
            self._coded = features_of(self.pool)
        return self._coded

    def _spreads(self, lacking: Ints, spending: Spending) -> tuple[Floats, Floats]:
        """Shapes (n,): how far what each candidate is worth varies between draws: to the front, and as the best."""
        self.learn()
        with _one_thread():
            posteriors = self._posteriors(refit=False)
            draws = self._draws(posteriors)
            shares = hypervolume_shares(draws, self.settings.grid_points)
            utilities, expected = self._utilities(draws.values), self._utility(posteriors)
        able = contenders(expected, lacking, spending.price(CELLS_EACH), spending.units)
        leads = np.zeros(len(able))
        leads[able] = best_gains(utilities[:, able]).std(axis=0)
        return shares.std(axis=0), leads

    def _used(self) -> int:
        """Cells with a known value."""
        return int((~np.isnan(self.cells.values).all(axis=2)).sum())

    def _posteriors(self, *, refit: bool) -> list[Posterior]:
        features, values = self._features(), self.cells.values
        return [
            posterior_of(
                values[:, :, m], features, positive=objective.positive, kernel=self.kernels[m], refit=refit
            )
            for m, objective in enumerate(self.objectives)
        ]  # fmt: skip

    def _draws(self, posteriors: Sequence[Posterior]) -> Draws:
        generator = np.random.default_rng([self.seed, 3, int(self.cells.count.sum()), len(self.pool)])
        return draw(posteriors, [o.maximise for o in self.objectives], self.settings.draws, generator)

    def _utility(self, posteriors: Sequence[Posterior]) -> Floats:
        """Shape (n,): that of the expected values."""
        return np.asarray(self._utilities(np.stack([p.natural(p.mean) for p in posteriors], axis=-1)[None])[0])

    def _utilities(self, values: Floats) -> Floats:
        """Weighted sum over the last axis, each objective scaled to 0..1 with 1 best."""
        total = np.zeros(values.shape[:-1])
        for m, objective in enumerate(self.objectives):
            column = values[..., m]
            worst, best = objective.scale or (column.min(), column.max())[:: 1 if objective.maximise else -1]
            total = total + objective.weight * np.clip((column - worst) / ((best - worst) or 1.0), 0.0, 1.0)
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
