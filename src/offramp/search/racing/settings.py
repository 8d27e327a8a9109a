"""What a race is given and what it hands out: objectives, settings, blocks of cells, the declared front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceObjective:
    """One objective: a mean over the examples.

    Attributes:
        name: its key in the estimates.
        maximise: whether larger is better.
        positive: whether values are non-negative and vary in proportion to their size (money, seconds), so that they
            are modelled on a logarithmic scale; False for scores in 0..1.
        weight: share in the utility, not normalised.
        scale: (worst, best) in the objective's unit, as fixed for the study; None uses the span of the pool's
            expected values.
    """

    name: str
    maximise: bool
    positive: bool
    weight: float = 1.0
    scale: tuple[float, float] | None = None


OPEN_BLOCK = 2
"""Cells of first and later blocks in a pool that cannot be listed: the fewer, the more candidates are looked at."""
QUALITY = RaceObjective(name="quality", maximise=True, positive=False)
COST = RaceObjective(name="cost_usd", maximise=False, positive=True)
LATENCY = RaceObjective(name="latency_s", maximise=False, positive=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceSettings:
    """How a race is run.

    Attributes:
        first: cells in a candidate's first block.
        block: cells in each later block.
        precision: expected share of the declared front that is on the true front or close to it.
        least_gain: a candidate that adds less than this share of the hypervolume is not worth declaring.
        draws: posterior draws behind each decision: with few, a candidate that is seldom on the front but matters much
            there is overlooked. grid_points: points that a hypervolume is counted on.
        recommend: share of the cells that go where they tell most about which candidate is the best by utility; the
            others go where they tell most about the front.
    """

    first: int = 5
    block: int = 5
    precision: float = 0.96
    least_gain: float = 1e-4
    draws: int = 256
    grid_points: int = 1024
    recommend: float = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The cells to run next: one candidate, on the examples at these positions."""

    index: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One objective of one candidate over the whole example set.

    Attributes:
        mean: expected value, in the objective's unit.
        sd: its standard deviation, in the same unit; 0 when every cell is known.
    """

    mean: float
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredFront:
    """The front as far as it is known from the cells so far.

    Attributes:
        front: indices of the members, highest expected utility first.
        recommended: the first of them; None before any cell is known.
        by_gain: the members, each the one that adds most to those before it.
        estimates: by index, then by objective name; for every candidate that has a known cell.
        trust: by index of a member: the probability that it is on the true front or close to it.
        promising: candidates that lack cells, the one first that is expected to gain most on the best complete one.
    """

    front: tuple[int, ...]
    recommended: int | None
    by_gain: tuple[int, ...]
    estimates: Mapping[int, Mapping[str, Estimate]]
    trust: Mapping[int, float]
    promising: tuple[int, ...]
