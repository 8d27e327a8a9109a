"""Whether one candidate is better than another on the same examples, and how often one may say so.

All tests are exact: they reject a true null hypothesis at most as often as they say, with however few examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.stats.intervals import check_confidence, difference_interval, sorted_within
from offramp.stats.pareto import Floats

EXACT = 14  # differences up to which every assignment of signs is looked at
DRAWS = 10_000
_GRID = 1000  # scores with so many steps have sums that can be counted, whatever their number
_MOST_SUMS = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NonInferiority:
    """Whether a candidate is, with this confidence, worse by no more than the margin.

    Attributes:
        margin: the loss of mean score that would be accepted, above 0.
        lower: one-sided lower bound of the mean difference.
        holds: whether the bound is above minus the margin.
        confidence: of the bound.
    """

    margin: float
    lower: float
    holds: bool
    confidence: float


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p-value of as many wins and losses, ties left out; for 0/1 scores this is McNemar's exact test.

    Returns:
        A number in (0, 1]; 1 where there is neither win nor loss.

    Source: McNemar, Psychometrika 12, 1947, with the binomial in place of chi squared; Dixon and Mood, "The statistical
    sign test", JASA 41, 1946.
    """
    if wins < 0 or losses < 0:
        raise ValueError(f"wins and losses are counts, got {wins!r} and {losses!r}")
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def sign_flip_test(differences: ArrayLike, generator: np.random.Generator) -> float:
    """Two-sided p-value that the mean of paired differences is 0: how often random signs give as large a mean.

    With differences of one size it is the sign test; with thousandths, all sums are counted; up to `EXACT` others,
    every assignment of signs is looked at. Above that `DRAWS` random ones are, and the one observed is counted among
    them, which keeps the test exact.

    Args:
        differences: shape (n,), in [-1, 1].
        generator: the only source of randomness.

    Returns:
        A number in (0, 1]; 1 where all differences are 0.

    Source: Fisher, "The Design of Experiments", 1935, section 21; Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9,
    2010 (the observed one counts).
    """
    array = sorted_within(differences, -1.0, 1.0)
    sizes = np.abs(array[array != 0.0])
    if not len(sizes):
        return 1.0
    if np.ptp(sizes) < 1e-12:
        return sign_test(int((array > 0).sum()), int((array < 0).sum()))
    steps = np.rint(sizes * _GRID).astype(np.int64)
    if np.abs(sizes * _GRID - steps).max() < 1e-6 and len(steps) * int(steps.sum()) <= _MOST_SUMS:
        return _counted(steps, abs(int(np.rint(array.sum() * _GRID))))
    sizes = np.sort(sizes)
    observed = abs(float(array.sum())) - 1e-9
    if len(sizes) <= EXACT:
        bits = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes))
        return float((np.abs((1.0 - 2.0 * (bits & 1)) @ sizes) >= observed).mean())
    hits = sum(int((np.abs(draw @ sizes) >= observed).sum()) for draw in _random_signs(len(sizes), generator))
    return (1 + hits) / (1 + DRAWS)


def _counted(steps: NDArray[np.int64], observed: int) -> float:
    """Chance that random signs of whole numbers sum to `observed` or more, either way; sums counted one by one."""
    unit = int(np.gcd.reduce(steps))  # every sum is a multiple of it
    steps, observed = steps // unit, observed // unit
    total = int(steps.sum())
    chance = np.zeros(total + 1)  # of the sum of those with a plus
    chance[0] = 1.0
    for step in steps.tolist():
        moved = np.zeros_like(chance)
        moved[step:] = chance[: total + 1 - step]
        chance = (chance + moved) / 2
    sums = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(chance[sums >= observed].sum()))


def _random_signs(n: int, generator: np.random.Generator) -> Iterator[Floats]:
    block = max(1, 2_000_000 // n)
    for done in range(0, DRAWS, block):
        yield 1.0 - 2.0 * generator.integers(0, 2, size=(min(block, DRAWS - done), n)).astype(np.float64)


def holm(p_values: ArrayLike) -> Floats:
    """p-values corrected for having looked at all of them, in the same order; none is smaller than before.

    Rejecting those below a level keeps the chance of even one false rejection at that level, however the tests depend
    on each other. NaN stays NaN and counts as not looked at.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1)).any():
        raise ValueError("p-values have to be of shape (n,), each in [0, 1]")
    corrected = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected


def holm_tests(p_values: ArrayLike, level: float) -> NDArray[np.int64]:
    """By how many tests Holm's procedure divides the level for each p-value: all of them for the smallest, one fewer
    after each rejection, and no fewer for all that follow the first that it does not reject.

    An interval at the level that is left is the one that goes with the corrected p-value.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    tests = np.arange(len(p), 0, -1)
    kept = np.flatnonzero(np.minimum(1.0, p[order] * tests) > level)
    if len(kept):
        tests[kept[0] :] = tests[kept[0]]
    found = np.empty(len(p), dtype=np.int64)
    found[order] = tests
    return found


def non_inferiority(differences: ArrayLike, margin: float, *, confidence: float = 0.95) -> NonInferiority:
    """Whether the mean of paired differences is, with this confidence, above `-margin`.

    Args:
        differences: new minus old, each in [-1, 1].
        margin: above 0, in units of the score.
        confidence: one-sided, above 0.5.

    Source: Committee for Proprietary Medicinal Products, "Points to consider on switching between superiority and
    non-inferiority", Br. J. Clin. Pharmacol. 52, 2001; the bound is that of `difference_interval`.
    """
    check_confidence(confidence)
    if not (margin > 0 and confidence > 0.5):
        raise ValueError(f"margin has to be above 0 and confidence above 0.5, got {margin!r} and {confidence!r}")
    lower = difference_interval(differences, confidence=2 * confidence - 1).low
    return NonInferiority(margin=margin, lower=lower, holds=lower > -margin, confidence=confidence)
