"""The posterior of one objective: each candidate's mean over the whole example set, and what is not known about it.

The quantity wanted is the mean over the fixed examples, whether their cells were run or not. Cells that were run are
known, so a candidate's uncertainty falls to zero as its last cell is run: this is a finite population, not an abstract
"true value". Candidates share strength through their params, both in their effects and in how examples suit them. A
candidate that was never run has a prediction too, as certain as similar candidates allow.

Invariant: means and covariances depend on the cells, not on the order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from offramp.search.racing.kernel import Evidence, Features, Kernel, fit, usual_irrelevance
from offramp.search.racing.statistics import CellStatistics, additive, multiplicative, score_of, slope_of
from offramp.stats.pareto import Floats, Ints

TURNS = 2
"""How often the cells are summarised again around what the model expects of each candidate."""
FITTED = 220
"""The kernel is fitted to at most this many candidates, those with the most cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Joint normal posterior of the full-set means, on the model's scale.

    Attributes:
        mean: shape (n,).
        covariance: shape (n, n).
        positive: whether the scale is logarithmic; otherwise it is that of log odds.
        kernel: what it was computed with; the next fit starts from it.
        floor: what the logarithmic scale adds to every value.
    """

    mean: Floats
    covariance: Floats
    positive: bool
    kernel: Kernel
    floor: float = 0.0

    def natural(self, values: Floats) -> Floats:
        """From the model's scale to the objective's unit."""
        return np.maximum(0.0, np.exp(values) - self.floor) if self.positive else score_of(values)

    def sd(self, index: int) -> float:
        """Standard deviation of one candidate's mean, in the objective's unit."""
        on_scale = float(np.sqrt(max(0.0, self.covariance[index, index])))
        return on_scale * float(np.exp(self.mean[index]) if self.positive else slope_of(self.mean[index]))


def posterior_of(cells: Floats, features: Features, *, positive: bool, kernel: Kernel | None, refit: bool) -> Posterior:
    """The posterior given these cells.

    Args:
        cells: shape (n, j); NaN where not known.
        kernel: from before; fitted again where it is None, of fewer params than the pool has by now, or `refit` is set.
    """
    refit = refit or kernel is None or len(kernel.irrelevance) != features.n_params
    summarise = multiplicative if positive else additive
    statistics = summarise(cells)
    fitted = _fitted(statistics, features, kernel) if refit or kernel is None else kernel
    for _ in range(TURNS):
        statistics = summarise(cells, _joint(statistics, features, fitted, with_covariance=False)[0])
    if refit:
        fitted = _fitted(statistics, features, fitted)
    mean, covariance = _joint(statistics, features, fitted)
    return Posterior(mean=mean, covariance=covariance, positive=positive, kernel=fitted, floor=statistics.floor)


def _fitted(statistics: CellStatistics, features: Features, start: Kernel | None) -> Kernel:
    known = np.flatnonzero(statistics.count > 0)
    if not len(known):
        n = features.n_params
        return start or Kernel(shared=1.0, own=1.0, mixed=0.0, irrelevance=np.full(n, usual_irrelevance(n)))
    order = np.argsort(-statistics.count[known], kind="stable")
    rows = np.sort(known[order[:FITTED]])
    evidence = Evidence(
        values=statistics.value[rows],
        noise=np.diag(statistics.noise[rows] / statistics.count[rows]) + _example_doubt(statistics, rows),
        overlap=_overlap(statistics, rows),
        tables=tuple(features.similarity(param, rows, rows) for param in range(features.n_params)),
    )
    kernel = fit(evidence, 0.0 if start is None else start.mixed, start)
    mixed = _mixed(statistics, kernel.similarity(features, rows, rows), rows)
    return Kernel(shared=kernel.shared, own=kernel.own, mixed=mixed, irrelevance=kernel.irrelevance)


def _mixed(statistics: CellStatistics, similarity: Floats, rows: Ints) -> float:
    """How far similar candidates' residuals agree on the same examples: the slope of their products on similarity."""
    residual, known = statistics.residual[rows], statistics.known[rows].astype(float)
    products, shared = residual @ residual.T, known @ known.T
    np.fill_diagonal(shared, 0.0)
    weight = np.maximum(0.0, shared - 1.0)
    total = weight.sum()
    if total <= 0:
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.where(weight > 0, products / weight, 0.0)
    centred = similarity - (weight * similarity).sum() / total
    bottom = (weight * centred**2).sum()
    slope = (weight * centred * level).sum() / bottom if bottom > 1e-9 else 0.0
    return float(np.clip(slope, 0.0, 0.9 * np.median(statistics.noise[rows])))


def _overlap(statistics: CellStatistics, rows: Ints) -> Floats:
    share = statistics.known[rows] / statistics.count[rows][:, None]
    return np.asarray(share @ share.T)


def _example_doubt(statistics: CellStatistics, rows: Ints) -> Floats:
    """Covariance that candidates' values share because the examples' effects are not known exactly."""
    share = statistics.known[rows] / (statistics.count * statistics.slope)[rows][:, None]
    return np.asarray((share * statistics.doubt[None, :]) @ share.T)


def _joint(
    statistics: CellStatistics, features: Features, kernel: Kernel, *, with_covariance: bool = True
) -> tuple[Floats, Floats]:
    """Mean and covariance of the full-set means, given the means of the known cells.

    Without `with_covariance` the covariance is that of the prior, which costs nothing.
    """
    n, j = statistics.known.shape
    everyone, known = np.arange(n), np.flatnonzero(statistics.count > 0)
    rest = np.maximum(0.0, statistics.noise - kernel.mixed)
    similarity = kernel.similarity(features, everyone, everyone)
    full = (kernel.shared + kernel.mixed / j) * similarity
    full[np.diag_indices(n)] += kernel.own + rest / j
    if not len(known):
        return np.zeros(n), full
    across = full[:, known]
    between = similarity[np.ix_(known, known)]
    matrix = between * (kernel.shared + kernel.mixed * _overlap(statistics, known)) + _example_doubt(statistics, known)
    matrix[np.diag_indices(len(known))] += kernel.own + rest[known] / statistics.count[known]
    jitter = 1e-9 * float(np.mean(np.diag(matrix))) + 1e-15
    matrix[np.diag_indices(len(known))] += jitter
    factor = cho_factor(matrix, lower=True)
    ones = cho_solve(factor, np.ones(len(known)))
    level = float(ones @ statistics.value[known] / ones.sum())
    mean = level + across @ cho_solve(factor, statistics.value[known] - level)
    if not with_covariance:
        return mean, full
    gain = cho_solve(factor, across.T)
    slack = 1.0 - across @ ones
    covariance = full - across @ gain + np.outer(slack, slack) / ones.sum()
    return mean, 0.5 * (covariance + covariance.T)
