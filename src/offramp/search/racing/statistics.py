"""What the cells so far say about each candidate in one objective, with the examples' own effects removed.

Scores are modelled as candidate + example + residual, with the candidates' means on a scale of log odds, because most
candidates of a pool crowd near its best score and a few are much worse. Money and seconds are modelled as candidate x
example x residual on a logarithmic scale, because they vary in proportion to their size. Examples differ more than
candidates do, so a candidate that met easy examples must not pass for a good one. The examples' effects are shrunk by
how few cells there are of each.

Invariant: a cell without a value (NaN) is left out; it counts neither for nor against anyone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from offramp.stats.pareto import Bools, Floats

ROUNDS = 4
TINY = 1e-12
MARGIN = 0.02
"""How far beyond 0 and 1 the scale of log odds reaches, so that a mean of 0 or 1 has a place on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStatistics:
    """One objective's cells, by candidate.

    Attributes:
        value: shape (n,); a candidate's mean over its cells less the examples' effects, on the model's scale (log for
            positive objectives, log odds for scores); NaN where no cell is known.
        count: shape (n,); known cells.
        noise: shape (n,); variance of one cell about its candidate, with the example's effect removed.
        doubt: shape (j,); variance that remains in the examples' effects.
        residual: shape (n, j); what neither candidate nor example explains; 0 where the cell is not known.
        known: shape (n, j); which cells are known.
        slope: shape (n,); change of the cells' mean with the model's scale, in the unit of `doubt`.
        floor: what was added to every value of a positive objective, so that 0 has a logarithm.
    """

    value: Floats
    count: Floats
    noise: Floats
    doubt: Floats
    residual: Floats
    known: Bools
    slope: Floats
    floor: float = 0.0


def additive(cells: Floats, expected: Floats | None = None) -> CellStatistics:
    """Statistics of scores in 0..1; the value is on the scale of log odds.

    The mean of a few cells may be 0 or 1, whose odds say nothing. So the scale is taken as straight around what is
    expected of the candidate, and the value is where that line meets the observed mean (a working response).

    Args:
        cells: shape (n, j); NaN where not known.
        expected: shape (n,); log odds that a model expects; None to use the candidates' own shrunken means.

    Source: McCullagh and Nelder, "Generalized Linear Models", 2nd ed., 1989, section 2.5.
    """
    known = ~np.isnan(cells)
    filled = np.where(known, cells, 0.0)
    count, per_example = known.sum(axis=1).astype(float), known.sum(axis=0).astype(float)
    level = filled.sum() / max(1.0, count.sum())
    own = np.zeros(len(cells)) if expected is None else score_of(expected) - level
    effect = np.zeros(cells.shape[1])
    var_total = max(TINY, float(((filled - level) ** 2)[known].mean()) if known.any() else 1.0)
    var_own, var_effect, var_residual = 0.1 * var_total, 0.3 * var_total, var_total
    for _ in range(ROUNDS):
        effect = ((filled - level - own[:, None]) * known).sum(axis=0) / (per_example + var_residual / var_effect)
        if expected is None:
            own = ((filled - level - effect[None, :]) * known).sum(axis=1) / (count + var_residual / var_own)
        residual = (filled - level - own[:, None] - effect[None, :]) * known
        var_residual = max(TINY, float((residual**2).sum() / max(1.0, _degrees_of_freedom(count, per_example))))
        if expected is None:
            var_own = _next_variance(own, count, var_residual, var_own)
        var_effect = _next_variance(effect, per_example, var_residual, var_effect)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = ((filled - effect[None, :]) * known).sum(axis=1) / count
    mean = level + own
    noise = np.maximum(TINY, var_residual * _relative_noise(np.where(count > 0, mean, level), count))
    centre = log_odds_of(mean)
    slope = slope_of(centre)
    adjusted = filled - effect[None, :]
    own_means = (adjusted * known).sum(axis=1) / np.maximum(1.0, count)
    return CellStatistics(
        value=centre + (value - score_of(centre)) / slope,
        count=count,
        noise=noise / slope**2,
        doubt=1.0 / (per_example / var_residual + 1.0 / var_effect),
        residual=np.asarray((adjusted - own_means[:, None]) * known) / slope[:, None],
        known=known,
        slope=slope,
    )


def log_odds_of(scores: Floats) -> Floats:
    """Scores on a scale without bounds; those beyond 0 and 1 count as 0 and 1."""
    inside = (np.clip(scores, 0.0, 1.0) + MARGIN) / (1.0 + 2.0 * MARGIN)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def score_of(log_odds: Floats) -> Floats:
    """The inverse of `log_odds_of`; up to MARGIN below 0 or above 1."""
    return np.asarray((1.0 + 2.0 * MARGIN) * expit(log_odds) - MARGIN)


def slope_of(log_odds: Floats) -> Floats:
    """Change of the score with the log odds."""
    inside = expit(log_odds)
    return np.asarray((1.0 + 2.0 * MARGIN) * inside * (1.0 - inside))


def multiplicative(cells: Floats, expected: Floats | None = None) -> CellStatistics:
    """Statistics of money or seconds, all of them 0 or more; the value is the logarithm of a mean over all examples.

    The mean is that of the known cells and of what each of the others is expected to be: the example's effect times the
    candidate's usual cell. A candidate with all its cells has its exact mean, however much examples differ in size.

    Args:
        cells: shape (n, j); NaN where not known.
        expected: shape (n,); logarithms of the means that a model expects; None to use the candidates' own means.
    """
    known = ~np.isnan(cells)
    filled = np.where(known, cells, 0.0)
    count, per_example = known.sum(axis=1).astype(float), known.sum(axis=0).astype(float)
    floor = 1e-3 * filled.sum() / max(1.0, count.sum()) + TINY
    filled = np.where(known, filled + floor, 0.0)
    effect = np.ones(cells.shape[1])
    var_effect, var_residual = 0.05, np.inf
    for _ in range(ROUNDS):
        own = np.maximum(TINY, _row_means(filled / effect, count)) if expected is None else np.exp(expected)
        ratio = filled / own[:, None]
        residual = np.where(known, np.minimum(ratio, 10.0) - effect[None, :], 0.0)
        var_residual = max(TINY, float((residual**2).sum() / max(1.0, _degrees_of_freedom(count, per_example))))
        excess = np.where(known, np.minimum(ratio, 10.0) - 1.0, 0.0).sum(axis=0)
        effect = np.maximum(0.1, 1.0 + excess / (per_example + var_residual / var_effect))
        var_effect = _next_variance(effect - 1.0, per_example, var_residual, var_effect)
    usual = np.maximum(TINY, _row_means(filled / effect, count))
    whole = (filled.sum(axis=1) + usual * (~known @ effect)) / cells.shape[1]
    residual = np.where(known, filled / effect / usual[:, None] - 1.0, 0.0)
    pooled = float((residual**2).sum() / max(1.0, (count - 1).clip(0).sum()))
    noise = ((residual**2).sum(axis=1) + 4.0 * pooled) / ((count - 1).clip(0) + 4.0)
    return CellStatistics(
        value=np.log(np.where(count > 0, whole, np.nan)),
        count=count,
        noise=np.maximum(TINY, noise),
        doubt=1.0 / (per_example / var_residual + 1.0 / var_effect),
        residual=residual,
        known=known,
        slope=np.ones(len(cells)),
        floor=float(floor),
    )


def _degrees_of_freedom(count: Floats, per_example: Floats) -> float:
    return float(count.sum() - 0.7 * (count > 0).sum() - 0.7 * (per_example > 0).sum())


def _next_variance(effects: Floats, counts: Floats, var_residual: float, before: float) -> float:
    """One step of expectation maximisation for the variance of shrunken effects."""
    known = counts > 0
    if not known.any():
        return before
    remaining = 1.0 / (counts[known] / var_residual + 1.0 / before)
    return max(TINY, float((effects[known] ** 2 + remaining).mean()))


def _relative_noise(mean: Floats, count: Floats) -> Floats:
    """How the noise of a score in 0..1 varies with its mean, 1 on average over the cells: least near 0 and 1."""
    inside = np.clip(mean, 0.1, 0.9)
    shape = inside * (1.0 - inside)
    return np.asarray(shape / max(TINY, float((shape * count).sum() / max(1.0, count.sum()))))


def _row_means(filled: Floats, count: Floats) -> Floats:
    return np.asarray(filled.sum(axis=1) / np.maximum(1.0, count))
