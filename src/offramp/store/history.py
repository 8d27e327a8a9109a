"""What past calls of a storage say: of models, how long they take and write; of a study, what its requests took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import sqlalchemy as sa

from offramp.records import Purpose, Usage
from offramp.store.engine import Store
from offramp.store.ledger import ANSWERED, CallAttempt, CallStatus
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
    """What the physical requests of a study have taken: read from the ledger once, then added to.

    Attributes:
        by_purpose: those that asked for nothing are left out.
    """

    def __init__(self) -> None:
        self.by_purpose: dict[Purpose, Effort] = {}

    def read(self, store: Store, study: str) -> StudyEffort:
        """Adds what the ledger has of a study; returns itself."""
        c = calls.c
        asked = sa.case((sa.and_(c.status.in_(ANSWERED), c.replicate == 0), 1), else_=0)
        sums = [sa.func.sum(c[name]).label(name) for name in _TOKENS]
        numbers = (sa.func.count().label("n"), sa.func.sum(asked).label("asked"))
        select = sa.select(c.purpose, c.model, *numbers, *sums).where(c.study == study)
        with store.reading() as conn:
            rows = conn.execute(select.group_by(c.purpose, c.model)).all()
        for row in rows:
            tokens = {name: int(getattr(row, name) or 0) for name in _TOKENS if name != "compute_s"}
            usage = Usage(**tokens, compute_s=row.compute_s)
            self._add(Purpose(row.purpose), row.model, usage, questions=int(row.asked), attempts=row.n)
        return self

    def add(self, attempt: CallAttempt) -> None:
        """One more attempt."""
        answered = attempt.status in ANSWERED and attempt.replicate == 0
        self._add(attempt.purpose, attempt.model, attempt.usage, questions=int(answered), attempts=1)

    def _add(self, purpose: Purpose, model: str, usage: Usage, *, questions: int, attempts: int) -> None:
        before = self.by_purpose.get(purpose, Effort())
        self.by_purpose[purpose] = Effort(
            questions=before.questions + questions,
            attempts=before.attempts + attempts,
            usage={**before.usage, model: before.usage.get(model, Usage()) + usage},
        )
