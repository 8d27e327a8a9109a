"""Isolated latency measurements of candidates, run by run, so that any quantile can be read later.

Invariant: the runs of a candidate are of one probe; a later probe replaces them as a whole.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from offramp.store.engine import Store
from offramp.store.tables import probes


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

    def put(self, study: str, runs: Mapping[str, Sequence[ProbeRun]], *, concurrency: int) -> None:
        """Keep the runs of each candidate, in place of an earlier probe's; one without runs keeps what it has."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        rows = [
            {
                "study": study, "candidate": candidate, "number": number, "example": run.example,
                "latency_s": run.latency_s, "concurrency": concurrency, "measured_at": now,
            }
            for candidate, found in runs.items() for number, run in enumerate(found)
        ]  # fmt: skip
        if not rows:
            return
        replaced = [candidate for candidate, found in runs.items() if found]
        with self._store.transaction() as conn:
            conn.execute(probes.delete().where(probes.c.study == study, probes.c.candidate.in_(replaced)))
            conn.execute(probes.insert(), rows)

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
