"""The candidates of a study: what each is, in full, and how its trial ended.

A row is written when a trial ends, so that a study can be looked at, promoted from and continued from without its
space file. A later row for the same candidate replaces the earlier one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from offramp.records import Candidate, DemoKind, Scalar
from offramp.store.engine import Store
from offramp.store.tables import candidates

_KEY = ("study", "candidate")
_CONTENT = {
    "model": "model", "form": "module", "format": "adapter", "constrained": "constrained",
    "instructions": "instructions", "demo_kind": "demo_kind", "demo_count": "demo_count", "demo_seed": "demo_seed",
    "request_params": "request_params",
}  # fmt: skip
"""Fields of a candidate by the names that they are stored under."""


class CandidateState(enum.StrEnum):
    """How far a candidate was evaluated on the search split."""

    COMPLETE = "complete"  # on all examples: may be on the front
    STOPPED = "stopped"  # raced out: its numbers are of some examples only and are compared with nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow:
    """One candidate of a study.

    Attributes:
        number: of its first trial.
        origin: where it came from, by `kind`: `incumbent`, `sampler`, `study` (the front that this study started from)
            or `proposal`, the last two with `parents`. `cells` says which study its first results were copied from.
        reason: why it was stopped; None for a complete one.
        stored_id: the id it was read by, so that thousands need not be recomputed; None for one made here.
    """

    candidate: Candidate
    number: int
    state: CandidateState
    origin: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    stored_id: str | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The candidate's id."""
        return self.stored_id or self.candidate.id

    @property
    def params(self) -> Mapping[str, Scalar]:
        """Its full assignment."""
        return self.candidate.params


class CandidateStore:
    """Candidates of every study of a storage."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, study: str, row: CandidateRow) -> None:
        """Keep a candidate, in place of what is there of it."""
        values = {"study": study, **_values(row)}
        insert = postgresql.insert(candidates) if self._store.dialect == "postgresql" else sqlite.insert(candidates)
        changed = {c.name: insert.excluded[c.name] for c in candidates.c if c.name not in _KEY}
        with self._store.transaction() as conn:
            conn.execute(insert.on_conflict_do_update(index_elements=list(_KEY), set_=changed), [values])

    def count(self, study: str) -> int:
        """How many candidates a study has."""
        select = sa.select(sa.func.count()).select_from(candidates).where(candidates.c.study == study)
        with self._store.reading() as conn:
            return conn.scalar(select) or 0

    def drop(self, study: str, candidate: str) -> None:
        """Remove a candidate whose trial never ended."""
        where = (candidates.c.study == study, candidates.c.candidate == candidate)
        with self._store.transaction() as conn:
            conn.execute(candidates.delete().where(*where))

    def all(self, study: str, only: Sequence[str] | None = None) -> tuple[CandidateRow, ...]:
        """The candidates of a study in the order of their trials; `only` these ids where given."""
        where = [candidates.c.study == study]
        if only is not None:
            where.append(candidates.c.candidate.in_(only))
        select = sa.select(candidates).where(*where).order_by(candidates.c.number, candidates.c.candidate)
        with self._store.reading() as conn:
            return tuple(_row(row) for row in conn.execute(select))


def content_of(candidate: Candidate) -> dict[str, Any]:
    """What a candidate is, as JSON values: everything but the names of its variants."""
    return {name: _plain(getattr(candidate, field)) for name, field in _CONTENT.items()}


def candidate_from(params: Mapping[str, Scalar], content: Mapping[str, Any]) -> Candidate:
    """The inverse of `content_of`."""
    fields = {_CONTENT[name]: value for name, value in content.items()}
    return Candidate(params=params, **{**fields, "demo_kind": DemoKind(fields["demo_kind"])})


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value) if isinstance(value, DemoKind) else value


def _values(row: CandidateRow) -> dict[str, Any]:
    return {
        "candidate": row.id,
        "number": row.number,
        "state": str(row.state),
        "params": dict(row.params),
        "content": content_of(row.candidate),
        "origin": dict(row.origin),
        "reason": row.reason,
    }


def _row(row: Any) -> CandidateRow:
    return CandidateRow(
        candidate=candidate_from(row.params, row.content),
        number=row.number,
        state=CandidateState(row.state),
        origin=row.origin,
        reason=row.reason,
        stored_id=row.candidate,
    )
