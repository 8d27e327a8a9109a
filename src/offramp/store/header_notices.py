"""What headers of replies said about the end of models: one row for each model, the newest word of its provider."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from offramp.records import HeaderNotice, Model
from offramp.store.engine import Store
from offramp.store.tables import header_notices


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNotice:
    """A notice and whom it is about.

    Attributes:
        own: whether a server of the user's own sent it.
        seen_on: UTC day of the first reply that said so, ISO 8601.
    """

    model: str
    route: str
    own: bool
    seen_on: str
    notice: HeaderNotice


class HeaderNoticeStore:
    """The notices of a storage."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, model: Model, notice: HeaderNotice) -> bool:
        """Keep what a reply said; a notice that is there already keeps its day. Whether it is new."""
        c = header_notices.c
        same = (c.model == model.name, c.route == model.route, *(c[name] == value for name, value in _row(notice)))
        row = {"model": model.name, "route": model.route, "own": model.api_base is not None}
        row |= {"seen_on": dt.datetime.now(dt.UTC).date().isoformat(), **dict(_row(notice))}
        with self._store.transaction() as conn:
            if conn.execute(sa.select(c.model).where(*same)).first() is not None:
                return False
            conn.execute(self._store.upsert(header_notices), row)
            return True

    def all(self) -> tuple[StoredNotice, ...]:
        """Every notice, by model."""
        c = header_notices.c
        with self._store.reading() as conn:
            rows = conn.execute(sa.select(header_notices).order_by(c.model, c.route)).all()
        return tuple(
            StoredNotice(
                model=row.model,
                route=row.route,
                own=bool(row.own),
                seen_on=row.seen_on,
                notice=HeaderNotice(
                    deprecated=bool(row.deprecated),
                    since=row.since or None,
                    sunset=row.sunset or None,
                    link=row.link or None,
                ),
            )
            for row in rows
        )


def _row(notice: HeaderNotice) -> list[tuple[str, str | bool]]:
    """What is not said is an empty text, so that rows can be compared."""
    return [(name, value if value is not None else "") for name, value in asdict(notice).items()]
