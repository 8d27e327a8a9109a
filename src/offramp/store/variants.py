"""Instructions that a study has beside those of its space file: proposed by a model, or taken over from another study.

A row is written when it is decided whether a text joins the search, and never changes. What was dropped stays too, with
the reason, so that a proposer's work can be judged; a job that goes on knows from the rows which proposals are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from offramp.records import Scalar
from offramp.store.engine import Store
from offramp.store.tables import variants


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One text.

    Attributes:
        number: its place in the study, from 0.
        predictor: whose instruction it is.
        kind: `data` or `reflection` for a proposal; `study` for one of the study that this one started from.
        round: of proposals, from 1; 0 for what was there at the start.
        name: value of the instruction param; None for a dropped text.
        text: None where it was dropped and texts are not kept.
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
        """Keep variants; one that is there already stays as it is."""
        if not rows:
            return
        insert = postgresql.insert(variants) if self._store.dialect == "postgresql" else sqlite.insert(variants)
        values = [{"study": study, **row.to_json()} for row in rows]
        with self._store.transaction() as conn:
            conn.execute(insert.on_conflict_do_nothing(index_elements=["study", "number"]), values)

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
