"""What the cells read so far say about each candidate in one objective, with the examples' own effects taken out.

Scores are taken as candidate + example + rest, the candidates' means on a scale of log odds, since most candidates of a
pool crowd near its best score and few are much worse; money and seconds as candidate x example x rest, on a logarithmic
scale, since they spread in proportion to their size. Examples differ more than candidates do, so that who met easy
ones has to be told apart from who is good. Effects of examples are shrunk by how few cells tell of them.

Invariant: a cell that is not there (NaN) is passed over; it counts for nothing and against nobody.
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
class Summary:
    """One objective's cells, by candidate.

    Attributes:
        value: shape (n,); a candidate's mean over its cells less the examples' effects, on the model's scale (log for
            positive objectives, log odds for scores); NaN where no cell was read.
        count: shape (n,); cells read.
        noise: shape (n,); variance of one cell about its candidate, the example's effect taken out.
        doubt: shape (j,); variance that is left in the examples' effects.
        rest: shape (n, j); what neither candidate nor example explains; 0 where no cell was read.
        seen: shape (n, j); which cells were read.
        slope: shape (n,); change of the cells' mean with the model's scale, in the unit of `doubt`.
    """

    value: Floats
    count: Floats
    noise: Floats
    doubt: Floats
    rest: Floats
    seen: Bools
    slope: Floats


def additive(cells: Floats, centre: Floats | None = None) -> Summary:
    """Summary of scores in 0..1; the value is on the scale of log odds.

    A mean of few cells may be 0 or 1, whose odds say nothing; so the scale is taken as straight about what is expected
    of the candidate, and the value is where that line meets the mean that was read (a working response).

    Args:
        cells: as read; shape (n, j) with NaN where nothing was read.
        centre: the candidates' log odds where a model knows better; None for shrunken means of their own.

    Source: McCullagh and Nelder, "Generalized Linear Models", 2nd ed., 1989, section 2.5.
    """
    told = None if centre is None else score_of(centre)
    seen = ~np.isnan(cells)
    filled = np.where(seen, cells, 0.0)
    count, per_example = seen.sum(axis=1).astype(float), seen.sum(axis=0).astype(float)
    level = filled.sum() / max(1.0, count.sum())
    own = np.zeros(len(cells)) if told is None else told - level
    effect = np.zeros(cells.shape[1])
    var_own, var_effect = _start(filled, seen, level)
    var_rest = max(TINY, float(((filled - level) ** 2)[seen].mean()) if seen.any() else 1.0)
    for _ in range(ROUNDS):
        effect = ((filled - level - own[:, None]) * seen).sum(axis=0) / (per_example + var_rest / var_effect)
        if told is None:
            own = ((filled - level - effect[None, :]) * seen).sum(axis=1) / (count + var_rest / var_own)
        rest = (filled - level - own[:, None] - effect[None, :]) * seen
        var_rest = max(TINY, float((rest**2).sum() / max(1.0, _freedom(count, per_example))))
        if told is None:
            var_own = _variance(own, count, var_rest, var_own)
        var_effect = _variance(effect, per_example, var_rest, var_effect)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = ((filled - effect[None, :]) * seen).sum(axis=1) / count
    expected = level + own
    noise = np.maximum(TINY, var_rest * _bounded_spread(np.where(count > 0, expected, level), count))
    doubt = 1.0 / (per_example / var_rest + 1.0 / var_effect)
    rest = _centred(filled - effect[None, :], seen, count)
    about = log_odds_of(expected)
    slope = slope_of(about)
    return Summary(
        value=about + (value - score_of(about)) / slope, count=count, noise=noise / slope**2, doubt=doubt,
        rest=rest / slope[:, None], seen=seen, slope=slope,
    )  # fmt: skip


def log_odds_of(scores: Floats) -> Floats:
    """Scores on a scale without bounds; those beyond 0 and 1 count as 0 and 1."""
    inside = (np.clip(scores, 0.0, 1.0) + MARGIN) / (1.0 + 2.0 * MARGIN)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def score_of(log_odds: Floats) -> Floats:
    """What `log_odds_of` made; up to MARGIN below 0 or above 1."""
    return np.asarray((1.0 + 2.0 * MARGIN) * expit(log_odds) - MARGIN)


def slope_of(log_odds: Floats) -> Floats:
    """Change of the score with the log odds."""
    inside = expit(log_odds)
    return np.asarray((1.0 + 2.0 * MARGIN) * inside * (1.0 - inside))


def multiplicative(cells: Floats, centre: Floats | None = None) -> Summary:
    """Summary of money or seconds, all of them 0 or more; the value is the logarithm of a mean."""
    seen = ~np.isnan(cells)
    filled = np.where(seen, cells, 0.0)
    count, per_example = seen.sum(axis=1).astype(float), seen.sum(axis=0).astype(float)
    floor = 1e-3 * filled.sum() / max(1.0, count.sum()) + TINY
    filled = np.where(seen, filled + floor, 0.0)
    effect = np.ones(cells.shape[1])
    var_effect = 0.05
    var_rest = np.inf
    for _ in range(ROUNDS):
        own = np.maximum(TINY, _means(filled / effect[None, :], count)) if centre is None else np.exp(centre)
        ratio = filled / own[:, None]
        around = np.where(seen, np.minimum(ratio, 10.0) - effect[None, :], 0.0)
        var_rest = max(TINY, float((around**2).sum() / max(1.0, _freedom(count, per_example))))
        told = np.where(seen, np.minimum(ratio, 10.0) - 1.0, 0.0).sum(axis=0)
        effect = np.maximum(0.1, 1.0 + told / (per_example + var_rest / var_effect))
        var_effect = _variance(effect - 1.0, per_example, var_rest, var_effect)
    value = np.log(np.where(count > 0, _means(filled / effect[None, :], count), np.nan))
    rest = np.where(seen, filled / effect[None, :] / np.exp(np.where(count > 0, value, 0.0))[:, None] - 1.0, 0.0)
    pooled = float((rest**2).sum() / max(1.0, (count - 1).clip(0).sum()))
    noise = ((rest**2).sum(axis=1) + 4.0 * pooled) / ((count - 1).clip(0) + 4.0)
    doubt = 1.0 / (per_example / var_rest + 1.0 / var_effect)
    return Summary(
        value=value, count=count, noise=np.maximum(TINY, noise), doubt=doubt, rest=rest, seen=seen,
        slope=np.ones(len(cells)),
    )  # fmt: skip


def _start(filled: Floats, seen: Bools, level: float) -> tuple[float, float]:
    total = max(TINY, float(((filled - level) ** 2)[seen].mean()) if seen.any() else 1.0)
    return 0.1 * total, 0.3 * total


def _freedom(count: Floats, per_example: Floats) -> float:
    return float(count.sum() - 0.7 * (count > 0).sum() - 0.7 * (per_example > 0).sum())


def _variance(effects: Floats, counts: Floats, rest: float, before: float) -> float:
    """One step of expectation and maximisation for the variance of shrunken effects."""
    told = counts > 0
    if not told.any():
        return before
    left = 1.0 / (counts[told] / rest + 1.0 / before)
    return max(TINY, float((effects[told] ** 2 + left).mean()))


def _bounded_spread(mean: Floats, count: Floats) -> Floats:
    """How the noise of a score in 0..1 goes with its mean, 1 on average over the cells: little room at the ends."""
    inside = np.clip(mean, 0.1, 0.9)
    shape = inside * (1.0 - inside)
    return np.asarray(shape / max(TINY, float((shape * count).sum() / max(1.0, count.sum()))))


def _means(filled: Floats, count: Floats) -> Floats:
    return np.asarray(filled.sum(axis=1) / np.maximum(1.0, count))


def _centred(values: Floats, seen: Bools, count: Floats) -> Floats:
    own = (values * seen).sum(axis=1) / np.maximum(1.0, count)
    return np.asarray((values - own[:, None]) * seen)
