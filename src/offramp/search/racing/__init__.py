"""The racing core: which cells (candidate x example) to run next, and which front to declare. numpy and scipy alone."""

from offramp.search.racing.race import Race
from offramp.search.racing.settings import (
    COST,
    LATENCY,
    QUALITY,
    Block,
    DeclaredFront,
    Estimate,
    RaceObjective,
    RaceSettings,
)

__all__ = [
    "COST",
    "LATENCY",
    "QUALITY",
    "Block",
    "DeclaredFront",
    "Estimate",
    "Race",
    "RaceObjective",
    "RaceSettings",
]
