"""When a model goes, and who says so: one's own notice or space file, else LiteLLM's table, else a vendor's policy.

Invariant: a date comes with its kind. An estimate is the first day on which a model may go, never a day on which it
surely does; a model without any date is not known to stay.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from offramp.models.names import stem
from offramp.models.retirement.notices import Notice, is_link, read_notices
from offramp.models.retirement.policies import PUBLISHED, Policy, estimate, release_date
from offramp.models.table import Table, TableRow, load_table


class Basis(enum.StrEnum):
    """Where a date comes from, the strongest first."""

    NOTICE = "notice"  # one's own lifecycle file
    STATED = "stated"  # the space file, which knows a server of one's own
    TABLE = "table"  # LiteLLM's table, which quotes the vendor
    ESTIMATE = "estimate"  # the vendor's promise, counted from the release


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """When a model goes.

    Attributes:
        date: first day without it; for an estimate, the first day on which it may be gone.
        announced: ISO date of the notice; None where not known.
        source: web address; None where there is none.
        successors: what the notice or the vendor names in its place.
        note: of one's own notice.
    """

    date: datetime.date
    basis: Basis
    announced: str | None = None
    source: str | None = None
    successors: tuple[str, ...] = ()
    note: str | None = None

    def days_left(self, today: datetime.date) -> int:
        """Days from `today`; negative once the date has passed."""
        return (self.date - today).days


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """All that is known of dates: notices, table and policies.

    Attributes:
        snapshots: route of an alias to that of its newest dated snapshot.
    """

    notices: tuple[Notice, ...]
    table: Table
    policies: tuple[Policy, ...]
    snapshots: Mapping[str, str]

    def retirement(self, name: str, route: str | None = None, *, stated: str | None = None) -> Retirement | None:
        """When a model goes; None where nobody says.

        Args:
            name: as people write it.
            route: as requests are sent, where that differs.
            stated: ISO date that its space file gives; None where it gives none.
        """
        row = self.table.find(route or name)
        names = _spellings(name, route, row)
        return (
            _by_notice(self.notices, names)
            or _by_table(row, stated)
            or self._by_policy(row.route if row else route or name)
        )

    def _by_policy(self, route: str) -> Retirement | None:
        found = estimate(route, self.policies, self.snapshots.get(route))
        if found is None:
            return None
        return Retirement(date=found[0], basis=Basis.ESTIMATE, source=found[1].source)


def utc_today() -> datetime.date:
    """The date, the same for every machine."""
    return datetime.datetime.now(datetime.UTC).date()


def load_calendar(lifecycle: Path | None = None, table: Table | None = None) -> Calendar:
    """The calendar of a lifecycle file (the default one where it is there) and of the installed table.

    Raises:
        UsageError: the file is missing or wrong.
    """
    notices = read_notices(lifecycle)
    policies = (*(policy.policy() for policy in notices.policies), *PUBLISHED)
    known = table or load_table()
    return Calendar(
        notices=tuple(notices.retirements), table=known, policies=policies, snapshots=newest_snapshots(known)
    )


def _spellings(name: str, route: str | None, row: TableRow | None) -> tuple[str, ...]:
    """Every way to write one model: a notice may use any of them."""
    found = [name, route, *((row.route, row.key) if row else ())]
    return tuple(dict.fromkeys(spelling for spelling in found if spelling))


def _by_notice(notices: Sequence[Notice], names: Sequence[str]) -> Retirement | None:
    for notice in notices:
        if any(fnmatchcase(name, notice.model) for name in names):
            return Retirement(
                date=notice.date,
                basis=Basis.NOTICE,
                announced=notice.announced,
                source=notice.source,
                successors=tuple(notice.successors),
                note=notice.note,
            )
    return None


def _by_table(row: TableRow | None, stated: str | None) -> Retirement | None:
    """By the table, unless the space file knows better."""
    if stated is not None and (row is None or row.retirement_date != stated):
        return Retirement(date=datetime.date.fromisoformat(stated), basis=Basis.STATED)
    if row is None or row.retirement_date is None:
        return None
    source = row.retirement_source
    return Retirement(
        date=datetime.date.fromisoformat(row.retirement_date),
        basis=Basis.TABLE,
        source=source if source and is_link(source) else None,
        successors=(row.successor,) if row.successor else (),
    )


def newest_snapshots(table: Table) -> dict[str, str]:
    """Aliases that the table lists beside dated names, each with the newest of those: what it stands for."""
    newest: dict[str, tuple[datetime.date, str]] = {}
    for route in table.by_route:
        alias, day = stem(route), release_date(route)
        if day is not None and alias != route and alias in table.by_route:
            newest[alias] = max(newest.get(alias, (day, route)), (day, route))
    return {alias: route for alias, (_, route) in newest.items()}
