"""What a feature costs now beside what it cost when it was promoted: today's price on the tokens measured then.

Invariant: an unknown price or unknown tokens give None, never a ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

from offramp.lifecycle.in_use import ModelInUse
from offramp.models.table import Table
from offramp.records import Price, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class CostChange:
    """USD of a thousand runs then and now; None where not known."""

    then_usd_1k: float | None
    now_usd_1k: float | None

    @property
    def ratio(self) -> float | None:
        """Now over then; None where either is not known or nothing was paid then."""
        if not self.then_usd_1k or self.now_usd_1k is None:
            return None
        return self.now_usd_1k / self.then_usd_1k

    @property
    def changed(self) -> bool:
        """Whether it moved by more than rounding."""
        return self.ratio is not None and abs(self.ratio - 1) > 1e-6


def cost_change(used: ModelInUse, table: Table) -> CostChange:
    """Then and now. A model of one's own keeps its price: the table does not know it."""
    row = None if used.own else table.find(used.route)
    now = None if row is None or row.price is None else row.price.for_tier(used.service_tier)
    now = used.price_then if used.own else now
    return CostChange(then_usd_1k=cost_usd(used.price_then, used.usage_1k), now_usd_1k=cost_usd(now, used.usage_1k))


def cost_usd(price: Price | None, usage: Usage | None) -> float | None:
    """USD of a usage; None where anything needed is not known."""
    return None if price is None or usage is None else price.cost_usd(usage)
