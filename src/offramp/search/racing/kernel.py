"""How alike two candidates' effects are, given their params, and how much each param matters.

The similarity of two candidates is a product over the dimensions of `r + (1 - r) x alike`: with r near 1 a dimension
does not matter, with all r near 1 the effects of the dimensions add up, and with small r only candidates that share all
of them are alike. Beside this shared part each candidate has an effect of its own. All of it is fitted by marginal
likelihood (empirical Bayes), so that params which tell nothing end up being used for nothing.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

from offramp.search.racing.features import Features
from offramp.stats.pareto import Floats, Ints

STEPS = 20
WIDTH = 2.0
"""Of the priors, in logarithms of variances and log odds of r."""
LITTLE = 0.05
"""Share of the values' variance that candidates are taken to differ by at least, before any fit."""
LOW, HIGH = 0.02, 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Fitted variances of one objective.

    Attributes:
        shared: variance of the part of an effect that params explain.
        own: variance of the part that they do not.
        mixed: variance of what a cell holds of neither candidate nor example, but of params and example together.
        blind: shape (d,); r of each dimension, in (0, 1).
    """

    shared: float
    own: float
    mixed: float
    blind: Floats

    def alike(self, features: Features, rows: Ints, columns: Ints) -> Floats:
        """Correlation of the shared parts; 1 for equal params, 0 for candidates that have nothing in common."""
        if not features.n_dims:
            return np.zeros((len(rows), len(columns)))
        product, base = np.ones((len(rows), len(columns))), float(np.prod(self.blind))
        for dim, blind in enumerate(self.blind):
            product *= blind + (1.0 - blind) * features.alike(dim, rows, columns)
        return (product - base) / (1.0 - base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a fit looks at: effects of some candidates with the noise that they carry.

    Attributes:
        values: shape (m,). noise: shape (m, m); covariance of their errors, without the mixed part.
        overlap: shape (m, m); share of cells on the same examples, sum over shared examples of 1 / (count x count).
        tables: d similarity matrices of shape (m, m).
    """

    values: Floats
    noise: Floats
    overlap: Floats
    tables: tuple[Floats, ...]


def fit(evidence: Evidence, mixed: float, start: Kernel | None) -> Kernel:
    """The kernel of highest marginal likelihood, under weak priors, from `start` on."""
    dims = len(evidence.tables)
    scale = _spread(evidence.values)
    middle = 0.5 * _between(evidence)
    first = np.concatenate([[np.log(middle)] * 2, np.zeros(dims)])
    if start is not None and len(start.blind) == dims:
        first = np.concatenate([np.log([start.shared, start.own]), _logit(start.blind)])
    if not dims:
        first = first[:2]
    low, high = np.log(1e-6 * scale), np.log(10 * scale)
    bounds = [(low, high)] * 2 + [(_logit(LOW), _logit(HIGH))] * dims
    first = np.clip(first, [b[0] for b in bounds], [b[1] for b in bounds])
    found = minimize(
        _loss, first, args=(evidence, mixed, middle, scale), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": STEPS},
    )  # fmt: skip
    shared, own = np.exp(found.x[:2])
    return Kernel(shared=float(shared), own=float(own), mixed=mixed, blind=_expit(found.x[2:]))


def _loss(point: Floats, evidence: Evidence, mixed: float, middle: float, scale: float) -> tuple[float, Floats]:
    """Negative log posterior of the variances, and its gradient."""
    m = len(evidence.values)
    shared, own = np.exp(point[:2])
    blind = _expit(point[2:])
    alike, slopes = _alike_and_slopes(evidence.tables, blind, m)
    matrix = shared * alike + mixed * alike * evidence.overlap + evidence.noise
    matrix[np.diag_indices(m)] += own + 1e-9 * scale
    matrix += 25.0 * scale
    try:
        factor = cho_factor(matrix, lower=True)
    except LinAlgError:
        return 1e12, np.zeros_like(point)
    centred = evidence.values - evidence.values.mean()
    weights = cho_solve(factor, centred)
    pull = np.outer(weights, weights) - cho_solve(factor, np.eye(m))
    fit_term = 0.5 * centred @ weights + np.log(np.diag(factor[0])).sum()
    slope = np.empty_like(point)
    slope[0] = -0.5 * shared * (pull * alike).sum()
    slope[1] = -0.5 * own * np.trace(pull)
    outer = pull * (shared + mixed * evidence.overlap)
    for dim, change in enumerate(slopes):
        slope[2 + dim] = -0.5 * (outer * change).sum() * blind[dim] * (1.0 - blind[dim])
    prior, prior_slope = _prior(point, middle)
    return float(fit_term + prior), slope + prior_slope


def _prior(point: Floats, middle: float) -> tuple[float, Floats]:
    """Weak: factors of seven about `middle` in the variances, and any r but the ends."""
    off = (point - np.concatenate([[np.log(middle)] * 2, np.zeros(len(point) - 2)])) / WIDTH
    return float(0.5 * (off**2).sum()), off / WIDTH


def _between(evidence: Evidence) -> float:
    """Variance between candidates beyond the noise of their values, by moments; a little where there is none.

    Source: DerSimonian and Laird, "Meta-analysis in clinical trials", Controlled Clinical Trials 7(3), 1986.
    """
    least = LITTLE * _spread(evidence.values)
    if len(evidence.values) < 2:
        return least
    weights = 1.0 / np.maximum(1e-12, np.diag(evidence.noise))
    total = weights.sum()
    off = evidence.values - (weights @ evidence.values) / total
    spare = total - (weights**2).sum() / total
    found = (weights @ off**2 - (len(weights) - 1)) / spare if spare > 0 else 0.0
    return max(float(found), least)


def _spread(values: Floats) -> float:
    return max(1e-12, float(np.var(values)))


def _alike_and_slopes(tables: tuple[Floats, ...], blind: Floats, m: int) -> tuple[Floats, list[Floats]]:
    if not tables:
        return np.zeros((m, m)), []
    factors = [r + (1.0 - r) * table for r, table in zip(blind, tables, strict=True)]
    product, base = np.prod(factors, axis=0), float(np.prod(blind))
    alike = (product - base) / (1.0 - base)
    slopes = []
    for r, table, factor in zip(blind, tables, factors, strict=True):
        up, base_up = product / factor * (1.0 - table), base / r
        slopes.append((up - base_up + alike * base_up) / (1.0 - base))
    return alike, slopes


def _logit(p: Floats | float) -> Floats:
    return np.log(p) - np.log1p(-np.asarray(p, dtype=np.float64))


def _expit(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))
