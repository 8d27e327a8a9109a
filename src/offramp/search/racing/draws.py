"""Joint draws of what the full-set means may be, in losses that all objectives share.

In each draw a loss is 0 at the best value of the pool and 1 at the worst, so that a hypervolume counts each objective
alike. The span is the draw's own: expected values lie closer together than true ones, the more so the less is known,
and on their span a near tie would look like a gap. Volumes are counted on a fixed low-discrepancy grid of the unit
cube: what matters is which candidate covers which place, in many draws at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import qmc

from offramp.search.racing.model import Posterior
from offramp.stats.pareto import Bools, Floats, Ints, non_dominated

JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Losses of every candidate.

    Attributes:
        losses: shape (draws, n, m). expected: shape (n, m); losses of the expected values, on a span of their own.
    """

    losses: Floats
    expected: Floats

    @property
    def front(self) -> Ints:
        """Candidates whose expected values no other's dominate."""
        return front_of(self.expected)

    def fronts(self) -> list[Ints]:
        """The front of each draw."""
        return [front_of(losses) for losses in self.losses]


def draw(
    posteriors: Sequence[Posterior], maximise: Sequence[bool], count: int, generator: np.random.Generator
) -> Draws:
    """Joint draws; objectives are independent of each other given the cells."""
    parts = [_losses(p, up, count, generator) for p, up in zip(posteriors, maximise, strict=True)]
    return Draws(losses=np.stack([p[0] for p in parts], axis=-1), expected=np.stack([p[1] for p in parts], axis=-1))


def _losses(posterior: Posterior, up: bool, count: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    noise = generator.standard_normal((count, len(posterior.mean)))
    drawn = posterior.natural(posterior.mean + noise @ _root(posterior.covariance).T)
    expected = posterior.natural(posterior.mean)
    if up:
        drawn, expected = -drawn, -expected
    return _on_their_span(drawn), _on_their_span(expected)


def _on_their_span(values: Floats) -> Floats:
    """Along the last axis 0 for the least and 1 for the greatest; 0 for all where they are equal."""
    span = np.ptp(values, axis=-1, keepdims=True)
    return np.asarray((values - values.min(axis=-1, keepdims=True)) / np.where(span > 0, span, 1.0))


def _root(covariance: Floats) -> Floats:
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
    """Indices of the rows that no other dominates; smaller is better."""
    return np.flatnonzero(non_dominated(losses, maximise=[False] * losses.shape[1]))


def covers(losses: Floats, size: int) -> Bools:
    """Which of `size` places of the unit cube each row reaches; shape (rows, size)."""
    places = _places(losses.shape[1], size)
    reached = np.ones((len(losses), size), dtype=bool)
    for objective in range(losses.shape[1]):
        reached &= losses[:, objective][:, None] <= places[None, :, objective]
    return reached


@lru_cache(maxsize=8)
def _places(m: int, size: int) -> Floats:
    return np.asarray(qmc.Sobol(m, seed=0).random(size))
