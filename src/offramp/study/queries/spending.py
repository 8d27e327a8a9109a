"""What a study has cost, and what went wrong: the physical ledger by purpose and model, beside the virtual cost.

Physical: every request once, priced with today's prices, and what the budget has booked. Virtual: what the evaluations
would have cost without the ledger. The two are never added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from offramp.store.budget import BudgetState, read_budget
from offramp.store.engine import Store
from offramp.store.ledger import ANSWERED, Ledger, priced
from offramp.study.study_report import StudyRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Money and failures of one study; an amount is None where a price is not known.

    Attributes:
        budget: as booked, over all runs of the search; verify: that of verifications. None where nothing was reserved.
        physical_usd: every request of the ledger, at today's prices.
        by_purpose, by_model: parts of it.
        virtual_usd: all stored evaluations, as if each answer had been paid for.
        calls: physical requests; failures: those without an answer, by status, the most frequent first.
    """

    budget: BudgetState | None
    verify: BudgetState | None
    physical_usd: float | None
    by_purpose: Mapping[str, float | None]
    by_model: Mapping[str, float | None]
    virtual_usd: float | None
    calls: int
    failures: Mapping[str, int]

    @property
    def budgets(self) -> tuple[BudgetState, ...]:
        """Those that there are."""
        return tuple(budget for budget in (self.budget, self.verify) if budget is not None)

    @property
    def paid_usd(self) -> float | None:
        """What all budgets have booked; the ledger's sum where there is none."""
        return sum(budget.spent_usd for budget in self.budgets) if self.budgets else self.physical_usd


def verify_budget(study: str) -> str:
    """The name of the budget that pays for verifying a study."""
    return f"{study}:verify"


def _needs_each_call(ledger: Ledger, rows: StudyRows) -> bool:
    """Whether some requests were not billed at the plain price, so that sums of tokens do not say what was paid."""
    prices = {name: price for name, price in rows.scoring.prices.items() if price is not None}
    tiers = any(price.tier_names for price in prices.values())
    if tiers and ('"service_tier"' in rows.study.space_json or ledger.other_tiers()):
        return True
    if ledger.has_batches():
        return True
    if not any(price.steps for price in prices.values()):
        return False
    longest = ledger.longest_prompts()
    return any(len(price.up_to(longest.get(name, 0))) > 1 for name, price in prices.items())


def spending(store: Store, rows: StudyRows) -> Spending:
    """The money of a study, read from the storage; the virtual part is summed over its rows."""
    study = rows.study.name
    ledger = Ledger(store, study)
    totals = ledger.totals()
    prices = rows.scoring.prices
    paid = ledger.priced_calls(prices) if _needs_each_call(ledger, rows) else priced(totals, prices)
    ids = {row.id for row in rows.candidates}
    runs = [seen for split in (rows.search, rows.holdout) for c, seen in split.items() if c in ids and seen.n]
    costs = [seen.cost_usd * seen.n for seen in runs if seen.cost_usd is not None]
    failures: Counter[str] = Counter()
    for (_, status), n in ledger.endings().items():
        if status not in ANSWERED:
            failures[str(status)] += n
    return Spending(
        budget=read_budget(store, study),
        verify=read_budget(store, verify_budget(study)),
        physical_usd=paid.usd,
        by_purpose={str(purpose): usd for purpose, usd in paid.by_purpose.items()},
        by_model=dict(paid.by_model),
        virtual_usd=sum(costs) if len(costs) == len(runs) else None,
        calls=totals.calls,
        failures=dict(failures.most_common()),
    )
