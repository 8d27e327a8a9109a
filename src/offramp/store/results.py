"""Results: one candidate on one example of one split, kept so that a resumed study runs nothing twice.

The split is part of the key: the same example id in two splits never answers for the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from offramp.records import Result, ResultState, Split, Usage
from offramp.store.engine import Store
from offramp.store.tables import results

_KEY = ("study", "split", "candidate", "example")
_USAGE = tuple(f.name for f in fields(Usage))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """Physical requests of a candidate's runs, and answers that they had from the ledger."""

    calls: int
    cached_calls: int


class ResultStore:
    """Results of every study of a storage.

    Args:
        store: where.
        store_text: when false, outputs and reasons are not kept: they could quote the data.
    """

    def __init__(self, store: Store, store_text: bool = True) -> None:
        self._store, self._store_text = store, store_text

    def put(self, study: str, split: Split | str, results_: Sequence[Result]) -> None:
        """Write results; a later one for the same candidate and example replaces the earlier one."""
        latest = {(r.candidate, r.example): r for r in results_}
        if not latest:
            return
        rows = [{"study": study, "split": str(split), **self._row(r)} for r in latest.values()]
        insert = postgresql.insert(results) if self._store.dialect == "postgresql" else sqlite.insert(results)
        changed = {c.name: insert.excluded[c.name] for c in results.c if c.name not in _KEY}
        with self._store.transaction() as conn:
            conn.execute(insert.on_conflict_do_update(index_elements=list(_KEY), set_=changed), rows)

    def get(self, study: str, split: Split | str, candidate: str) -> dict[str, Result]:
        """Results of one candidate by example id; empty where it never ran."""
        return self._select(study, split, results.c.candidate == candidate).get(candidate, {})

    def all(self, study: str, split: Split | str) -> dict[str, dict[str, Result]]:
        """Every result of one split: by candidate, then by example id."""
        return self._select(study, split)

    def some(self, study: str, split: Split | str, candidates: Collection[str]) -> dict[str, dict[str, Result]]:
        """Results of some candidates: by candidate, then by example id; those that never ran are left out."""
        return self._select(study, split, results.c.candidate.in_(list(candidates)))

    def scores(self, study: str, split: Split | str, candidates: Collection[str]) -> dict[str, dict[str, float]]:
        """The scores alone: by each of these candidates, then by example id; results without a score are left out."""
        c = results.c
        where = (c.study == study, c.split == str(split), c.candidate.in_(list(candidates)), c.score.is_not(None))
        select = sa.select(c.candidate, c.example, c.score).where(*where).order_by(c.candidate, c.example)
        found: dict[str, dict[str, float]] = {candidate: {} for candidate in candidates}
        with self._store.reading() as conn:
            for candidate, example, score in conn.execute(select):
                found[candidate][example] = score
        return found

    def call_counts(self, study: str, split: Split | str) -> dict[str, CallCounts]:
        """Calls by candidate. Reads every result of the split: a second or two for a million."""
        c = results.c
        sums = (sa.func.sum(c.calls).label("calls"), sa.func.sum(c.cached_calls).label("cached"))
        select = sa.select(c.candidate, *sums).where(c.study == study, c.split == str(split)).group_by(c.candidate)
        with self._store.reading() as conn:
            rows = conn.execute(select).all()
        return {row.candidate: CallCounts(calls=int(row.calls), cached_calls=int(row.cached)) for row in rows}

    def _select(self, study: str, split: Split | str, *more: sa.ColumnElement[bool]) -> dict[str, dict[str, Result]]:
        c = results.c
        select = sa.select(results).where(c.study == study, c.split == str(split), *more)
        found: dict[str, dict[str, Result]] = {}
        with self._store.reading() as conn:
            for row in conn.execute(select.order_by(c.candidate, c.example)):
                found.setdefault(row.candidate, {})[row.example] = _result(row)
        return found

    def _row(self, result: Result) -> dict[str, Any]:
        plain = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "usage"}
        row = {**plain, "parts": dict(result.parts), **{name: getattr(result.usage, name) for name in _USAGE}}
        row["outputs"] = None if result.outputs is None else dict(result.outputs)
        return row if self._store_text else {**row, "outputs": None, "reason": None}


def _result(row: Any) -> Result:
    plain = {f.name: getattr(row, f.name) for f in fields(Result) if f.name not in ("usage", "state")}
    usage = Usage(**{name: getattr(row, name) for name in _USAGE})
    return Result(**plain, state=ResultState(row.state), usage=usage)
