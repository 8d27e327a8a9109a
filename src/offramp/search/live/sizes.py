"""Sizes of a live race, which the plan of a dry run states too."""

from __future__ import annotations

LISTED = 1000
"""A space of at most so many assignments is listed: all its candidates are in the pool from the start."""
LEAST_WAVE = 8
"""Cells of a wave, at least."""
FIRST_SHARE = 0.2
"""Share of the cells that first blocks take where the whole pool is known."""
LOOKS_SHARE = 0.7
"""First blocks take at most this share of the cells, where one for each candidate would take more."""
LEAST_BLOCK = 5
BLOCKS = 8
"""A candidate is run in so many blocks where nothing limits how many cells there are."""
RECOMMEND = 0.75
"""Share of the cells that go where they tell most about the best by utility, the others about the front."""
