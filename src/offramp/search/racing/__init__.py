"""The racing core: which cells (candidate x example) to run next, and which front to declare. numpy and scipy alone."""

from offramp.search.racing.plan import Allowance, Joining, Planner, Wave
from offramp.search.racing.race import Race
from offramp.search.racing.settings import (
    COST,
    LATENCY,
    OPEN_BLOCK,
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
    "OPEN_BLOCK",
    "QUALITY",
    "Allowance",
    "Block",
    "DeclaredFront",
    "Estimate",
    "Joining",
    "Planner",
    "Race",
    "RaceObjective",
    "RaceSettings",
    "Wave",
]
