"""The plan of a race: what the next wave of cells is, given what may still be used.

A wave is decided on what earlier waves brought back, is written down, and then run as a whole. Every wave asks the same
questions again, so that there are no phases to keep track of:

1. What do the recommended candidate and the rest of the declared front lack? That much is reserved, the latter up to a
   share of the whole, because a member is only shown beside others once all its examples were run.
2. Is there room beyond that? Then candidates that nobody has looked at get a first block each, a few at a time where
   new ones are proposed from what is known (`Joining`), and the most informative candidates get the rest.
3. If not, the wave runs what the declared front lacks, the recommended candidate first.

Without a cap nothing is reserved: every candidate is run to its end, the most informative first, unless it is closed.

Invariant: a wave depends on the seed, the pool, the cells requested and observed, and what may be used; never on time,
but where time is the only cap: then the clock says how much room there is, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from typing import Protocol

import numpy as np

from offramp.records import Scalar
from offramp.search.racing.race import Race
from offramp.search.racing.settings import Block, DeclaredFront
from offramp.stats.pareto import Floats

STARTUP = 10
"""So many candidates are looked at before anything is learnt from."""
GROWTH = 0.04
"""A wave has at least this share of the cells run so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What may still be used, in units: cells, or USD or seconds where a cell of one candidate takes more of a cap.

    Attributes:
        total: for the whole race; None where it is not known before, as under a cap on time.
        left: not yet used or requested; None without a cap.
        unit: shape (n,); units that one cell of each candidate takes; None where it is 1 for all.
        reading: shape (n,); units that the first cell of a prompt takes beyond that; None where it takes no more.
    """

    total: float | None = None
    left: float | None = None
    unit: Floats | None = None
    reading: Floats | None = None

    def cells(self, units: float, block: int | None = None) -> int:
        """How many cells of the usual candidate so many units are; with `block`, of new prompts for so many each."""
        typical = 1.0 if self.unit is None or not len(self.unit) else float(np.median(self.unit))
        if block is not None and self.reading is not None and len(self.reading):
            typical += float(np.median(self.reading)) / block
        return max(0, int(min(units / max(typical, 1e-12) + 1e-6, 1e9)))

    def units(self, index: int, cells: int) -> float:
        """What so many cells of a candidate take."""
        return cells * (1.0 if self.unit is None else float(self.unit[index]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Cells that are run together.

    Attributes:
        number: from 0.
        purpose: `search`, `complete` for what the declared front lacks, or `again` for cells that were run before.
    """

    number: int
    purpose: str
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """Cells."""
        return sum(len(block.positions) for block in self.blocks)


class Joining(Protocol):
    """New candidates for a pool that cannot be listed."""

    def join(self, count: int) -> Sequence[Mapping[str, Scalar]]:
        """Params of at most `count` candidates that are not in the pool yet; fewer, or none, where it finds none."""


@dataclass(slots=True, kw_only=True)
class Planner:
    """Decides the waves of one race.

    Attributes:
        allowance: asked before every wave.
        wave: cells of a wave, at least; later ones have a share of the cells so far.
        joining: None where the whole pool is known.
        joining_share: share of the cells so far that first blocks of those that join may have.
        looks_share: share of a known total that first blocks may use.
        kept_share: share of what first blocks leave that is reserved at most to complete members beside the recommended
            one.
        recommended_share: share of the same that completing one candidate may take; where the most promising one would
            take more, nothing is reserved, and the recommended one is an estimate.
        gate: which candidates may be completed; None for all.
        whole: whether every candidate is run on all examples, one after another.
        given: candidates that were complete before the race, such as an incumbent: the first of the pool.
        again: runs that a candidate takes at most beyond its cells, before it is complete; None for none.
        runs: that a cell takes at most.
    """

    race: Race
    allowance: Callable[[], Allowance]
    wave: int
    joining: Joining | None = None
    joining_share: float = 0.5
    looks_share: float = 0.7
    kept_share: float = 0.15
    recommended_share: float = 1.0
    gate: Callable[[int], bool] | None = None
    whole: bool = False
    given: int = 0
    again: Callable[[int], int] | None = None
    runs: int = 1
    number: int = 0
    declared: DeclaredFront | None = field(default=None, init=False)

    def next(self) -> Wave | None:
        """The next wave; None when no candidate may get more cells, or nothing more may be used."""
        race, allowance = self.race, self.allowance()
        race.learn()
        size = max(self.wave, int(GROWTH * race.cells.count.sum()))
        if allowance.left is None:
            return self._numbered("search", self._search(size, math.inf, allowance))
        room = allowance.left - self._kept(size, allowance)
        blocks = self._search(size, room, allowance) if room > 0 else []
        if blocks:
            return self._numbered("search", blocks)
        return self._numbered("complete", self._completing(size, allowance))

    def _numbered(self, purpose: str, blocks: Sequence[Block]) -> Wave | None:
        return Wave(number=self.take_number(), purpose=purpose, blocks=tuple(blocks)) if blocks else None

    def take_number(self) -> int:
        """The number of a wave that is begun now."""
        self.number += 1
        return self.number - 1

    def _search(self, size: int, room: float, allowance: Allowance) -> list[Block]:
        """First blocks as far as it is their turn, then the most informative ones, for at most `room` units."""
        race = self.race
        if self.whole:
            return self._whole(size, room, allowance)
        looks = min(size, self._looks(allowance))
        if self.joining is not None and looks > 0:
            allowance = self._join(min(looks, allowance.cells(room)), allowance)
        spending = race.spending(room, allowance.unit, allowance.reading)
        blocks = race.looks(looks, spending) if looks > 0 else []
        size -= sum(len(block.positions) for block in blocks)
        if not np.isnan(race.cells.values).all():
            return [*blocks, *race.informative(size, spending)]
        return [*blocks, *race.looks(size, spending)]

    def _whole(self, size: int, room: float, allowance: Allowance) -> list[Block]:
        """Candidates one after another, each with all its cells, until a wave is full."""
        race, cells = self.race, len(self.race.order)
        begun = [race.rest(int(i), cells) for i in race.open if race.cells.count[i]]
        blocks = [block for block in begun if block is not None]
        size -= sum(len(block.positions) for block in blocks)
        while size > 0 and allowance.cells(room) >= self.runs * cells:
            allowance = self._join(1, allowance)
            spending = race.spending(room, allowance.unit, allowance.reading)
            found = race.looks(cells, spending)
            if not found:
                return blocks
            blocks += found
            size -= sum(len(block.positions) for block in found)
            room = spending.units
        return blocks

    def _join(self, cells: int, allowance: Allowance) -> Allowance:
        """Lets new candidates join, as many as so many cells of first blocks are for; the allowance with them in it."""
        race = self.race
        unseen = sum(not race.cells.count[i] for i in race.open)
        wanted = -(-cells // race.settings.first) - unseen
        if self.joining is None or wanted < 1:
            return allowance
        for params in self.joining.join(wanted):
            race.add(params)
        now = self.allowance()
        return replace(allowance, unit=now.unit, reading=now.reading)

    def _looks(self, allowance: Allowance) -> int:
        """Cells that first blocks may use now: a share of a known total, else as many as all others have used."""
        race = self.race
        used = int(race.cells.count.sum())
        looked = int(np.minimum(race.cells.count, race.settings.first).sum())
        paced = STARTUP * race.settings.first + int(self.joining_share * used) - looked
        if allowance.left is None and self.joining is None:
            return len(race.order) * len(race.pool)
        if allowance.total is None:
            return paced
        share = allowance.cells(self.looks_share * allowance.total, race.settings.first) - looked
        return share if self.joining is None else min(share, paced)

    def _kept(self, size: int, allowance: Allowance) -> float:
        """Units reserved to complete members; a bound of them where there is plenty of room."""
        left = allowance.left or 0.0
        share = self.kept_share * self._beyond_looks(allowance)
        highest = 1.0 if allowance.unit is None else float(allowance.unit.max(initial=0.0))
        most = share + self.runs * len(self.race.order) * highest
        if left - most > max(size, len(self.race.order) if self.whole else 0) * highest:
            return most
        self.declared = self.race.declare(refit=False)
        lacks = [self._lacks(i, allowance) for i in self._targets(allowance)]
        others = takewhile(lambda total: total <= share + 1e-9, accumulate(lacks[1:]))
        return lacks[0] + max(others, default=0.0) if lacks else 0.0

    def _targets(self, allowance: Allowance) -> list[int]:
        """Members that are complete or can be completed; first the candidate that may yet be the one to recommend.

        Where no candidate was completed yet that was not `given`, that is the most promising one; later it is the
        recommended one.
        """
        race = self.race
        most = min(allowance.left or 0.0, self.recommended_share * self._beyond_looks(allowance)) + 1e-9
        able = {i for i in range(len(race.pool)) if self._may_be_completed(i) and self._lacks(i, allowance) <= most}
        targets = [i for i in self._members() if i in able]
        if self.declared is not None and not any(race.complete(i) for i in able if i >= self.given):
            promising = [i for i in self.declared.promising if i >= self.given and self._may_be_completed(i)]
            if promising and promising[0] not in able and self.recommended_share < 1.0:
                return []
            unseen = sorted(able - set(promising), key=lambda i: self._lacks(i, allowance))
            first = next((i for i in (*promising, *unseen) if i in able and i >= self.given), None)
            targets = list(dict.fromkeys([*([] if first is None else [first]), *targets]))
        return targets

    def _members(self) -> list[int]:
        """The recommended candidate, then the rest of the declared front, each that adds most to those before it.

        Those that may not be completed are left out.
        """
        found = self.declared
        members = () if found is None else (*found.front[:1], *(i for i in found.by_gain if i != found.recommended))
        return [i for i in members if self._may_be_completed(i)]

    def _may_be_completed(self, index: int) -> bool:
        return index not in self.race.closed and (self.gate is None or self.gate(index))

    def _completing(self, size: int, allowance: Allowance) -> list[Block]:
        """What the members lack, one after another, for at most so many cells; first those that can be completed.

        The first block is a candidate's whole rest, however small the waves are: a member that is run halfway and then
        given up, because another one looks better by a little, is of no use to anybody. One that cannot be completed
        any more is not begun: what is left then goes to the most informative cells.
        """
        blocks: list[Block] = []
        left = allowance.left or 0.0
        for index in dict.fromkeys([*self._targets(allowance), *self._members()]):
            lacks = self._lacks(index, allowance)
            if size < 1 or lacks > left + 1e-9:
                continue
            block = self.race.rest(index, size if blocks else len(self.race.order))
            if block is not None:
                blocks.append(block)
                size -= len(block.positions)
                left -= lacks
        if self.whole or size < 1 or np.isnan(self.race.cells.values).all():
            return blocks
        return [*blocks, *self.race.informative(size, self.race.spending(left, allowance.unit, allowance.reading))]

    def _beyond_looks(self, allowance: Allowance) -> float:
        """Units that first blocks leave of the whole; of what is known of it, where no cap says how much that is."""
        count = self.race.cells.count
        unit = np.ones(len(count)) if allowance.unit is None else allowance.unit
        whole = allowance.total or float(count @ unit) + (allowance.left or 0.0)
        return max(0.0, whole - float(np.minimum(count, self.race.settings.first) @ unit))

    def _lacks(self, index: int, allowance: Allowance) -> float:
        """Units that a candidate lacks to be complete."""
        again = 0 if self.again is None else self.again(index)
        return allowance.units(index, len(self.race.order) - int(self.race.cells.count[index]) + again)
