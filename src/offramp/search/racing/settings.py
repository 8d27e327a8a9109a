"""What a race is about and how it is run: objectives, settings, and the records it hands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceObjective:
    """One objective, a mean over the examples.

    Attributes:
        name: as it is called in estimates.
        maximise: direction.
        positive: whether values are 0 or more and spread in proportion to their size (money, seconds), so that they
            are modelled on a logarithmic scale; False for scores in 0..1.
        weight: share in the utility, not normalised.
        scale: (worst, best) in the objective's unit, as fixed for the study; None takes the span of the pool's
            expected values.
    """

    name: str
    maximise: bool
    positive: bool
    weight: float = 1.0
    scale: tuple[float, float] | None = None


QUALITY = RaceObjective(name="quality", maximise=True, positive=False)
COST = RaceObjective(name="cost_usd", maximise=False, positive=True)
LATENCY = RaceObjective(name="latency_s", maximise=False, positive=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceSettings:
    """How to race.

    Attributes:
        first: cells of a candidate's first block.
        block: cells of every later block.
        first_share: where the pool is too large for the cells, the share of them that first blocks may take; needs
            `budget`.
        budget: cells there are in all; None for as many as candidates and examples make.
        precision: expected share of the declared front that is on the true front or close to it.
        least_gain: a candidate that adds less than this share of the hypervolume adds nothing.
        draws, places: how finely volumes are counted.
        patience: the model is asked anew when the cells have grown by this share.
    """

    first: int = 5
    block: int = 5
    first_share: float = 0.7
    budget: int | None = None
    precision: float = 0.96
    least_gain: float = 1e-4
    draws: int = 64
    places: int = 1024
    patience: float = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The next cells to read: a candidate and positions in the example set."""

    index: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An objective of one candidate over the whole example set.

    Attributes:
        mean: in the objective's unit. sd: how far off it may be (one standard deviation); 0 when all cells are read.
    """

    mean: float
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the race would say if it ended now.

    Attributes:
        front: indices, the recommended one included; best utility first.
        recommended: index of the member of highest expected utility; None when no cell was read.
        estimates: by index, then by objective name; of every candidate that has a cell.
        trust: by index of a member, how likely it is on the true front or close to it.
    """

    front: tuple[int, ...]
    recommended: int | None
    estimates: Mapping[int, Mapping[str, Estimate]]
    trust: Mapping[int, float]
