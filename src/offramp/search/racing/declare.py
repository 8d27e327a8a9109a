"""The declared front: what is said to be worth choosing from, when not every cell was read.

Members are taken in turn by how much hypervolume each is expected to add to those taken before, over many draws of what
the full-set means may be. A candidate is left out where it would add next to nothing, or where the share of members
that truly are on the front or close to it would be expected to fall below what was promised. "Close" means that nobody
beats it by more than a small margin in every objective at once.

So a front read from few cells may name two candidates where only one is needed; it seldom names one that is plainly
worse than another, and it seldom misses a trade-off.
"""

from __future__ import annotations

import numpy as np

from offramp.search.racing.draws import Draws, covers
from offramp.stats.pareto import Bools, Floats, Ints

CLOSE = 0.05
"""Share of an objective's span within which candidates count as equal."""
SPARE = 0.25
"""Expected members that are not close, beyond what the precision allows: short fronts come in whole members."""
SELDOM = 0.02
"""Candidates on the front in fewer draws than this are not looked at."""


def near_front(draws: Draws) -> Floats:
    """Shape (n,): in which share of the draws nobody beats the candidate by more than `CLOSE` in every objective."""
    fine = np.zeros(draws.losses.shape[1])
    for losses, front in zip(draws.losses, draws.fronts(), strict=True):
        beaten = (losses[front][None, :, :] <= losses[:, None, :] - CLOSE).all(axis=2).any(axis=1)
        fine += ~beaten
    return fine / len(draws.losses)


def declared(draws: Draws, allowed: Bools, *, precision: float, least_gain: float, size: int) -> Ints:
    """Members of the declared front, in the order of what they add.

    Args:
        allowed: shape (n,); who may be a member at all.
        precision: expected share of members on the front or close to it, at least.
        least_gain: what a member has to add, as a share of the volume covered so far.
    """
    fine = near_front(draws)
    hopeful = _hopeful(draws, allowed)
    reached = np.concatenate([covers(losses[hopeful], size) for losses in draws.losses], axis=1)
    taken: list[int] = []
    covered = np.zeros(reached.shape[1], dtype=bool)
    left = list(range(len(hopeful)))
    while left:
        gains = (reached[left] & ~covered).mean(axis=1)
        trust = (fine[hopeful[taken]].sum() + fine[hopeful[left]] + SPARE) / (len(taken) + 1)
        gains[(trust < precision) & (fine[hopeful[left]] < min(precision, fine[hopeful].max()))] = -1.0
        best = int(np.argmax(gains))
        if taken and gains[best] <= least_gain * covered.mean():
            break
        covered |= reached[left[best]]
        taken.append(left.pop(best))
    return np.asarray(hopeful[taken], dtype=np.int64)


def _hopeful(draws: Draws, allowed: Bools) -> Ints:
    often = np.zeros(len(allowed))
    for front in draws.fronts():
        often[front] += 1
    often[draws.front] = len(draws.losses)
    hopeful = np.flatnonzero((often > SELDOM * len(draws.losses)) & allowed)
    return hopeful if len(hopeful) else np.flatnonzero(allowed)
