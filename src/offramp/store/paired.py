"""Sums over pairs of results: every candidate of a split against one of them, in one query whatever their number.

Invariant: only examples that both have a score for are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from offramp.records import Split
from offramp.store.engine import Store
from offramp.store.tables import results

SAME = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedCounts:
    """How one candidate did against the reference: `n` examples, `wins` and `losses` among them, the rest ties."""

    candidate: str
    n: int
    wins: int
    losses: int


def counts_against(
    store: Store, study: str, split: Split | str, reference: str, only: Sequence[str] | None = None
) -> dict[str, PairedCounts]:
    """Counts by candidate id against `reference`, itself left out; `only` these candidates where given."""
    one, other = results.alias("one"), results.alias("other")
    same = (other.c.study == one.c.study, other.c.split == one.c.split, other.c.example == one.c.example)
    gain = one.c.score - other.c.score
    counts = (
        sa.func.count().label("n"),
        sa.func.sum(sa.case((gain > SAME, 1), else_=0)).label("wins"),
        sa.func.sum(sa.case((gain < -SAME, 1), else_=0)).label("losses"),
    )
    where = [one.c.study == study, one.c.split == str(split), one.c.candidate != reference]
    where += [other.c.candidate == reference, one.c.score.is_not(None), other.c.score.is_not(None)]
    if only is not None:
        where.append(one.c.candidate.in_(only))
    joined = one.join(other, sa.and_(*same))
    select = sa.select(one.c.candidate, *counts).select_from(joined).where(*where).group_by(one.c.candidate)
    with store.reading() as conn:
        return {
            row.candidate: PairedCounts(candidate=row.candidate, n=row.n, wins=int(row.wins), losses=int(row.losses))
            for row in conn.execute(select)
        }
