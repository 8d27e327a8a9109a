"""Sizes of a live race, which the plan of a dry run states too."""

from __future__ import annotations

from offramp.search.racing import OPEN_BLOCK, RaceSettings
from offramp.space.model import RacePart

LISTED = 1000
"""A space of at most so many assignments is listed: all its candidates are in the pool from the start."""
LEAST_WAVE = 8
"""Cells of a wave, at least."""
FIRST_SHARE = 0.2
"""Share of the cells that first blocks take where the whole pool is known."""
LOOKS_SHARE = 0.7
"""First blocks take at most this share of the cells, where one for each candidate would take more."""
COMPLETED_SHARE = 0.15
"""Share of the cells that completing the recommended candidate may take; with fewer cells it stays an estimate."""
LEAST_READ = 2
"""Cells of a first block, at least, where reading its prompt takes time: the second says what the others will take."""
LEAST_BLOCK = 5
BLOCKS = 8
"""A candidate is run in so many blocks where nothing limits how many cells there are."""
RECOMMEND = 0.75
"""Share of the cells that go where they tell most about the best by utility, the others about the front."""


def settings_of(
    part: RacePart | None, *, examples: int, candidates: int, total: float | None, listed: bool, timed: bool,
    reading: bool = False,
) -> RaceSettings:  # fmt: skip
    """The settings of a live race, from how many cells there may be for how many candidates.

    Args:
        part: of the space file; None where every candidate runs on everything.
        total: cells of the whole race; None where no cap says so.
        listed: whether the whole pool is known.
        timed: whether there is a cap on time.
        reading: whether reading a prompt takes a part of the cap.
    """
    if part is None:
        return RaceSettings(first=examples, block=examples)
    first = block = part.block or max(LEAST_BLOCK, -(-examples // BLOCKS))
    if total is not None and listed:
        first = max(1, min(first, round(FIRST_SHARE * total / max(1, candidates))))
        block, first = max(1, first // 2), max(first, LEAST_READ if reading else 1)
    elif total is not None or timed:
        first = block = LEAST_BLOCK if listed else OPEN_BLOCK
    return RaceSettings(first=min(examples, first), block=min(examples, block), recommend=RECOMMEND)
