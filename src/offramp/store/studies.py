"""Studies by name, and the lease that lets only one process run a study at a time.

Invariant: a lease has one holder. It ends when it is released, when its time is up, or when its process is seen dead on
this host; a holder that lost it learns so at the next renewal and has to stop.
"""

from __future__ import annotations

import datetime as dt
import enum
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from offramp.errors import JobError, StorageError, nearest, problem
from offramp.store.engine import Store
from offramp.store.owners import Owner, owner_alive
from offramp.store.tables import leases, storable, studies


class StudyStatus(enum.StrEnum):
    """Where a study stands. `stopped` ended by a cap or by a person and can go on; `failed` by a fault."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One study.

    Attributes:
        space_json: the space file as it was run.
        created_at, updated_at: UTC, ISO 8601 with microseconds; set by the store where empty.
        stop_reason: why it stands as it does; None while running.
        summary_json: what the search wrote at its end; None before.
        extra: anything else, JSON values.
    """

    name: str
    space_name: str
    space_json: str
    space_hash: str
    task_hash: str
    seed: int
    created_at: str = ""
    updated_at: str = ""
    status: StudyStatus = StudyStatus.RUNNING
    stop_reason: str | None = None
    summary_json: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to run one study, held by whoever got this record."""

    study: str
    id: str


_FIXED = frozenset({"name", "created_at", "updated_at"})
_CHANGEABLE = frozenset(f.name for f in fields(StudyRow)) - _FIXED


class StudyStore:
    """The studies of a storage.

    Args:
        store: where.
        clock: seconds since the epoch, as other hosts see them too.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def create_or_get(self, row: StudyRow) -> StudyRow:
        """Keep `row` as a new study, or return the study that already has its name, unchanged."""
        now = self._now()
        values = {**asdict(row), "created_at": row.created_at or now, "updated_at": now, "extra": dict(row.extra)}
        insert = postgresql.insert(studies) if self._store.dialect == "postgresql" else sqlite.insert(studies)
        with self._store.transaction() as conn:
            conn.execute(insert.values(**values).on_conflict_do_nothing(index_elements=["name"]))
            return _study(conn.execute(sa.select(studies).where(studies.c.name == row.name)).one())

    def update(self, name: str, **changes: Any) -> StudyRow:
        """Change fields of a study; `updated_at` follows.

        Raises:
            StorageError: no such study.
            TypeError: a field that StudyRow does not have, or that never changes.
        """
        if unknown := sorted(set(changes) - _CHANGEABLE):
            raise TypeError(f"fields of a study that cannot be changed: {unknown}")
        with self._store.transaction() as conn:
            where = studies.c.name == name
            done = conn.execute(studies.update().where(where).values(**changes, updated_at=self._now()))
            row = conn.execute(sa.select(studies).where(where)).one() if done.rowcount else None
        return _study(row) if row is not None else self.get(name)

    def get(self, name: str) -> StudyRow:
        """The study of this name.

        Raises:
            StorageError: there is none; the message names what is near.
        """
        with self._store.reading() as conn:
            row = conn.execute(sa.select(studies).where(studies.c.name == storable(name))).first()
            known = [] if row is not None else list(conn.scalars(sa.select(studies.c.name)))
        if row is None:
            do = nearest(name, known) or ("It has: " + ", ".join(sorted(known)[:10]) + "." if known else "It has none.")
            raise StorageError(problem(self._store.url, "no such study", got=name, do=do))
        return _study(row)

    def find(self, name: str) -> StudyRow | None:
        """The study of this name; None where there is none."""
        with self._store.reading() as conn:
            row = conn.execute(sa.select(studies).where(studies.c.name == storable(name))).first()
        return None if row is None else _study(row)

    def list(self) -> tuple[StudyRow, ...]:
        """All studies, the newest first."""
        order = (studies.c.created_at.desc(), studies.c.name)
        with self._store.reading() as conn:
            return tuple(_study(row) for row in conn.execute(sa.select(studies).order_by(*order)))

    def acquire_lease(
        self, study: str, owner: Owner, ttl_s: float = 60.0, *, alive: Callable[[Owner], bool] = owner_alive
    ) -> Lease:
        """Take the right to run `study` for `ttl_s` seconds; renew it at a third of that.

        Raises:
            JobError: a process that lives, or may live, holds it.
        """
        lease = Lease(study=study, id=uuid.uuid4().hex)
        values = {"study": study, "id": lease.id, **asdict(owner), "expires_at": self._clock() + ttl_s}
        try:
            with self._store.transaction() as conn:
                held = conn.execute(sa.select(leases).where(leases.c.study == study).with_for_update()).first()
                if held is not None and self._holds(held, alive):
                    raise _busy(study, held.pid, held.host)
                conn.execute(leases.delete().where(leases.c.study == study))
                conn.execute(leases.insert().values(**values))
        except exc.IntegrityError:  # two took a free lease at the same time, and the other was first
            raise JobError(problem("", f"study {study} is being run by another process", do="Wait for it.")) from None
        return lease

    def renew(self, lease: Lease, ttl_s: float = 60.0) -> None:
        """Keep a lease for `ttl_s` seconds from now.

        Raises:
            JobError: it was lost to another process; stop writing.
        """
        mine = sa.and_(leases.c.study == lease.study, leases.c.id == lease.id)
        with self._store.transaction() as conn:
            kept = conn.execute(leases.update().where(mine).values(expires_at=self._clock() + ttl_s)).rowcount
        if kept != 1:
            where = f"study {lease.study}"
            raise JobError(problem(where, "another process took it over", do="Let that one finish."))

    def release(self, lease: Lease) -> None:
        """Give a lease back; nothing happens where it was lost."""
        with self._store.transaction() as conn:
            conn.execute(leases.delete().where(leases.c.study == lease.study, leases.c.id == lease.id))

    def _holds(self, held: Any, alive: Callable[[Owner], bool]) -> bool:
        return held.expires_at > self._clock() and alive(Owner(host=held.host, pid=held.pid, token=held.token))

    def _now(self) -> str:
        return dt.datetime.fromtimestamp(self._clock(), dt.UTC).isoformat(timespec="microseconds")


def _busy(study: str, pid: int, host: str) -> JobError:
    do = "Wait for it or stop it; its lease ends by itself a minute after it dies."
    return JobError(problem("", f"study {study} is being run by pid {pid} on host {host}", do=do))


def _study(row: Any) -> StudyRow:
    plain = {f.name: getattr(row, f.name) for f in fields(StudyRow) if f.name != "status"}
    return StudyRow(**plain, status=StudyStatus(row.status))
