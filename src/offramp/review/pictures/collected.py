"""All pictures of a study beside its front, of the incumbent and the front's members of highest utility."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.review.pictures.best_so_far import Best
from offramp.review.pictures.latency_strips import LatencyStrips
from offramp.review.pictures.slice_scores import SliceScores
from offramp.review.pictures.token_costs import TokenCosts

MOST_ROWS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """None where there is nothing to draw; `heatmap` is JSON values for the script."""

    best: Best | None
    heatmap: Mapping[str, Any] | None
    strips: LatencyStrips | None
    costs: TokenCosts | None
    slices: SliceScores | None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return any(one is not None for one in (self.best, self.heatmap, self.strips, self.costs, self.slices))
