"""The waves of a study: which cells were decided on together, written before they run.

A job that was killed runs the same cells, and decides the next wave from the same results. A wave also says which
candidates joined the pool before it, in the order of their indices, and which of their cells were known already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from offramp.records import Scalar
from offramp.store.engine import Store
from offramp.store.tables import waves


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveRow:
    """One wave.

    Attributes:
        number: from 0.
        purpose: `search`, `complete` or `again`.
        cells: pairs of a candidate's index and ids of examples, in the order in which they are run.
        joined: params of candidates that joined the pool before this wave.
        first: indices of those that are looked at before others.
        known: pairs of an index and ids of examples: results that candidates had when they joined.
        model: what the race's model had learnt when the wave was decided, as JSON.
    """

    number: int
    purpose: str
    cells: Sequence[tuple[int, Sequence[str]]]
    joined: Sequence[Mapping[str, Scalar]] = ()
    first: Sequence[int] = ()
    known: Sequence[tuple[int, Sequence[str]]] = ()
    model: Mapping[str, Any] = field(default_factory=dict)


class WaveStore:
    """Waves of every study of a storage."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, study: str, row: WaveRow) -> None:
        """Stores a wave that is about to run."""
        content = {
            "purpose": row.purpose, "cells": row.cells, "joined": [dict(params) for params in row.joined],
            "first": list(row.first), "known": row.known, "model": dict(row.model),
        }  # fmt: skip
        with self._store.transaction() as conn:
            conn.execute(waves.insert().values(study=study, number=row.number, content=content))

    def all(self, study: str) -> list[WaveRow]:
        """The waves of a study in order."""
        select = sa.select(waves.c.number, waves.c.content).where(waves.c.study == study).order_by(waves.c.number)
        with self._store.reading() as conn:
            return [_row(row.number, row.content) for row in conn.execute(select)]


def _row(number: int, content: Mapping[str, Any]) -> WaveRow:
    pairs = {name: [(index, tuple(ids)) for index, ids in content[name]] for name in ("cells", "known")}
    return WaveRow(number=number, **{**content, **pairs})
