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
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from offramp.errors import JobError, StorageError, nearest, problem
from offramp.ids import content_hash
from offramp.records import Objective, Price, Scalar
from offramp.store.engine import Store
from offramp.store.owners import Owner, owner_alive
from offramp.store.tables import candidates, leases, probes, storable, studies, summaries


class StudyStatus(enum.StrEnum):
    """Where a study stands. `stopped` ended by a cap or by a person and can go on; `failed` by a fault."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstCandidate:
    """An assignment that the old front gives: `candidate` is its id here, `parent` that of the old member.

    Attributes:
        same: whether both ids are the same.
    """

    params: Mapping[str, Scalar]
    candidate: str
    parent: str
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorTrial:
    """A finished trial of the old study: the params that this space has too, and what the candidate came to."""

    candidate: str
    params: Mapping[str, Scalar]
    quality: float | None
    cost_usd: float | None
    latencies_s: Mapping[str, float | None]

    def latency_s(self, statistic: str = "p50") -> float | None:
        """Seconds of one run, by `mean` or a percentile."""
        return self.latencies_s.get(statistic)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What was taken over from the study that this one started from.

    Attributes:
        study: its name. storage: where it was, without a password.
        same_task: whether its scores say the same as this study's.
        notes: what could not be used and why, in words.
        first: what goes first, the best first.
        prior: trials that the sampler learns from.
        reused: by candidate, how many of its results on the search split were taken over.
        sent: by candidate all of whose results were, what its record says of its requests there.
    """

    study: str
    storage: str
    same_task: bool
    notes: tuple[str, ...] = ()
    first: tuple[FirstCandidate, ...] = ()
    prior: tuple[PriorTrial, ...] = ()
    reused: Mapping[str, int] = field(default_factory=dict)
    sent: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        found = asdict(self)
        prior = [{"latency_s": one.pop("latencies_s"), **one} for one in found.pop("prior")]
        if not self.sent:  # as before it was kept
            del found["sent"]
        return {"prior": prior, "cells": found.pop("reused"), **found}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> WarmStart:
        """The inverse of `to_json`."""
        return cls(
            study=stored["study"],
            storage=stored["storage"],
            same_task=stored.get("same_task", True),
            notes=tuple(stored.get("notes", ())),
            first=tuple(FirstCandidate(**one) for one in stored.get("first", ())),
            prior=tuple(
                PriorTrial(latencies_s=one.pop("latency_s"), **one) for one in map(dict, stored.get("prior", ()))
            ),
            reused=stored.get("cells", {}),
            sent=stored.get("sent", {}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedModel:
    """A model that its provider no longer had when the study asked: no candidate of it is run, the others went on.

    Attributes:
        model: its name in the space file.
        retired: whether the provider said that it has retired or was renamed; else it is unknown there.
        said: what the provider said; empty where texts are not kept.
        successors: named by your own notice or the vendor.
        incumbent: whether the incumbent uses it.
        used_by: params whose values choose it, where a single predictor may run on it; empty where only `model` does.
    """

    model: str
    retired: bool
    said: str
    successors: tuple[str, ...] = ()
    incumbent: bool = False
    used_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def is_used(self, params: Mapping[str, Any]) -> bool:
        """Whether a candidate with these params asks it."""
        used_by = self.used_by or {"model": (self.model,)}
        return any(params.get(name) in values for name, values in used_by.items())

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        used_by = {name: list(values) for name, values in self.used_by.items()}
        stored = {**asdict(self), "successors": list(self.successors)}
        return {**stored, "used_by": used_by} if used_by else {n: v for n, v in stored.items() if n != "used_by"}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ParkedModel:
        """The inverse of `to_json`."""
        used_by = {name: tuple(values) for name, values in stored.get("used_by", {}).items()}
        return cls(**{**stored, "successors": tuple(stored["successors"]), "used_by": used_by})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUnderWay:
    """How far the run that is under way was, when it last told.

    Attributes:
        at: when; UTC, ISO 8601.
        share, remaining_s, most_s: as of `study.domain.pace.Pace`.
    """

    at: str
    share: float | None
    remaining_s: float | None
    most_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDetails:
    """What a study ran with, beside its space file. What an earlier version did not write is empty or None.

    Attributes:
        prices: by model name, as they were then; None for a model without one.
        texts: instructions of the space file, by predictor and name.
        models: by model name, `Model.identity`.
        dataset_hash, splits_hash, metric_hash: of the task.
        space_file: where the space file was.
        code: content hash by name of what the user's own module is made of.
        examples: how many each split has.
        groups: group by example id, of examples that belong together.
        versions: of the packages that it ran with.
        objectives: with their scales fixed; empty before the incumbent was evaluated.
        incumbent: candidate id of what runs today; None where there is none, and before it was evaluated.
        warm: what was taken over from another study; None for a start from nothing.
        parked: models that no longer answered.
        run: the run that is under way; None once it ended.
    """

    prices: Mapping[str, Price | None] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    models: Mapping[str, tuple[str, str | None, str | None]] = field(default_factory=dict)
    dataset_hash: str | None = None
    splits_hash: str | None = None
    metric_hash: str | None = None
    space_file: str | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    objectives: tuple[Objective, ...] = ()
    incumbent: str | None = None
    warm: WarmStart | None = None
    parked: tuple[ParkedModel, ...] = ()
    run: RunUnderWay | None = None

    def with_parked(self, parked: ParkedModel) -> StudyDetails:
        """The same with one more model that no longer answered."""
        others = (one for one in self.parked if one.model != parked.model)
        return replace(self, parked=(*others, parked))

    def to_json(self) -> dict[str, Any]:
        """As it is stored; what is empty or not known is left out."""
        task = {"dataset": self.dataset_hash, "splits": self.splits_hash, "metric": self.metric_hash}
        found: dict[str, Any] = {
            "prices": {name: None if price is None else price.to_json() for name, price in self.prices.items()},
            "texts": {predictor: dict(texts) for predictor, texts in self.texts.items()},
            "models": {name: list(identity) for name, identity in self.models.items()},
            "task": {name: value for name, value in task.items() if value is not None},
            "space_file": self.space_file,
            "code": dict(self.code),
            "examples": dict(self.examples),
            "groups": dict(self.groups),
            "versions": dict(self.versions),
            "objectives": [{**asdict(one), "scale": one.scale and list(one.scale)} for one in self.objectives],
            "warm": None if self.warm is None else self.warm.to_json(),
            "parked": [one.to_json() for one in self.parked],
            "run": None if self.run is None else asdict(self.run),
        }
        kept = {name: value for name, value in found.items() if value}
        return {**kept, "incumbent": self.incumbent} if self.objectives else kept

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StudyDetails:
        """The inverse of `to_json`."""
        task, warm = stored.get("task", {}), stored.get("warm")
        objectives = [{**one, "scale": one["scale"] and tuple(one["scale"])} for one in stored.get("objectives", ())]
        return cls(
            prices={
                name: None if price is None else Price.from_json(price)
                for name, price in stored.get("prices", {}).items()
            },
            texts=stored.get("texts", {}),
            models={name: tuple(identity) for name, identity in stored.get("models", {}).items()},
            dataset_hash=task.get("dataset"),
            splits_hash=task.get("splits"),
            metric_hash=task.get("metric"),
            space_file=stored.get("space_file"),
            code=stored.get("code", {}),
            examples=stored.get("examples", {}),
            groups=stored.get("groups", {}),
            versions=stored.get("versions", {}),
            objectives=tuple(Objective(**one) for one in objectives),
            incumbent=stored.get("incumbent"),
            warm=None if warm is None else WarmStart.from_json(warm),
            parked=tuple(ParkedModel.from_json(one) for one in stored.get("parked", ())),
            run=RunUnderWay(**stored["run"]) if "share" in stored.get("run", {}) else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One study.

    Attributes:
        space_json: the space file as it was run.
        created_at, updated_at: UTC, ISO 8601 with microseconds; set by the store where empty.
        stop_reason: why it stands as it does; None while running.
        summary_json: what the search wrote at its end; None before.
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
    details: StudyDetails = field(default_factory=StudyDetails)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to run one study, held by whoever got this record."""

    study: str
    id: str


_PLAIN = tuple(f.name for f in fields(StudyRow) if f.name not in ("status", "details"))
_CHANGEABLE = frozenset(f.name for f in fields(StudyRow)) - {"name", "created_at", "updated_at"}


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
        values = {name: getattr(row, name) for name in _PLAIN} | {"status": str(row.status)}
        values |= {"created_at": row.created_at or now, "updated_at": now, "extra": row.details.to_json()}
        with self._store.transaction() as conn:
            conn.execute(self._store.insert_if_absent(studies), values)
            return _study(conn.execute(sa.select(studies).where(studies.c.name == row.name)).one())

    def update(self, name: str, **changes: Any) -> None:
        """Change fields of a study; `updated_at` follows.

        Raises:
            StorageError: no such study.
            TypeError: a field that StudyRow does not have, or that never changes.
        """
        if unknown := sorted(set(changes) - _CHANGEABLE):
            raise TypeError(f"fields of a study that cannot be changed: {unknown}")
        if "details" in changes:
            changes["extra"] = changes.pop("details").to_json()
        with self._store.transaction() as conn:
            change = studies.update().where(studies.c.name == name).values(**changes, updated_at=self._now())
            done = conn.execute(change).rowcount
        if not done:
            self.get(name)  # it is not there

    def keep_run(self, name: str, details: StudyDetails) -> None:
        """Change how far a study's run is. Nothing else of the study has changed, and `updated_at` stays."""
        with self._store.transaction() as conn:
            conn.execute(studies.update().where(studies.c.name == name).values(extra=details.to_json()))

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
    plain = {name: getattr(row, name) for name in _PLAIN}
    return StudyRow(**plain, status=StudyStatus(row.status), details=StudyDetails.from_json(row.extra))


def change_stamp(store: Store, study: str) -> str | None:
    """A text that changes when a study's record, candidates, aggregates or timed runs do; None for no such study.

    One small query, for whoever follows a study.
    """
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
