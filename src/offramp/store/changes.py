"""Whether a study has changed: one small query, for whoever follows it."""

from __future__ import annotations

import sqlalchemy as sa

from offramp.ids import content_hash
from offramp.store.engine import Store
from offramp.store.tables import candidates, probes, studies, summaries


def stamp(store: Store, study: str) -> str | None:
    """A text that changes when a study's record, candidates, summaries or timed runs do; None for no study."""
    tried = sa.select(sa.func.count()).where(candidates.c.study == study).scalar_subquery()
    mine = summaries.c.study == study
    scored = sa.select(sa.func.count()).where(mine).scalar_subquery()
    examples = sa.select(sa.func.coalesce(sa.func.sum(summaries.c.n), 0)).where(mine).scalar_subquery()
    apart = probes.c.study == study
    timed = sa.select(sa.func.count()).where(apart).scalar_subquery()
    last = sa.select(sa.func.max(probes.c.measured_at)).where(apart).scalar_subquery()
    parts = (studies.c.updated_at, studies.c.status, tried, scored, examples, timed, last)
    select = sa.select(*parts).where(studies.c.name == study)
    with store.reading() as conn:
        row = conn.execute(select).first()
    return None if row is None else content_hash([str(value) for value in row], length=16)
