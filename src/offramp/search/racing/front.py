"""What the front may be: joint draws of the candidates' full-set means, and the front declared from them.

Draws. In each draw a loss is 0 at the best value of the pool and 1 at the worst, so that a hypervolume weighs all
objectives alike. The span is that of the draw: expected values lie closer together than the true ones, the more so the
less is known, and on their span a near tie would look like a gap. Volumes are counted on a fixed low-discrepancy grid
of the unit cube: which candidate covers which point, in many draws at once.

Declaring. Members are chosen one at a time, by how much hypervolume each is expected to add to those already chosen. A
candidate is left out where it would add next to nothing, or where the expected share of members that are on the true
front or close to it would fall below the promised precision. "Close" means that no candidate is better by more than a
small margin in every objective at once. A front declared from few cells may therefore name two candidates where one is
enough; it seldom names one that is plainly worse than another, and it seldom misses a trade-off. Whoever is expected to
be best by utility joins it in any case (`Race.declare`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from offramp.search.racing.model import Posterior
from offramp.stats.pareto import Bools, Floats, Ints, non_dominated

Packed = NDArray[np.uint64]
JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4)
CLOSE = 0.05
"""Share of an objective's span within which candidates count as equal."""
SPARE = 0.25
"""Members that may be expected not to be close beyond what the precision allows, since a front has whole members."""
SELDOM = 0.02
"""Candidates that are on the front in no more than this share of the draws are not considered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Losses of every candidate.

    Attributes:
        losses: shape (draws, n, m).
        expected: shape (n, m); losses of the expected values, on a span of their own.
        values: shape (draws, n, m); the drawn means in the objectives' units.
        fronts: by draw, the candidates that no other one dominates.
    """

    losses: Floats
    expected: Floats
    values: Floats
    fronts: tuple[Ints, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fronts", tuple(front_of(losses) for losses in self.losses))


def draw(
    posteriors: Sequence[Posterior], maximise: Sequence[bool], count: int, generator: np.random.Generator
) -> Draws:
    """Joint draws over the candidates; given the cells, objectives are independent of each other."""
    losses, expected, values = [], [], []
    for posterior, larger_is_better in zip(posteriors, maximise, strict=True):
        noise = generator.standard_normal((count, len(posterior.mean)))
        drawn = posterior.natural(posterior.mean + noise @ _square_root(posterior.covariance).T)
        means = posterior.natural(posterior.mean)
        losses.append(_on_own_span(-drawn if larger_is_better else drawn))
        expected.append(_on_own_span(-means if larger_is_better else means))
        values.append(drawn)
    return Draws(
        losses=np.stack(losses, axis=-1), expected=np.stack(expected, axis=-1), values=np.stack(values, axis=-1)
    )  # fmt: skip


def _on_own_span(values: Floats) -> Floats:
    """Along the last axis 0 for the smallest and 1 for the largest; 0 for all where they are equal."""
    span = np.ptp(values, axis=-1, keepdims=True)
    return np.asarray((values - values.min(axis=-1, keepdims=True)) / np.where(span > 0, span, 1.0))


def _square_root(covariance: Floats) -> Floats:
    """A matrix whose product with its transpose is the covariance, also where that is only just semi-definite."""
    top = float(np.diag(covariance).max(initial=0.0))
    if top <= 0:
        return np.zeros_like(covariance)
    for jitter in JITTERS:
        try:
            return np.asarray(np.linalg.cholesky(covariance + jitter * top * np.eye(len(covariance))))
        except np.linalg.LinAlgError:
            continue
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def front_of(losses: Floats) -> Ints:
    """Indices of the rows that no other row dominates; smaller is better."""
    return np.flatnonzero(non_dominated(losses, maximise=[False] * losses.shape[1]))


def covered(losses: Floats, grid_points: int) -> Bools:
    """Shape (rows, grid_points): which points of the unit cube each row dominates."""
    points = _grid(losses.shape[1], grid_points)
    reached = np.ones((len(losses), grid_points), dtype=bool)
    for objective in range(losses.shape[1]):
        reached &= losses[:, objective][:, None] <= points[None, :, objective]
    return reached


@lru_cache(maxsize=8)
def _grid(m: int, grid_points: int) -> Floats:
    return np.asarray(qmc.Sobol(m, seed=0).random(grid_points))


def near_front(draws: Draws) -> Floats:
    """Shape (n,): in what share of the draws no candidate is better by more than `CLOSE` in every objective."""
    near = np.zeros(draws.losses.shape[1])
    for losses, members in zip(draws.losses, draws.fronts, strict=True):
        better = np.ones((len(losses), len(members)), dtype=bool)
        for objective in range(losses.shape[1]):
            column = losses[:, objective]
            better &= column[members][None, :] <= column[:, None] - CLOSE
        near += ~better.any(axis=1)
    return near / len(draws.losses)


def declare_front(
    draws: Draws, allowed: Bools, near: Floats, *, precision: float, least_gain: float, grid_points: int
) -> Ints:
    """Members of the declared front, in the order in which they were chosen.

    Args:
        allowed: shape (n,); who may be a member at all.
        near: shape (n,); what `near_front` says of the same draws.
        precision: the least expected share of members on the true front or close to it.
        least_gain: the least that another member has to add, as a share of the volume covered so far.
    """
    candidates = _candidates(draws, allowed)
    trust = near[candidates]
    trusted = trust >= min(precision, float(near[candidates].max()))
    reached = np.concatenate([_packed(losses[candidates], grid_points) for losses in draws.losses], axis=1)
    volume = np.zeros(reached.shape[1], dtype=np.uint64)
    at_most = _counts(reached)
    chosen: list[int] = []
    while len(chosen) < len(candidates):
        allows = (trust[chosen].sum() + trust + SPARE) / (len(chosen) + 1) >= precision
        best, gain = _most_added(reached, volume, at_most, allows | trusted)
        if best is None or (chosen and gain <= least_gain * _counts(volume[None, :])[0]):
            break
        volume |= reached[best]
        at_most[best] = -1
        chosen.append(best)
    return np.asarray(candidates[chosen], dtype=np.int64)


def _most_added(reached: Packed, volume: Packed, at_most: Ints, eligible: Bools) -> tuple[int | None, int]:
    """The first of the eligible rows that add most points to the volume, and how many; None where none is left.

    A row never adds more than it added to a smaller volume (`at_most`, brought up to date here; -1 for those already
    chosen), so most rows need not be counted again.
    """
    rows = np.flatnonzero(eligible & (at_most >= 0))
    best, gain = None, -1
    for row in rows[np.argsort(-at_most[rows], kind="stable")].tolist():
        if at_most[row] < gain:
            break
        at_most[row] = int(np.bitwise_count(reached[row] & ~volume).sum(dtype=np.int64))
        if at_most[row] > gain or (at_most[row] == gain and best is not None and row < best):
            best, gain = row, int(at_most[row])
    return best, gain


def _packed(losses: Floats, grid_points: int) -> Packed:
    """`covered`, 64 points in one number; points beyond the grid are covered by nobody."""
    packed = np.packbits(covered(losses, grid_points), axis=1)
    padded = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    return np.ascontiguousarray(padded).view(np.uint64)


def _counts(packed: Packed) -> Ints:
    """Shape (rows,): how many points each row covers."""
    return np.asarray(np.bitwise_count(packed).sum(axis=1, dtype=np.int64))


def _candidates(draws: Draws, allowed: Bools) -> Ints:
    """The allowed ones on the expected front, or on more than `SELDOM` of the draws' fronts; else all allowed ones."""
    times = np.zeros(len(allowed))
    for members in draws.fronts:
        times[members] += 1
    times[front_of(draws.expected)] = len(draws.losses)
    candidates = np.flatnonzero((times > SELDOM * len(draws.losses)) & allowed)
    return candidates if len(candidates) else np.flatnonzero(allowed)
