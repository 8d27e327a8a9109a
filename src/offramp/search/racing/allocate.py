"""Where the next cells may change the front most.

For every draw of the posterior, a candidate's share of the hypervolume is what it covers and the expected front (less
itself) does not. A candidate whose share is the same in all draws needs no more cells, whether it is a sure member or
a hopeless one; the more its share varies, and the more a block of cells would narrow it, the sooner it is read.

Source: the idea of reading where the front is least certain is that of expected hypervolume improvement (Emmerich,
Giannakoglou and Naujoks, IEEE Trans. Evol. Comp. 10(4), 2006) and of knowledge gradients.
"""

from __future__ import annotations

import numpy as np

from offramp.search.racing.draws import Draws, covers
from offramp.stats.pareto import Floats, Ints


def shares(draws: Draws, size: int) -> Floats:
    """Shape (draws, n): volume that each candidate adds to the expected front, itself not counted, in each draw."""
    found = np.zeros(draws.losses.shape[:2])
    expected = draws.front
    for row, losses, front in zip(found, draws.losses, draws.fronts(), strict=True):
        row[:] = _shares(losses, np.union1d(front, expected), expected, size)
    return found


def _shares(losses: Floats, hopeful: Ints, expected: Ints, size: int) -> Floats:
    reached = covers(losses[hopeful], size)
    member = np.isin(hopeful, expected)
    others = reached[member].sum(axis=0)[None, :] - (reached & member[:, None])
    share = np.zeros(len(losses))
    share[hopeful] = (reached & (others == 0)).mean(axis=1)
    return share


def worth(share: Floats, read: Ints, total: int) -> Floats:
    """Shape (n,): how much a cell may tell about each candidate's share; 0 where all its cells are read.

    Args:
        share: shape (draws, n). read: shape (n,), cells read so far. total: cells of a candidate.
    """
    left = np.maximum(0.0, 1.0 - read / total)
    return np.asarray(share.std(axis=0) * np.sqrt(left / np.maximum(1, read)))
