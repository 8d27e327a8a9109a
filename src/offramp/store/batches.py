"""Requests that are out in a batch: written before the batch is submitted, together with the money reserved for them.

A row is removed in the transaction that books its answer, so a job that was killed finds every request that the
provider may be working on, waits for it, and books it once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from offramp.store.budget import Budget, BudgetExceeded, Reservation
from offramp.store.engine import Store
from offramp.store.tables import batch_lines, reservations


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One request of a batch.

    Attributes:
        id: what the provider calls it by. batch: our own name of the batch.
        reservation: None where it is no longer open; then nothing is left to book.
        remote: what the provider calls the batch; None until it is known.
        written_at: Unix time.
    """

    id: str
    batch: str
    request_hash: str
    reservation: Reservation | None
    remote: str | None
    written_at: float


class BatchLines:
    """The lines of one study."""

    def __init__(self, store: Store, study: str) -> None:
        self._store, self._study = store, study

    def out(self) -> list[BatchLine]:
        """All that have no booked answer, in order."""
        held = reservations.c
        columns = (held.id.label("held"), held.nano, held.calls)
        joined = batch_lines.outerjoin(reservations, held.id == batch_lines.c.reservation)
        select = sa.select(batch_lines, *columns).select_from(joined).where(batch_lines.c.study == self._study)
        with self._store.reading() as conn:
            rows = conn.execute(select.order_by(batch_lines.c.id)).all()
        return [
            BatchLine(
                id=row.id, batch=row.batch, request_hash=row.request_hash, remote=row.remote,
                written_at=row.written_at,
                reservation=None if row.held is None else Reservation(
                    id=row.held, nano=row.nano, calls=row.calls, asked_nano=row.asked_nano
                ),
            )
            for row in rows
        ]  # fmt: skip

    def write(self, batch: str, asked: Sequence[tuple[str, float]], budget: Budget) -> list[BatchLine | BudgetExceeded]:
        """For each `(request hash, USD)` its line with the money reserved, or why there is no room for it."""
        now, found = time.time(), list[BatchLine | BudgetExceeded]()
        with self._store.transaction() as conn:
            made = budget.reserve_many(conn, [(usd, 1) for _, usd in asked])
            for index, ((request_hash, _), one) in enumerate(zip(asked, made, strict=True)):
                if isinstance(one, BudgetExceeded):
                    found.append(one)
                elif isinstance(one, Exception):
                    raise one
                else:
                    line = BatchLine(
                        id=f"{batch}-{index}", batch=batch, request_hash=request_hash, reservation=one(), remote=None,
                        written_at=now,
                    )  # fmt: skip
                    found.append(line)
            if rows := [self._row(line) for line in found if isinstance(line, BatchLine)]:
                conn.execute(batch_lines.insert(), rows)
        return found

    def submitted(self, batch: str, remote: str) -> None:
        """The provider has a batch, and calls it that."""
        with self._store.transaction() as conn:
            conn.execute(batch_lines.update().where(batch_lines.c.batch == batch).values(remote=remote))

    def withdraw(self, lines: Sequence[BatchLine], budget: Budget) -> None:
        """Requests that certainly never left: no money, no call."""
        held = [line.reservation for line in lines if line.reservation is not None]
        with self._store.transaction() as conn:
            ended = budget.release_many(conn, held)
            conn.execute(batch_lines.delete().where(batch_lines.c.id.in_([line.id for line in lines])))
        for end in ended:
            end()

    def remotes(self) -> set[str]:
        """What providers call the batches that are out, of every study; not those that have ended and are booked."""
        with self._store.reading() as conn:
            return {remote for remote in conn.scalars(sa.select(batch_lines.c.remote).distinct()) if remote}

    def _row(self, line: BatchLine) -> dict[str, object]:
        assert line.reservation is not None
        return {
            "id": line.id, "batch": line.batch, "study": self._study, "request_hash": line.request_hash,
            "reservation": line.reservation.id, "asked_nano": line.reservation.asked_nano, "remote": None,
            "written_at": line.written_at,
        }  # fmt: skip


def forget_lines(conn: sa.Connection, ids: Sequence[str]) -> None:
    """Within the transaction that books them: these requests are out no more."""
    conn.execute(batch_lines.delete().where(batch_lines.c.id.in_(ids)))
