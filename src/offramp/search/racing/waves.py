"""One loop for live calls and recorded tables: waves are decided, run and observed, two under way at a time.

While a wave is running the next one is decided on what all earlier ones brought back, so that there is always work
waiting when the last cells of a wave come in. A decision therefore lags by one wave.

Invariant: waves are observed in the order of their numbers, and each is decided after the same number of others was
observed, whatever came back first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Protocol

from offramp.search.racing.plan import Wave
from offramp.search.racing.race import Race
from offramp.stats.pareto import Floats

UNDER_WAY = 2
"""Waves running at the same time."""


class Deciding(Protocol):
    """Who decides the waves of a race."""

    race: Race

    def next(self) -> Wave | Awaitable[Wave | None] | None:
        """The next wave; None when there is none before another is observed."""


class CellSource(Protocol):
    """Where the values of cells come from."""

    def run(self, wave: Wave) -> Awaitable[Sequence[Floats]]:
        """Values of each block of a wave, shape (cells, objectives); NaN for a cell without a value.

        Called as soon as the wave is decided. What is to be run has to be settled in the call, not once it is awaited:
        by then another wave may have been observed, or not, depending on which reply came first.
        """

    def observed(self, wave: Wave) -> None:
        """The race knows the values of a wave from here on."""


async def run_waves(deciding: Deciding, source: CellSource) -> None:
    """Runs waves until there is none left. What a decision or a run raises is raised once nothing runs any more."""
    running: deque[tuple[Wave, asyncio.Future[Sequence[Floats]]]] = deque()
    try:
        while True:
            while len(running) < UNDER_WAY and (wave := await _next(deciding)) is not None:
                running.append((wave, asyncio.ensure_future(source.run(wave))))
            if not running:
                return
            wave, values = running.popleft()
            for block, found in zip(wave.blocks, await values, strict=True):
                deciding.race.observe(block.index, block.positions, found)
            source.observed(wave)
    finally:
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)


async def _next(deciding: Deciding) -> Wave | None:
    wave = deciding.next()
    return await wave if isinstance(wave, Awaitable) else wave
