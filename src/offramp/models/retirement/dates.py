"""When a model retires, who says so, and how the model stands on a given day.

The user's own notice comes first, then the space file, feeds, headers of replies, LiteLLM's table, and an estimate.
`standing_of` is the one rule for what is watched, what may succeed a model and what may be promoted.

Invariants: every date has a basis. An estimate is the first day on which a model may retire, not a day on which it
will; no estimate ever calls a model retired. A model without a date is not known to stay.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from offramp.models.names import stem, tuned_base
from offramp.models.retirement.feeds import Announced, read_feeds
from offramp.models.retirement.listed import was_listed
from offramp.models.retirement.notices import DEFAULT_FILE, Notice, is_link, read_notices
from offramp.models.retirement.policies import PUBLISHED, Policy, estimate, release_date
from offramp.models.spellings import readings
from offramp.models.table import Table, TableRow, load_table


class Basis(enum.StrEnum):
    """Where a date comes from, the strongest first."""

    NOTICE = "notice"  # the team's own lifecycle file
    STATED = "stated"  # the space file, which knows a server of the user's own
    FEED = "feed"  # a feed that the user named
    HEADER = "header"  # a header of a reply, which the storage kept
    TABLE = "table"  # LiteLLM's table, which quotes the vendor
    ESTIMATE = "estimate"  # the vendor's promise, counted from the release


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """When a model retires.

    Attributes:
        date: first day without it; for an estimate, the first day on which it may have retired.
        announced: ISO date of the notice; None if unknown.
        source: web address, or which header said so; None if there is none.
        successors: models that the notice or the vendor recommends instead.
        note: text of the team's own notice or of a feed; None if there is none.
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
    """Everything known about retirement dates: notices, feeds, table and policies.

    Attributes:
        announced: by feeds, then in replies; the first that is about a model counts.
        snapshots: route of an alias to the route of its newest dated snapshot.
    """

    notices: tuple[Notice, ...]
    table: Table
    policies: tuple[Policy, ...]
    snapshots: Mapping[str, str]
    announced: tuple[Announced, ...] = ()

    def knows(self, route: str) -> bool:
        """Whether the table has the model, or the base of a tuned one."""
        base = tuned_base(route)
        return self.table.find(route) is not None or (base is not None and self.table.find(base) is not None)

    def meant(self, name: str) -> str | None:
        """The first reading of a name that the table has, itself or as the base of a tuned one; None without any."""
        return next((reading for reading in readings(name, self.table) if self.knows(reading)), None)

    def undated(self, name: str, *, listed: bool = False) -> Standing:
        """How a vendor's model stands without a date: VANISHED where it has left the table, else UNKNOWN.

        A name that no table is known to have had may be a deployment, newer than the table, or misspelt.

        Args:
            listed: whether the table had it when it was promoted, as far as is known.
        """
        if self.meant(name) is not None:
            return Standing.UNKNOWN
        return Standing.VANISHED if listed or any(map(was_listed, self._bases(name))) else Standing.UNKNOWN

    def _bases(self, name: str) -> Iterator[str]:
        for reading in readings(name, self.table):
            yield tuned_base(reading) or reading

    def retirement(
        self, name: str, route: str | None = None, *, stated: str | None = None, own: bool = False
    ) -> Retirement | None:
        """When a model retires; None if nobody says.

        Where no date of its own is announced, it is that of the model which its name means in another spelling or
        behind a router (`openrouter/openai/gpt-4o`). A tuned model retires with its base, at the latest.

        Args:
            name: as people write it.
            route: as requests are sent; None if that is the same.
            stated: ISO date that its space file gives; None if it gives none.
            own: whether a server of the user's answers, whatever its model is called.
        """
        found = self._dated(name, route, stated)
        if own or (found is not None and found.basis is not Basis.ESTIMATE):
            return found
        asked = route or name
        for reading in readings(asked, self.table):
            behind = None if reading == asked else self._dated(name, reading, None)
            if behind is not None and behind.basis is not Basis.ESTIMATE:
                return behind
            found = found or behind
        return found

    def _dated(self, name: str, route: str | None, stated: str | None) -> Retirement | None:
        """Its own date, or that of the base that it was tuned from."""
        found = self._own_date(name, route, stated)
        base = tuned_base(name) or tuned_base(route or "")
        if base is None or (found is not None and found.basis in (Basis.NOTICE, Basis.STATED)):
            return found
        of_base = self.retirement(base)
        if of_base is None or (found is not None and _first(found, of_base) is found):
            return found
        return replace(of_base, note=of_base.note or f"{base}, which it was made from, retires then.")

    def _own_date(self, name: str, route: str | None, stated: str | None) -> Retirement | None:
        row = self.table.find(route or name)
        spellings = {name, route, *((row.route, row.key) if row else ())} - {None, ""}  # a notice may use any of them
        for notice in self.notices:
            if any(fnmatchcase(str(spelling), notice.model) for spelling in spellings):
                return Retirement(
                    date=notice.date,
                    basis=Basis.NOTICE,
                    announced=notice.announced,
                    source=notice.source,
                    successors=tuple(notice.successors),
                    note=notice.note,
                )
        spelled = [str(spelling) for spelling in spellings]
        told = [one for one in self.announced if one.about(spelled, row.provider if row else None)]
        said = next((_told(one) for one in told if not one.tentative), None)
        listed = _by_table(row, stated)
        if said is not None and (listed is None or listed.basis is not Basis.STATED):
            return said
        if listed is not None:
            return listed
        if told:
            return _told(told[0])
        known = row.route if row else route or name
        estimated = estimate(known, self.policies, self.snapshots.get(known))
        if estimated is None:
            return None
        return Retirement(date=estimated[0], basis=Basis.ESTIMATE, source=estimated[1].source)


def _first(one: Retirement, other: Retirement) -> Retirement:
    """The earlier one; an announced date comes before an estimate."""
    return min(one, other, key=lambda found: (found.basis is Basis.ESTIMATE, found.date))


def utc_today() -> datetime.date:
    """Today's date in UTC, so that it is the same on every machine."""
    return datetime.datetime.now(datetime.UTC).date()


def load_calendar(lifecycle: Path | None = None, table: Table | None = None, *, feeds: Sequence[Path] = ()) -> Calendar:
    """The calendar of a lifecycle file (by default `lifecycle.yaml`, if it exists), feeds, and the installed table.

    Args:
        feeds: files that come before those which the lifecycle file names.

    Raises:
        UsageError: a file is missing or wrong.
    """
    notices = read_notices(lifecycle)
    policies = (*(policy.policy() for policy in notices.policies), *PUBLISHED)
    known = table or load_table()
    base = (lifecycle or DEFAULT_FILE).parent
    return Calendar(
        notices=tuple(notices.retirements),
        table=known,
        policies=policies,
        snapshots=newest_snapshots(known),
        announced=read_feeds([*feeds, *(base / name for name in notices.feeds)]),
    )


def _told(one: Announced) -> Retirement:
    return Retirement(
        date=one.date,
        basis=Basis.ESTIMATE if one.tentative else Basis.FEED if one.replied is None else Basis.HEADER,
        announced=one.announced,
        source=one.source if one.replied is None else f"header of a reply on {one.replied}",
        successors=one.successors,
        note=one.note,
    )


def _by_table(row: TableRow | None, stated: str | None) -> Retirement | None:
    """The date in the table, unless the space file states another one."""
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
    """Aliases that the table lists next to dated names, each with the newest of those, which it stands for."""
    newest: dict[str, tuple[datetime.date, str]] = {}
    for route in table.by_route:
        alias, day = stem(route), release_date(route)
        if day is not None and alias != route and alias in table.by_route:
            newest[alias] = max(newest.get(alias, (day, route)), (day, route))
    return {alias: route for alias, (_, route) in newest.items()}


# ------------------------------------------------------------------------------------------------ standing

WITHIN_DAYS = 90
"""By default, a model that retires within this many days needs attention now."""


class Standing(enum.StrEnum):
    """How a model stands, the most urgent first."""

    RETIRED = "retired"  # the date has passed
    VANISHED = "vanished"  # it is known to have been in the table, and no longer is
    SOON = "soon"  # it retires within the window
    LATER = "later"
    UNKNOWN = "no date"  # nobody says when
    OWN = "own"  # a file or server of the user's own, without a notice

    @property
    def alarming(self) -> bool:
        """Whether something has to be done."""
        return self in (Standing.RETIRED, Standing.VANISHED, Standing.SOON)


def standing_of(
    retirement: Retirement | None, today: datetime.date, within_days: int, *, without: Standing
) -> Standing:
    """How a model stands. An estimate that has passed is not yet a retirement.

    Args:
        without: how it stands if nobody announced a date; VANISHED also overrides an estimate.
    """
    estimated = retirement is not None and retirement.basis is Basis.ESTIMATE
    if retirement is None or (estimated and without is Standing.VANISHED):
        return without
    days = retirement.days_left(today)
    if days <= 0 and not estimated:
        return Standing.RETIRED
    return Standing.SOON if days <= within_days else Standing.LATER
