"""How similar two candidates' effects are, given their params, and how much each param matters.

Each param has a table of similarities between its values: 1 for the same value, 0 for different categories, and
something between for numbers, by how far apart they rank among the numbers that occur. A param may be text, number,
bool, None or absent, and all of these in one column. Its name never matters, only which candidates share its values.

The similarity of two candidates is a product over the params of `r + (1 - r) * similarity`. Where r is near 1 the param
does not matter; where every r is near 1 the params' effects add up; where r is small only candidates that share the
value are similar. Besides this shared part, each candidate has an effect of its own. Everything is fitted by marginal
likelihood (empirical Bayes), so params that explain nothing end up unused.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

from offramp.records import Scalar
from offramp.stats.pareto import Floats, Ints

REACH = 0.4
"""Share of the ranks over which numbers stay similar (length scale of a squared-exponential kernel)."""
STEPS = 20
WIDTH = 2.0
"""Of the priors, in logarithms of variances and log odds of r."""
AVOID_ZERO = 0.5
"""Weight of the logarithm of each variance in the penalised likelihood: a gamma prior of shape 2 on its root."""
LITTLE = 0.05
"""Share of the values' variance that candidates are assumed to differ by at least, before any fit."""
USUAL = 1.0
"""Variance between candidates as pools of prompts and models have it, on either scale: assumed where noise hides it."""
UNLIKE = 0.125
"""Product of the usual r of all params, where there are three or more."""
LOW, HIGH = 0.02, 0.98
"""Bounds of r."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The pool's params as codes.

    Attributes:
        codes: shape (n, p); column k holds indices into `tables[k]`.
        tables: p symmetric positive semi-definite matrices of similarities in [0, 1], 1 on the diagonal.
    """

    codes: Ints
    tables: tuple[Floats, ...]

    @property
    def n_params(self) -> int:
        """Params that separate some candidates and not others; the rest are left out."""
        return len(self.tables)

    def similarity(self, param: int, rows: Ints, columns: Ints) -> Floats:
        """Shape (len(rows), len(columns)): similarities in one param."""
        return np.asarray(self.tables[param][self.codes[rows, param][:, None], self.codes[columns, param][None, :]])


def features_of(pool: Sequence[Mapping[str, Scalar]]) -> Features:
    """Codes and similarities for a pool.

    Left out are params with the same value everywhere, and params whose every value is unlike all others and occurs
    once: the candidate's own effect says the same.
    """
    columns = [_coded([_key(params, name) for params in pool]) for name in sorted({n for p in pool for n in p})]
    useful = [
        (codes, table)
        for codes, table in columns
        if len(table) > 1 and not (len(table) == len(codes) and bool((table == np.eye(len(table))).all()))
    ]
    codes = np.stack([codes for codes, _ in useful], axis=1) if useful else np.zeros((len(pool), 0), dtype=np.int64)
    return Features(codes=codes, tables=tuple(table for _, table in useful))


Key = tuple[str, object]


def _key(params: Mapping[str, Scalar], name: str) -> Key:
    """Kind and value, so that 1, True and "1" stay different; a number that is not finite counts as None."""
    value = params.get(name)
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int | float):
        return ("number", float(value)) if math.isfinite(value) else ("none", None)
    if value is None:
        return ("none" if name in params else "absent", None)
    return ("text", str(value))


def _coded(keys: Sequence[Key]) -> tuple[Ints, Floats]:
    """One column: the code of each key, and the similarities between the codes."""
    values = sorted(set(keys), key=lambda key: (key[0], key[1] if key[0] == "number" else str(key[1])))
    index = {value: i for i, value in enumerate(values)}
    table = np.eye(len(values))
    numbers = [i for i, (kind, _) in enumerate(values) if kind == "number"]
    if len(numbers) > 1:
        ranks = np.arange(len(numbers)) / (len(numbers) - 1)
        distance = (ranks[:, None] - ranks[None, :]) / REACH
        table[np.ix_(numbers, numbers)] = np.exp(-0.5 * distance**2)
    return np.array([index[key] for key in keys], dtype=np.int64), table


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Fitted variances of one objective.

    Attributes:
        shared: variance of the part of an effect that params explain.
        own: variance of the part that they do not.
        mixed: variance of what a cell holds of neither candidate nor example, but of params and example together.
        irrelevance: shape (p,); r of each param, in (0, 1).
    """

    shared: float
    own: float
    mixed: float
    irrelevance: Floats

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "irrelevance": self.irrelevance.tolist()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Kernel:
        """The kernel of `to_json`."""
        return cls(**{**found, "irrelevance": np.asarray(found["irrelevance"], dtype=float)})

    def similarity(self, features: Features, rows: Ints, columns: Ints) -> Floats:
        """Correlation of the shared parts; 1 for equal params, 0 for candidates that have nothing in common."""
        if not features.n_params:
            return np.zeros((len(rows), len(columns)))
        product, base = np.ones((len(rows), len(columns))), float(np.prod(self.irrelevance))
        for param, r in enumerate(self.irrelevance):
            product *= r + (1.0 - r) * features.similarity(param, rows, columns)
        return (product - base) / (1.0 - base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a kernel is fitted to: effects of some candidates, and the noise in them.

    Attributes:
        values: shape (m,).
        noise: shape (m, m); covariance of their errors, without the mixed part.
        overlap: shape (m, m); share of cells on the same examples, sum over shared examples of 1 / (count x count).
        tables: p similarity matrices of shape (m, m).
    """

    values: Floats
    noise: Floats
    overlap: Floats
    tables: tuple[Floats, ...]


def fit(evidence: Evidence, mixed: float, start: Kernel | None) -> Kernel:
    """The kernel of highest marginal likelihood, under weak priors.

    Searched from the middle of the priors and from `start`: what few cells led to can be far from where many lead.
    """
    params = len(evidence.tables)
    scale = _spread(evidence.values)
    middle = 0.5 * _between(evidence)
    starts = [np.concatenate([[np.log(middle)] * 2, np.full(params, _logit(usual_irrelevance(params)))])]
    if start is not None and len(start.irrelevance) == params:
        starts.append(np.concatenate([np.log([start.shared, start.own]), _logit(start.irrelevance)]))
    low, high = np.log(1e-6 * scale), np.log(10 * scale)
    bounds = [(low, high)] * 2 + [(_logit(LOW), _logit(HIGH))] * params
    ends = [
        minimize(
            _loss, np.clip(first, [b[0] for b in bounds], [b[1] for b in bounds]),
            args=(evidence, mixed, middle, scale), jac=True, method="L-BFGS-B", bounds=bounds,
            options={"maxiter": STEPS},
        )
        for first in starts
    ]  # fmt: skip
    found = min(ends, key=lambda end: float(end.fun))
    shared, own = np.exp(found.x[:2])
    return Kernel(shared=float(shared), own=float(own), mixed=mixed, irrelevance=_expit(found.x[2:]))


def _loss(point: Floats, evidence: Evidence, mixed: float, middle: float, scale: float) -> tuple[float, Floats]:
    """Negative log posterior of (log shared, log own, log odds of each r), and its gradient.

    The priors are weak: factors of seven about `middle` for the variances, and any r but the extremes, about
    `usual_irrelevance`. With few cells the most likely variance is often 0, which no pool of prompts has; so a
    variance's share in the loss is that of the prior which keeps its standard deviation from 0 and says little else.

    Source: Chung, Rabe-Hesketh, Dorie, Gelman and Liu, "A nondegenerate penalized likelihood estimator for variance
    parameters in multilevel models", Psychometrika 78(4), 2013.
    """
    m = len(evidence.values)
    shared, own = np.exp(point[:2])
    irrelevance = _expit(point[2:])
    similarity, slopes = _similarity_and_slopes(evidence.tables, irrelevance, m)
    matrix = shared * similarity + mixed * similarity * evidence.overlap + evidence.noise
    matrix[np.diag_indices(m)] += own + 1e-9 * scale
    matrix += 25.0 * scale  # the unknown level, with a wide prior
    try:
        factor = cho_factor(matrix, lower=True)
    except LinAlgError:
        return 1e12, np.zeros_like(point)
    centred = evidence.values - evidence.values.mean()
    weights = cho_solve(factor, centred)
    pull = np.outer(weights, weights) - cho_solve(factor, np.eye(m))
    loss = 0.5 * centred @ weights + np.log(np.diag(factor[0])).sum()
    gradient = np.empty_like(point)
    gradient[0] = -0.5 * shared * (pull * similarity).sum()
    gradient[1] = -0.5 * own * np.trace(pull)
    outer = pull * (shared + mixed * evidence.overlap)
    for param, slope in enumerate(slopes):
        gradient[2 + param] = -0.5 * (outer * slope).sum() * irrelevance[param] * (1.0 - irrelevance[param])
    usual = np.full(len(slopes), _logit(usual_irrelevance(len(slopes))))
    off = (point - np.concatenate([[np.log(middle)] * 2, usual])) / WIDTH
    gradient[:2] -= AVOID_ZERO
    penalty = 0.5 * (off**2).sum() - AVOID_ZERO * point[:2].sum()
    return float(loss + float(penalty)), gradient + off / WIDTH


def usual_irrelevance(params: int) -> float:
    """r of each of so many params before anything is known: 0.5, and closer to 1 where there are more than three.

    With 0.5 for each of seven, candidates that differ in two params would have next to nothing in common. In most pools
    the effects of params nearly add up, so that a model is good or bad with most prompts.
    """
    return max(0.5, float(UNLIKE ** (1.0 / max(1, params))))


def _between(evidence: Evidence) -> float:
    """Variance between candidates beyond the noise of their values, by moments; at least what few cannot exclude.

    Source: DerSimonian and Laird, "Meta-analysis in clinical trials", Controlled Clinical Trials 7(3), 1986.
    """
    noise = float(np.diag(evidence.noise).mean())
    least = max(LITTLE * _spread(evidence.values), USUAL * noise / (noise + USUAL))
    if len(evidence.values) < 2:
        return least
    weights = 1.0 / np.maximum(1e-12, np.diag(evidence.noise))
    total = weights.sum()
    off = evidence.values - (weights @ evidence.values) / total
    spare = total - (weights**2).sum() / total
    variance = (weights @ off**2 - (len(weights) - 1)) / spare if spare > 0 else 0.0
    return max(float(variance), least)


def _spread(values: Floats) -> float:
    return max(1e-12, float(np.var(values)))


def _similarity_and_slopes(tables: tuple[Floats, ...], irrelevance: Floats, m: int) -> tuple[Floats, list[Floats]]:
    """Similarity of the shared parts, and its derivative by each r; matrices of shape (m, m)."""
    if not tables:
        return np.zeros((m, m)), []
    factors = [r + (1.0 - r) * table for r, table in zip(irrelevance, tables, strict=True)]
    product, base = np.prod(factors, axis=0), float(np.prod(irrelevance))
    similarity = (product - base) / (1.0 - base)
    slopes = []
    for r, table, factor in zip(irrelevance, tables, factors, strict=True):
        up, base_up = product / factor * (1.0 - table), base / r
        slopes.append((up - base_up + similarity * base_up) / (1.0 - base))
    return similarity, slopes


def _logit(p: Floats | float) -> Floats:
    return np.log(p) - np.log1p(-np.asarray(p, dtype=np.float64))


def _expit(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))
