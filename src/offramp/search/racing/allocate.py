"""Which cells to run next: the candidate whose place on the front is least certain, on the examples that tell most.

Whose cells. In every posterior draw, a candidate's share of the hypervolume is what it covers and the rest of the
expected front does not. A candidate whose share is the same in all draws needs no more cells, whether it is a certain
member or hopeless. The more its share varies, and the more another cell would narrow it, the sooner it is run. For the
recommendation it is the lead by utility that varies, of those alone that are expected to be best: the less of the
budget is left, the fewer they are.

Which examples. All candidates share one seeded order. Where params explain nothing, each candidate follows it from its
start, so any two have met the same examples. Where params do explain something, similar candidates also find the same
examples easy, so running them all on the same few would measure the same thing again and again: each starts at
another place and continues with the examples that similar candidates have run least. On a table of nine models and
five prompts that halves the error of the means at five cells a candidate (docs/search.md). Comparisons between complete
candidates are paired either way.

Source: running what is least certain about the front follows expected hypervolume improvement (Emmerich, Giannakoglou
and Naujoks, IEEE Trans. Evol. Comp. 10(4), 2006) and knowledge gradients; the narrowing follows sequential halving
(Karnin, Koren and Somekh, ICML 2013), with what a model expects in place of plain means.
"""

from __future__ import annotations

import numpy as np

from offramp.search.racing.front import Draws, covered, front_of
from offramp.search.racing.kernel import Features, Kernel
from offramp.stats.pareto import Bools, Floats, Ints

GOLDEN = 0.6180339887498949
"""The fractional parts of its multiples fill 0..1 evenly, however many there are."""
CELLS_EACH = 8
"""As many candidates are contenders as can get so many more cells each."""
LEAST_CONTENDERS = 10


def hypervolume_shares(draws: Draws, grid_points: int) -> Floats:
    """Shape (draws, n): the volume each candidate adds to the other members of the expected front, in each draw."""
    shares = np.zeros(draws.losses.shape[:2])
    expected = front_of(draws.expected)
    for share, losses, members in zip(shares, draws.losses, draws.fronts, strict=True):
        candidates = np.union1d(members, expected)
        reached = covered(losses[candidates], grid_points)
        is_member = np.isin(candidates, expected)
        other_members = reached[is_member].sum(axis=0)[None, :] - (reached & is_member[:, None])
        share[candidates] = (reached & (other_members == 0)).mean(axis=1)
    return shares


def best_gains(utilities: Floats) -> Floats:
    """Shape (draws, n): by how much each candidate is ahead of the best of the others in each draw; 0 where it is not.

    Args:
        utilities: shape (draws, n).
    """
    if utilities.shape[1] < 2:
        return np.zeros_like(utilities)
    best = utilities.argmax(axis=1)
    rows = np.arange(len(utilities))
    top = utilities[rows, best]
    without = utilities.copy()
    without[rows, best] = -np.inf
    gains = np.zeros_like(utilities)
    gains[rows, best] = top - without.max(axis=1)
    return gains


def contenders(utility: Floats, lacking: Ints, price: Floats, units: float) -> Bools:
    """Shape (n,): who may still be recommended: the best by utility, as many as can be told from each other.

    A few hundred cells, spread over a large pool, would tell nobody from the others.

    Args:
        utility: shape (n,); what is expected of each candidate.
        lacking: shape (n,); cells that each may still get; who lacks none is a contender in any case.
        price: shape (n,); units that a cell of each takes.
        units: of the budget that are left.
    """
    ranked = np.array([i for i in np.argsort(-utility, kind="stable") if lacking[i] > 0], dtype=np.int64)
    paid = np.cumsum(np.minimum(CELLS_EACH, lacking[ranked]) * price[ranked])
    found = lacking < 1
    found[ranked[: max(LEAST_CONTENDERS, int(np.searchsorted(paid, units, side="right")))]] = True
    return np.asarray(found)


def value_of_next_cell(spread: Floats, count: Ints, total: int) -> Floats:
    """Shape (n,): how much one more cell may tell about what each candidate is worth; 0 for complete candidates.

    Args:
        spread: shape (n,); how far that varies between draws.
        count: shape (n,); cells run so far.
        total: cells of a complete candidate.
    """
    remaining = np.maximum(0.0, 1.0 - count / total)
    return np.asarray(spread * np.sqrt(remaining / np.maximum(1, count)))


def start_of(index: int, examples: int, features: Features) -> int:
    """Where in the shared order a candidate starts."""
    return int(index * GOLDEN % 1.0 * examples) if features.n_params else 0


def next_positions(
    index: int, order: Ints, requested: Bools, features: Features, kernel: Kernel | None, size: int
) -> tuple[int, ...]:
    """Positions of a candidate's next block of at most `size` cells.

    Args:
        order: the shared order, rotated to where the candidate starts.
        requested: shape (n, j).
        kernel: that of the first objective; None before the first fit.
    """
    free = order[~requested[index, order]]
    if features.n_params and kernel is not None and kernel.mixed > 0:
        similarity = kernel.similarity(features, np.array([index]), np.arange(len(requested)))[0]
        similarity[index] = 0.0
        free = free[np.argsort((similarity @ requested)[free], kind="stable")]
    return tuple(int(position) for position in free[:size])
