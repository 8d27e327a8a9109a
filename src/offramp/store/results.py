"""Results: one candidate on one example of one split, kept so that a resumed study runs nothing twice.

The split is part of the key: the same example id in two splits never answers for the other. Isolated latency
measurements are separate from results and kept run by run, so that any quantile can be read later.

Invariant: the timed runs of a candidate are of one probe; a later probe replaces them as a whole.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from offramp.records import PROMPT_TOO_LONG, SAME_SCORE, Ending, Replicate, Result, ResultState, Split, Usage
from offramp.store.engine import Store
from offramp.store.tables import probes, results

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
        if results_:
            with self._store.transaction() as conn:
                self.put_many(conn, [(study, split, result) for result in results_])

    def put_many(
        self, conn: sa.Connection, found: Sequence[tuple[str, Split | str, Result]]
    ) -> list[Callable[[], None]]:
        """For `Groups`: writes results of `(study, split, result)` as `put` does."""
        latest = {(study, str(split), r.candidate, r.example): r for study, split, r in found}
        rows = [{"study": study, "split": split, **self._row(r)} for (study, split, *_), r in latest.items()]
        conn.execute(self._store.upsert(results), rows)
        return [_nothing] * len(found)

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

    def unanswered(self, study: str, split: Split | str, candidates: Collection[str]) -> dict[str, list[Result]]:
        """By each of these candidates, results without a score, and those that a provider's own refusal has decided."""
        c = results.c
        decided = sa.or_(
            c.score.is_(None), c.ending.in_([Ending.FILTERED, Ending.REFUSED]), c.reason.startswith(PROMPT_TOO_LONG)
        )  # fmt: skip
        found = self._select(study, split, c.candidate.in_(list(candidates)), decided)
        return {candidate: list(found.get(candidate, {}).values()) for candidate in candidates}

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
        plain["replicates"] = None if result.replicates is None else [asdict(one) for one in result.replicates]
        row = {**plain, "parts": dict(result.parts), **{name: getattr(result.usage, name) for name in _USAGE}}
        row["outputs"] = None if result.outputs is None else dict(result.outputs)
        return row if self._store_text else {**row, "outputs": None, "reason": None}


def _nothing() -> None:
    """What a written result returns."""


def _result(row: Any) -> Result:
    read = ("usage", "state", "ending", "replicates")
    plain = {f.name: getattr(row, f.name) for f in fields(Result) if f.name not in read}
    usage = Usage(**{name: getattr(row, name) for name in _USAGE})
    ending = None if row.ending is None else Ending(row.ending)
    runs = None if row.replicates is None else tuple(_replicate(one) for one in row.replicates)
    return Result(**plain, state=ResultState(row.state), usage=usage, ending=ending, replicates=runs)


def _replicate(stored: Mapping[str, Any]) -> Replicate:
    return Replicate(**{**stored, "state": ResultState(stored["state"]), "usage": Usage(**stored["usage"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedCounts:
    """One candidate against another: on `n` examples that both have a score for, `wins` and `losses`, the rest ties."""

    n: int
    wins: int
    losses: int


def counts_against(store: Store, study: str, split: Split | str, reference: str) -> dict[str, PairedCounts]:
    """Counts of every candidate of a split against `reference`, by id, itself left out: one query for all of them."""
    one, other = results.alias("one"), results.alias("other")
    same = (other.c.study == one.c.study, other.c.split == one.c.split, other.c.example == one.c.example)
    gain = one.c.score - other.c.score
    counts = (
        sa.func.count().label("n"),
        sa.func.sum(sa.case((gain > SAME_SCORE, 1), else_=0)).label("wins"),
        sa.func.sum(sa.case((gain < -SAME_SCORE, 1), else_=0)).label("losses"),
    )
    where = [one.c.study == study, one.c.split == str(split), one.c.candidate != reference]
    where += [other.c.candidate == reference, one.c.score.is_not(None), other.c.score.is_not(None)]
    joined = one.join(other, sa.and_(*same))
    select = sa.select(one.c.candidate, *counts).select_from(joined).where(*where).group_by(one.c.candidate)
    with store.reading() as conn:
        return {
            row.candidate: PairedCounts(n=row.n, wins=int(row.wins), losses=int(row.losses))
            for row in conn.execute(select)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRun:
    """One timed run: the sum of its requests' wall clocks, queue time apart."""

    example: str
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRuns:
    """The probe of one candidate.

    Attributes:
        concurrency: runs at the same time while it was measured.
        measured_at: UTC, ISO 8601.
        latencies_s: in the order of the runs, warm-up left out.
    """

    candidate: str
    concurrency: int
    measured_at: str
    latencies_s: tuple[float, ...]


class ProbeStore:
    """Probes of every study of a storage."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, study: str, runs: Mapping[str, Sequence[ProbeRun]], *, concurrency: int) -> dict[str, ProbeRuns]:
        """Keep the runs of each candidate, in place of an earlier probe's; one without runs keeps what it has.

        Returns:
            What was kept, by candidate id.
        """
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        rows = [
            {
                "study": study, "candidate": candidate, "number": number, "example": run.example,
                "latency_s": run.latency_s, "concurrency": concurrency, "measured_at": now,
            }
            for candidate, found in runs.items() for number, run in enumerate(found)
        ]  # fmt: skip
        if not rows:
            return {}
        replaced = [candidate for candidate, found in runs.items() if found]
        with self._store.transaction() as conn:
            conn.execute(probes.delete().where(probes.c.study == study, probes.c.candidate.in_(replaced)))
            conn.execute(probes.insert(), rows)
        return {
            candidate: ProbeRuns(
                candidate=candidate,
                concurrency=concurrency,
                measured_at=now,
                latencies_s=tuple(run.latency_s for run in runs[candidate]),
            )
            for candidate in replaced
        }

    def all(self, study: str) -> dict[str, ProbeRuns]:
        """The probes of a study by candidate id."""
        order = (probes.c.candidate, probes.c.number)
        with self._store.reading() as conn:
            rows = conn.execute(sa.select(probes).where(probes.c.study == study).order_by(*order)).all()
        found: dict[str, list[sa.Row[tuple[object, ...]]]] = {}
        for row in rows:
            found.setdefault(row.candidate, []).append(row)
        return {
            candidate: ProbeRuns(
                candidate=candidate,
                concurrency=runs[0].concurrency,
                measured_at=runs[0].measured_at,
                latencies_s=tuple(run.latency_s for run in runs),
            )
            for candidate, runs in found.items()
        }
