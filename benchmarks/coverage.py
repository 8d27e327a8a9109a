"""How often intervals cover the true value, and how often a test calls a candidate better when it is not.

    python benchmarks/coverage.py [REPEATS]

Prints a table per confidence: coverage by number of examples, for shares, means of scores, differences of pairs and
quantiles; a star marks coverage that is off by more than two points. A last table shows how often one of 20 equal
candidates is called better. It takes an hour of CPU with 20,000 repeats, the default, and not much less with fewer,
because the last table has at least 100 repeats.

Shares are judged by their mean coverage over uniformly distributed true shares, with the lowest coverage over shares
from 0.05 to 0.95 in brackets. Scores and differences are judged over several families of distributions, whose
parameters are drawn again for every sample, because no interval is right for every distribution of few bounded values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from offramp.stats import (
    Interval,
    difference_interval,
    mean_interval,
    mean_interval_of,
    quantile,
    share_at_most,
)
from offramp.study.domain.paired_comparison import compare_paired, holm_corrected

Sample = tuple[np.ndarray, float]
Family = Callable[[np.random.Generator, int], Sample]
SIZES = (5, 10, 20, 50, 100, 500)
CONFIDENCES = (0.90, 0.95)


# ------------------------------------------------------------------------------------ families of distributions


def zero_one(rng: np.random.Generator, n: int) -> Sample:
    """0/1 scores with a uniform share of ones."""
    p = rng.uniform()
    return (rng.random(n) < p).astype(float), p


def smooth(rng: np.random.Generator, n: int) -> Sample:
    """Beta scores of any mean and spread, from almost 0/1 to narrow."""
    mean, size = rng.uniform(0.02, 0.98), np.exp(rng.uniform(np.log(0.5), np.log(20)))
    return rng.beta(mean * size, (1 - mean) * size, n), mean


def faulty(rng: np.random.Generator, n: int) -> Sample:
    """Beta scores of which up to 30 % are zeros from program errors."""
    mean, size, share = rng.uniform(0.3, 0.98), np.exp(rng.uniform(0, np.log(20))), rng.uniform(0, 0.3)
    scores = rng.beta(mean * size, (1 - mean) * size, n)
    return np.where(rng.random(n) < share, 0.0, scores), mean * (1 - share)


def mixed(rng: np.random.Generator, n: int) -> Sample:
    """A weighted mix of two 0/1 metrics: 0, 0.2, 0.8 or 1."""
    values, p = np.array([0, 0.2, 0.8, 1.0]), rng.dirichlet(np.ones(4))
    return rng.choice(values, n, p=p), float(p @ values)


def graded(rng: np.random.Generator, n: int) -> Sample:
    """A judge's five grades, some of them rare."""
    values, p = np.linspace(0, 1, 5), rng.dirichlet(np.full(5, 0.4))
    return rng.choice(values, n, p=p), float(p @ values)


def narrow(rng: np.random.Generator, n: int) -> Sample:
    """Scores within about 0.06 of their mean."""
    mean = rng.uniform(0.2, 0.8)
    return rng.beta(mean * 60, (1 - mean) * 60, n), mean


def perfect(rng: np.random.Generator, n: int) -> Sample:
    """Many perfect scores, the rest graded."""
    share = rng.uniform(0.3, 0.9)
    return np.where(rng.random(n) < share, 1.0, rng.beta(3, 1, n)), share + (1 - share) * 0.75


SHAPES = ((1, 1), (2, 2), (5, 2), (2, 5), (8, 2), (20, 5), (9, 1), (0.5, 0.5))
"""Beta distributions from flat to narrow, symmetric and skewed."""


def shaped(rng: np.random.Generator, n: int) -> Sample:
    """Scores of one of `SHAPES`."""
    a, b = SHAPES[rng.integers(len(SHAPES))]
    return rng.beta(a, b, n), a / (a + b)


def tenths(rng: np.random.Generator, n: int) -> Sample:
    """The same, rounded to tenths."""
    return _rounded(rng, n, 10)


def quarters(rng: np.random.Generator, n: int) -> Sample:
    """The same, rounded to a judge's five grades; some shapes use only two of them."""
    return _rounded(rng, n, 4)


def _rounded(rng: np.random.Generator, n: int, steps: int) -> Sample:
    a, b = SHAPES[rng.integers(len(SHAPES))]
    return np.rint(rng.beta(a, b, n) * steps) / steps, _rounded_mean(a, b, steps)


@cache
def _rounded_mean(a: float, b: float, steps: int) -> float:
    from scipy.stats import beta

    return float(sum(beta.sf((k + 0.5) / steps, a, b) for k in range(steps)) / steps)


SCORES: dict[str, Family] = {
    f.__name__: f for f in (zero_one, smooth, faulty, mixed, graded, narrow, perfect, shaped, tenths, quarters)
}  # fmt: skip
GRADED = tuple(name for name in SCORES if name != "zero_one")
PILOT = 10
"""Examples that are run several times in any case (`offramp.evaluate.replicates.PILOT`)."""


def replicated(rng: np.random.Generator, n: int) -> Sample:
    """Means of two to five 0/1 runs of each example; examples differ in difficulty, some hardly and some wholly."""
    (difficulty, mean), runs = smooth(rng, n), rng.integers(2, 6)
    return rng.binomial(runs, difficulty) / runs, mean


def piloted(rng: np.random.Generator, n: int) -> Sample:
    """The same, but the examples after the pilot are run once where the runs of each of its examples agree."""
    (difficulty, mean), runs = smooth(rng, n), rng.integers(2, 6)
    scores = rng.binomial(runs, difficulty) / runs
    if np.isin(scores[:PILOT], (0.0, 1.0)).all():
        scores[PILOT:] = rng.random(n - len(scores[:PILOT])) < difficulty[PILOT:]
    return scores, mean


REPLICATED: dict[str, Family] = {f.__name__: f for f in (replicated, piloted)}


def runs_as_examples(rng: np.random.Generator, n: int) -> Sample:
    """The runs of `replicated`, each taken for an example of its own, as offramp does not."""
    (difficulty, mean), runs = smooth(rng, n), rng.integers(2, 6)
    return (rng.random((runs, n)) < difficulty).astype(float).ravel(), mean


def pairs_zero_one(rng: np.random.Generator, n: int) -> Sample:
    """Wins, losses and ties of 0/1 scores in any proportion."""
    p = rng.dirichlet(np.ones(3))
    return rng.choice([1.0, -1.0, 0.0], n, p=p), p[0] - p[1]


def pairs_smooth(rng: np.random.Generator, n: int) -> Sample:
    """Differences of two Beta scores."""
    one, other = rng.uniform(0.2, 0.95, 2)
    return rng.beta(one * 8, (1 - one) * 8, n) - rng.beta(other * 8, (1 - other) * 8, n), one - other


def pairs_tied(rng: np.random.Generator, n: int) -> Sample:
    """The same with 20 to 90 % ties."""
    differences, mean = pairs_smooth(rng, n)
    ties = rng.uniform(0.2, 0.9)
    return np.where(rng.random(n) < ties, 0.0, differences), mean * (1 - ties)


def pairs_mixed(rng: np.random.Generator, n: int) -> Sample:
    """Differences of a weighted mix of two 0/1 metrics, mostly ties."""
    values = np.array([-1, -0.8, -0.2, 0, 0.2, 0.8, 1.0])
    p = rng.dirichlet([0.5, 0.5, 0.5, 3, 0.5, 0.5, 0.5])
    return rng.choice(values, n, p=p), float(p @ values)


def pairs_shaped(rng: np.random.Generator, n: int) -> Sample:
    """Differences of two scores of `SHAPES`."""
    (a, mean_a), (b, mean_b) = shaped(rng, n), shaped(rng, n)
    return a - b, mean_a - mean_b


def pairs_alike(rng: np.random.Generator, n: int) -> Sample:
    """Tenths that share the example's difficulty and differ by independent noise."""
    shift, noise = rng.uniform(-0.2, 0.2), rng.choice([-0.1, 0.0, 0.1], (2, n))
    shared = rng.integers(3, 8, n) / 10
    lead = (rng.random(n) < abs(shift) / 0.2) * np.sign(shift) * 0.2
    return (shared + noise[0] + lead) - (shared + noise[1]), shift


def pairs_replicated(rng: np.random.Generator, n: int) -> Sample:
    """Differences of two means of two to five 0/1 runs each; on some examples both are as likely to be right."""
    (one, mean_one), (other, mean_other), runs = smooth(rng, n), smooth(rng, n), rng.integers(2, 6)
    alike = rng.uniform(0.0, 0.9)
    other, mean_other = np.where(rng.random(n) < alike, one, other), alike * mean_one + (1 - alike) * mean_other
    return rng.binomial(runs, one) / runs - rng.binomial(runs, other) / runs, mean_one - mean_other


PAIRS: dict[str, Family] = {
    f.__name__: f
    for f in (pairs_zero_one, pairs_smooth, pairs_tied, pairs_mixed, pairs_shaped, pairs_alike, pairs_replicated)
}


def pairs_lopsided(rng: np.random.Generator, n: int) -> Sample:
    """Many small gains balanced by rare losses four times as large: equal on average, but not symmetric."""
    return np.where(rng.random(n) < 0.8, 0.1, -0.4), 0.0


# ------------------------------------------------------------------------------------------------- measurements


def share_interval(ones: int, n: int, *, confidence: float) -> Interval:
    """The interval of 0/1 scores: Wilson's."""
    return mean_interval_of(n=n, mean=ones / n, mean_square=ones / n, confidence=confidence)


def clopper_pearson(ones: int, n: int, *, confidence: float) -> Interval:
    """The interval that never covers less often than stated, for comparison."""
    from scipy.stats import binomtest

    ends = binomtest(ones, n).proportion_ci(confidence, method="exact")
    return Interval(low=float(ends.low), high=float(ends.high), confidence=confidence)


def coverage_of_shares(interval: Callable[..., Interval], n: int, confidence: float) -> tuple[float, float]:
    """Mean coverage over uniform shares, and the lowest over shares from 0.05 to 0.95; exact sums, no draws."""
    ends = [interval(x, n, confidence=confidence) for x in range(n + 1)]
    low, high = np.array([e.low for e in ends])[:, None], np.array([e.high for e in ends])[:, None]
    p = (np.arange(2000) + 0.5) / 2000
    covered = (_binomial(n, p) * ((low <= p) & (p <= high))).sum(axis=0)
    inside = (p >= 0.05) & (p <= 0.95)
    return float(covered.mean()), float(covered[inside].min())


def coverage_of_bound(n: int, confidence: float) -> tuple[float, float]:
    """The same for the one-sided upper bound of a share."""
    bounds = np.array([share_at_most(x, n, confidence=confidence) for x in range(n + 1)])[:, None]
    p = (np.arange(2000) + 0.5) / 2000
    covered = (_binomial(n, p) * (p <= bounds)).sum(axis=0)
    return float(covered.mean()), float(covered.min())


def coverage(
    family: Family, interval: Callable[..., Interval], n: int, *, confidence: float, repeats: int, seed: int = 0
) -> float:
    """Share of samples whose interval contains the true mean."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(repeats):
        values, truth = family(rng, n)
        found = interval(values, confidence=confidence)
        hits += found.low - 1e-9 <= truth <= found.high + 1e-9
    return hits / repeats


def coverage_of_quantile(q: float, n: int, *, confidence: float, repeats: int, seed: int = 0) -> float:
    """Share of samples of log-normal latencies whose interval contains the true quantile."""
    from statistics import NormalDist

    rng = np.random.default_rng(seed)
    truth = float(np.exp(0.5 * NormalDist().inv_cdf(q)))
    found = (quantile(np.exp(0.5 * rng.standard_normal(n)), q, confidence=confidence) for _ in range(repeats))
    return sum(f.low <= truth <= f.high for f in found) / repeats


def false_better(family: Family, n: int, level: float, repeats: int, candidates: int = 20, seed: int = 0) -> float:
    """How often at least one of `candidates` is called better although each is as good as the incumbent.

    They are judged as in reports: a paired comparison of each, with Holm's correction over all of them. Where the mean
    of a family is not 0, the signs of its differences are drawn at random, so that it is.
    """
    rng = np.random.default_rng(seed)
    wrong = 0
    for _ in range(repeats):
        drawn = [family(rng, n) for _ in range(candidates)]
        gains = [values * rng.choice([-1.0, 1.0], n) if mean else values for values, mean in drawn]
        found = [compare_paired(np.maximum(g, 0.0), np.maximum(-g, 0.0), confidence=1 - level) for g in gains]
        wrong += any(one.better for one in holm_corrected(found))
    return wrong / repeats


def _binomial(n: int, p: np.ndarray) -> np.ndarray:
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(n + 1)[:, None], n, p))


def _row(name: str, cells: Sequence[str]) -> None:
    print(f"{name:34}" + "".join(f"{cell:>15}" for cell in cells))


def _measured(name: str, confidence: float, covered: Callable[[int], float]) -> list[float]:
    row = [covered(n) for n in SIZES]
    _row(name, [f"{c:.3f}{'*' if abs(c - confidence) > 0.02 else ' '}" for c in row])
    return row


def main() -> None:
    """Prints the tables."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for confidence in CONFIDENCES:
        print(f"\nnominal {confidence:.2f}: coverage by number of examples; shares: mean (lowest)")
        _row("", [str(n) for n in SIZES])
        for name, method in (("share: Wilson", share_interval), ("share: Clopper-Pearson", clopper_pearson)):
            pairs = (coverage_of_shares(method, n, confidence) for n in SIZES)
            _row(name, [f"{mean:.3f} ({least:.3f})" for mean, least in pairs])
        bounds = (coverage_of_bound(n, confidence) for n in SIZES)
        _row("share_at_most (one-sided)", [f"{mean:.3f} ({least:.3f})" for mean, least in bounds])

        def of(family: Family, interval: Callable[..., Interval]) -> Callable[[int], float]:
            return partial(coverage, family, interval, confidence=confidence, repeats=repeats)  # noqa: B023

        rows = {k: _measured(f"mean_interval: {k}", confidence, of(f, mean_interval)) for k, f in SCORES.items()}
        _row("mean_interval: graded, all", [f"{c:.3f} " for c in np.mean([rows[name] for name in GRADED], axis=0)])
        for name, family in (*REPLICATED.items(), ("runs_as_examples", runs_as_examples)):
            _measured(f"mean_interval: {name}", confidence, of(family, mean_interval))
        for name, family in PAIRS.items():
            _measured(f"difference: {name}", confidence, of(family, difference_interval))
        for q in (0.5, 0.95):
            of_quantile = partial(coverage_of_quantile, q, confidence=confidence, repeats=repeats // 4)
            _measured(f"quantile: p{q * 100:.0f}", confidence, of_quantile)
    print("\none of 20 equal candidates called better (Holm, level 0.05)")
    _row("", [str(n) for n in SIZES])
    for name, family in (*PAIRS.items(), ("pairs_lopsided", pairs_lopsided)):
        _row(name, [f"{false_better(family, n, 0.05, max(100, repeats // 200)):.3f}" for n in SIZES])


if __name__ == "__main__":
    main()
