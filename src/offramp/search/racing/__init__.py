"""Racing: which cells to read next, and which front to declare."""

from offramp.search.racing.race import Race
from offramp.search.racing.settings import (
    COST,
    LATENCY,
    QUALITY,
    Block,
    Declared,
    Estimate,
    RaceObjective,
    RaceSettings,
)

__all__ = [
    "COST",
    "LATENCY",
    "QUALITY",
    "Block",
    "Declared",
    "Estimate",
    "Race",
    "RaceObjective",
    "RaceSettings",
]
