"""One objective's posterior: each candidate's mean over the whole example set, with what is not known of it.

What is asked for is the mean over the fixed examples, read and unread. Cells that were read are known, so the
uncertainty of a candidate falls to nothing as its last cell is read: it is a finite population and no abstract "true
value". Candidates share strength through their params, in their effects and in how examples take to them; one that was
never tried has a prediction too, as sure as its relatives allow.

Invariant: means and covariances depend on the cells read, and not on the order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from offramp.search.racing.features import Features
from offramp.search.racing.kernel import Evidence, Kernel, fit
from offramp.search.racing.summary import Summary, additive, multiplicative, score_of, slope_of
from offramp.stats.pareto import Floats, Ints

TURNS = 2
"""How often the cells are summed up anew about what the model expects of each candidate."""
FITTED = 220
"""Candidates that the kernel is fitted on; those with the most cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Joint normal posterior of the full-set means, on the model's scale.

    Attributes:
        mean: shape (n,). covariance: shape (n, n).
        positive: whether the scale is logarithmic; that of scores is of log odds.
        kernel: what it was made with; where the next fit starts.
    """

    mean: Floats
    covariance: Floats
    positive: bool
    kernel: Kernel

    def natural(self, values: Floats) -> Floats:
        """From the model's scale to the objective's unit."""
        return np.exp(values) if self.positive else score_of(values)

    def sd(self, index: int) -> float:
        """Standard deviation of one candidate's mean, in the objective's unit."""
        wide = float(np.sqrt(max(0.0, self.covariance[index, index])))
        return wide * float(np.exp(self.mean[index]) if self.positive else slope_of(self.mean[index]))


def posterior_of(cells: Floats, features: Features, *, positive: bool, kernel: Kernel | None, refit: bool) -> Posterior:
    """The posterior after these cells; shape (n, j), NaN where not read."""
    summarise = multiplicative if positive else additive
    summary = summarise(cells)
    fitted = _fitted(summary, features, kernel) if refit or kernel is None else kernel
    for _ in range(TURNS):
        summary = summarise(cells, _joint(summary, features, fitted, spread=False)[0])
    if refit or kernel is None:
        fitted = _fitted(summary, features, fitted)
    mean, covariance = _joint(summary, features, fitted)
    return Posterior(mean=mean, covariance=covariance, positive=positive, kernel=fitted)


def _fitted(summary: Summary, features: Features, start: Kernel | None) -> Kernel:
    told = np.flatnonzero(summary.count > 0)
    if not len(told):
        return start or Kernel(shared=1.0, own=1.0, mixed=0.0, blind=np.full(features.n_dims, 0.5))
    order = np.argsort(-summary.count[told], kind="stable")
    rows = np.sort(told[order[:FITTED]])
    overlap = _overlap(summary, rows)
    noise = np.diag(summary.noise[rows] / summary.count[rows]) + _shared_doubt(summary, rows)
    tables = tuple(features.alike(dim, rows, rows) for dim in range(features.n_dims))
    evidence = Evidence(values=summary.value[rows], noise=noise, overlap=overlap, tables=tables)
    kernel = fit(evidence, 0.0 if start is None else start.mixed, start)
    mixed = _mixed(summary, kernel.alike(features, rows, rows), rows)
    return Kernel(shared=kernel.shared, own=kernel.own, mixed=mixed, blind=kernel.blind)


def _mixed(summary: Summary, alike: Floats, rows: Ints) -> float:
    """How far the rests of like candidates agree on the same examples: slope of their products on the likeness."""
    rest, seen = summary.rest[rows], summary.seen[rows].astype(float)
    products, shared = rest @ rest.T, seen @ seen.T
    np.fill_diagonal(shared, 0.0)
    weight = np.maximum(0.0, shared - 1.0)
    total = weight.sum()
    if total <= 0:
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.where(weight > 0, products / weight, 0.0)
    near = alike - (weight * alike).sum() / total
    bottom = (weight * near**2).sum()
    slope = (weight * near * level).sum() / bottom if bottom > 1e-9 else 0.0
    return float(np.clip(slope, 0.0, 0.9 * np.median(summary.noise[rows])))


def _overlap(summary: Summary, rows: Ints) -> Floats:
    share = summary.seen[rows] / summary.count[rows][:, None]
    return np.asarray(share @ share.T)


def _shared_doubt(summary: Summary, rows: Ints) -> Floats:
    share = summary.seen[rows] / (summary.count * summary.slope)[rows][:, None]
    return np.asarray((share * summary.doubt[None, :]) @ share.T)


def _joint(summary: Summary, features: Features, kernel: Kernel, *, spread: bool = True) -> tuple[Floats, Floats]:
    """Conditions the full-set means on the means over the cells read; without `spread` the covariance is left out."""
    n, j = summary.seen.shape
    everyone, told = np.arange(n), np.flatnonzero(summary.count > 0)
    rest = np.maximum(0.0, summary.noise - kernel.mixed)
    alike = kernel.alike(features, everyone, everyone)
    full = (kernel.shared + kernel.mixed / j) * alike
    full[np.diag_indices(n)] += kernel.own + rest / j
    if not len(told):
        return np.zeros(n), full
    across = full[:, told]
    between = alike[np.ix_(told, told)]
    matrix = between * (kernel.shared + kernel.mixed * _overlap(summary, told)) + _shared_doubt(summary, told)
    matrix[np.diag_indices(len(told))] += kernel.own + rest[told] / summary.count[told]
    jitter = 1e-9 * float(np.mean(np.diag(matrix))) + 1e-15
    matrix[np.diag_indices(len(told))] += jitter
    factor = cho_factor(matrix, lower=True)
    ones = cho_solve(factor, np.ones(len(told)))
    level = float(ones @ summary.value[told] / ones.sum())
    mean = level + across @ cho_solve(factor, summary.value[told] - level)
    if not spread:
        return mean, full
    gain = cho_solve(factor, across.T)
    slack = 1.0 - across @ ones
    covariance = full - across @ gain + np.outer(slack, slack) / ones.sum()
    return mean, 0.5 * (covariance + covariance.T)
