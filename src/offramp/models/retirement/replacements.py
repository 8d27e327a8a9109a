"""The models that a notice or the vendor names in place of one that no longer answers."""

from __future__ import annotations

import datetime

from offramp.errors import UsageError
from offramp.models.retirement.dates import Basis, Calendar, load_calendar, utc_today
from offramp.models.table import load_table
from offramp.records import Model

_LONGEST_CHAIN = 8


def replacements(
    model: Model, *, calendar: Calendar | None = None, today: datetime.date | None = None
) -> tuple[str, ...]:
    """Names for a space file, the best first; empty where nobody names any.

    A successor that has retired itself is replaced by its own successors.

    Args:
        calendar: of `lifecycle.yaml` and the installed table by default; a file that is wrong is passed over.
    """
    calendar, today = calendar or _calendar(), today or utc_today()
    found, seen = list[str](), {model.name, model.route}
    waiting = [(model.name, model.route)]
    for _ in range(_LONGEST_CHAIN):
        named = [name for one in waiting for name in _named(one, calendar)]
        waiting = []
        for name in dict.fromkeys(named):
            row = calendar.table.find(name)
            route = name if row is None else row.route
            if seen & {name, route}:
                continue
            seen |= {name, route}
            if _retired(route, calendar, today):
                waiting.append((name, route))
            else:
                found.append(route)
    return tuple(found)


def _calendar() -> Calendar:
    try:
        return load_calendar()
    except UsageError:
        return Calendar(notices=(), table=load_table(), policies=(), snapshots={})


def _named(one: tuple[str, str], calendar: Calendar) -> tuple[str, ...]:
    found = calendar.retirement(*one)
    return () if found is None else found.successors


def _retired(route: str, calendar: Calendar, today: datetime.date) -> bool:
    found = calendar.retirement(route)
    return found is not None and found.basis is not Basis.ESTIMATE and found.date <= today
