"""The candidates of a study: what each is, in full, and how its trial ended; and instructions beside its space file's.

A candidate's row is written when its trial ends, so that a study can be shown, promoted from and continued from without
its space file. A later row for the same candidate replaces the earlier one.

An instruction (a variant) was proposed by a model or taken over from another study. Its row is written once, when it is
decided whether the text joins the search. Dropped texts stay too, with the reason, so that a proposer's work can be
judged; a job that continues knows from the rows which proposals were made.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import sqlalchemy as sa

from offramp.records import Candidate, DemoKind, Scalar
from offramp.store.engine import Store
from offramp.store.tables import candidates, variants

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
            or `proposal`, the last two with `parents`. `cells` says which study its first results were copied from,
            `requests` (a hash) and `sent` what its runs on the search split sent. `open` marks one that a later run of
            the job goes on with, `estimate` what is expected of it where it is likely on the front.
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
    def sent(self) -> Mapping[str, Any]:
        """What was sent that its params do not say: param to predictor to values; empty where they say it."""
        return dict(self.origin.get("sent") or {})

    @property
    def params(self) -> Mapping[str, Scalar]:
        """Its full assignment."""
        return self.candidate.params


class CandidateStore:
    """Candidates of every study of a storage."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, study: str, row: CandidateRow) -> None:
        """Keeps a candidate, in place of an earlier row of it."""
        values = {
            "study": study,
            "candidate": row.id,
            "number": row.number,
            "state": str(row.state),
            "params": dict(row.params),
            "content": content_of(row.candidate),
            "origin": dict(row.origin),
            "reason": row.reason,
        }
        with self._store.transaction() as conn:
            conn.execute(self._store.upsert(candidates), [values])

    def ended(self, study: str) -> int:
        """How many candidates of a study have been tried to their end."""
        select = sa.select(candidates.c.origin).where(candidates.c.study == study)
        with self._store.reading() as conn:
            return sum(not origin.get("open") for origin in conn.scalars(select))

    def drop(self, study: str, candidate: str) -> None:
        """Removes a candidate whose trial never ended."""
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
    found = {stored: getattr(candidate, name) for stored, name in _CONTENT.items()}
    mappings = {name: dict(value) for name, value in found.items() if isinstance(value, Mapping)}
    more: dict[str, Any] = {"models": dict(candidate.models)} if candidate.models else {}
    if candidate.tools != "text":
        more["tools"] = candidate.tools
    if candidate.predictor_params:
        more["predictor_params"] = {name: dict(params) for name, params in candidate.predictor_params.items()}
    return {**found, **mappings, "demo_kind": str(candidate.demo_kind), **more}


def _row(row: Any) -> CandidateRow:
    content = {_CONTENT.get(stored, stored): value for stored, value in row.content.items()}
    return CandidateRow(
        candidate=Candidate(params=row.params, **{**content, "demo_kind": DemoKind(content["demo_kind"])}),
        number=row.number,
        state=CandidateState(row.state),
        origin=row.origin,
        reason=row.reason,
        stored_id=row.candidate,
    )


# ------------------------------------------------------------------------------------------------------- variants


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One instruction beside those of the space file.

    Attributes:
        number: its position in the study, from 0.
        predictor: whose instruction it is.
        kind: `data` or `reflection` for a proposal; `study` for one of the study that this one started from.
        round: of proposals, from 1; 0 for a text that the study started with.
        name: value of the instruction param; None for a dropped text.
        text: None for a dropped text where texts are not stored.
        reason: why it was dropped; None for one that joined.
        parents: ids of the candidates that it comes from.
        params: the assignment to try it with first; None where there is none.
        model: who wrote it; None where that is not known.
    """

    number: int
    predictor: str
    kind: str
    round: int
    name: str | None
    text: str | None
    reason: str | None = None
    parents: tuple[str, ...] = ()
    params: Mapping[str, Scalar] | None = None
    model: str | None = None

    @property
    def joined(self) -> bool:
        """Whether the search may choose it."""
        return self.name is not None and self.text is not None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "parents": list(self.parents)}


class VariantStore:
    """Variants of every study of a storage."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, study: str, *rows: Variant) -> None:
        """Keeps variants; one that is stored already stays as it is."""
        if not rows:
            return
        values = [{"study": study, **row.to_json()} for row in rows]
        with self._store.transaction() as conn:
            conn.execute(self._store.insert_if_absent(variants), values)

    def all(self, study: str) -> tuple[Variant, ...]:
        """The variants of a study in order."""
        select = sa.select(variants).where(variants.c.study == study).order_by(variants.c.number)
        with self._store.reading() as conn:
            return tuple(_variant(row) for row in conn.execute(select))


def texts_of(rows: tuple[Variant, ...]) -> dict[str, dict[str, str]]:
    """The texts that joined: predictor to name to text, in order."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if row.name is not None and row.text is not None:
            found.setdefault(row.predictor, {})[row.name] = row.text
    return found


def _variant(row: Any) -> Variant:
    plain = {f.name: getattr(row, f.name) for f in fields(Variant) if f.name != "parents"}
    return Variant(**plain, parents=tuple(row.parents))
