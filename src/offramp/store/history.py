"""What past calls of a storage say about models: how long they take and how much they write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from offramp.store.engine import Store
from offramp.store.ledger import CallStatus
from offramp.store.tables import calls


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalCall:
    """Means over the answered calls of one model: seconds on the wire, tokens written, answered calls seen."""

    latency_s: float
    output_tokens: float
    n: int


def typical_calls(store: Store) -> Mapping[str, TypicalCall]:
    """By model name, over all studies of the storage; models that never answered are left out."""
    written = calls.c.output_tokens + calls.c.reasoning_tokens
    columns = (calls.c.model, sa.func.avg(calls.c.latency_s), sa.func.avg(written), sa.func.count())
    query = sa.select(*columns).where(calls.c.status == CallStatus.OK.value).group_by(calls.c.model)
    with store.reading() as conn:
        rows = conn.execute(query).all()
    return {
        model: TypicalCall(latency_s=float(latency), output_tokens=float(tokens), n=int(n))
        for model, latency, tokens, n in rows
        if latency is not None
    }
