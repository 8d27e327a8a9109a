"""Does every retirement end in a plan that can run? The successors that vendors name, asked with what a feature sends.

    python benchmarks/successors.py [--day 2026-11-28] [--days 180]

For each chat model of the installed table that retires within so many days of a day (or has retired), the successors
that its vendor names are resolved as `offramp migrate` resolves them, for a feature that sends temperature 0, max_tokens
50 and a schema: what a successor does not accept is left out, and LiteLLM's mapping then has to accept the rest. Prints
one line for each pair, then the counts. Makes no call.
"""

from __future__ import annotations

import argparse
import datetime
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from offramp.errors import UsageError
from offramp.lifecycle.migration.fit import fitted
from offramp.models.acceptance import rejection
from offramp.models.catalogue import resolve
from offramp.models.retirement.dates import load_calendar

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"type": "string"}},
    "required": ["kind"],
    "additionalProperties": False,
}
PARAMS = {
    "temperature": 0.0,
    "max_tokens": 50,
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One retiring model with one successor: `plan` (as it is), `plan, less` (parameters left out) or `none`, and why."""

    model: str
    successor: str
    kind: str
    why: str


def sweep(day: datetime.date, days: int = 180) -> Iterator[Plan]:
    """A plan for every pair of the installed table."""
    calendar = load_calendar()
    until = day + datetime.timedelta(days=days)
    for row in calendar.table.chat_rows():
        found = calendar.retirement(row.route)
        if found is None or found.date > until:
            continue
        for name in found.successors:
            yield plan_for(row.route, name)


def plan_for(model: str, successor: str) -> Plan:
    """How a migration from one to the other would begin."""
    try:
        target = resolve(successor, model)
    except UsageError as error:
        return Plan(model=model, successor=successor, kind="none", why=str(error).split(". ")[0])
    kept, left_out = fitted(target, PARAMS)
    if (found := rejection(target, kept)) is not None:
        return Plan(model=model, successor=successor, kind="none", why=f"{found.what}: {found.why}")
    return Plan(model=model, successor=successor, kind="plan, less" if left_out else "plan", why="; ".join(left_out))


def main() -> None:
    """Prints every plan, then how many there are of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--day", type=datetime.date.fromisoformat, default=datetime.datetime.now(datetime.UTC).date())
    parser.add_argument("--days", type=int, default=180)
    options = parser.parse_args()
    plans = list(sweep(options.day, options.days))
    for plan in plans:
        print(f"{plan.kind:<10}  {plan.model} -> {plan.successor}{f'  ({plan.why})' if plan.why else ''}")
    counts = Counter(plan.kind for plan in plans)
    print(
        f"{len(plans)} pairs of {len({plan.model for plan in plans})} models: "
        + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
    )


if __name__ == "__main__":
    main()
