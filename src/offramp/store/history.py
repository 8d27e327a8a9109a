"""What past calls of a storage say: of models, how long they take and write; of a study, what its requests took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import sqlalchemy as sa

from offramp.records import Purpose, Usage
from offramp.store.engine import Store
from offramp.store.ledger import ANSWERED, CallStatus
from offramp.store.tables import calls

_TOKENS = tuple(f.name for f in fields(Usage))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What the requests of one purpose took.

    Attributes:
        questions: answered requests; one that was asked again, since its answer could not be read, counts once.
        attempts: physical requests, failed ones included.
        usage: of all of them, by model.
    """

    questions: int = 0
    attempts: int = 0
    usage: Mapping[str, Usage] = field(default_factory=dict)


class StudyEffort:
    """What the physical requests of a study have taken, by purpose; each row of the ledger is read once."""

    def __init__(self, store: Store, study: str) -> None:
        self._store, self._study, self._read = store, study, 0
        self._found: dict[Purpose, Effort] = {}

    def so_far(self) -> Mapping[Purpose, Effort]:
        """By purpose; those that asked for nothing are left out."""
        c = calls.c
        asked = sa.case((sa.and_(c.status.in_(ANSWERED), c.replicate == 0), 1), else_=0)
        sums = [sa.func.sum(c[name]).label(name) for name in _TOKENS]
        numbers = (sa.func.count().label("n"), sa.func.sum(asked).label("asked"), sa.func.max(c.id).label("last"))
        select = sa.select(c.purpose, c.model, *numbers, *sums).where(c.study == self._study, c.id > self._read)
        with self._store.reading() as conn:
            rows = conn.execute(select.group_by(c.purpose, c.model)).all()
        for row in rows:
            self._add(Purpose(row.purpose), row)
        self._read = max((row.last for row in rows), default=self._read)
        return self._found

    def _add(self, purpose: Purpose, row: sa.Row[tuple[object, ...]]) -> None:
        before = self._found.get(purpose, Effort())
        tokens = {name: int(getattr(row, name) or 0) for name in _TOKENS if name != "compute_s"}
        usage = before.usage.get(row.model, Usage()) + Usage(**tokens, compute_s=row.compute_s)
        self._found[purpose] = replace(
            before,
            questions=before.questions + int(row.asked),
            attempts=before.attempts + row.n,
            usage={**before.usage, row.model: usage},
        )
