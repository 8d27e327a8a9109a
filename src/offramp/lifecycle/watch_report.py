"""Which promoted features depend on models that retire, and what could replace them.

Invariant: a report depends only on its arguments (promotions, storage, calendar, day); the network is not used.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.errors import StorageError
from offramp.lifecycle.dependencies import DependencyReader
from offramp.lifecycle.in_use import CostChange, ModelInUse, Role, cost_change, cost_usd_1k, models_in_use
from offramp.lifecycle.successors import TYPICAL_1K, Needs, Successor, successors
from offramp.models.retirement.dates import (
    WITHIN_DAYS,
    Calendar,
    Retirement,
    Standing,
    load_calendar,
    standing_of,
    utc_today,
)
from offramp.models.retirement.replied import announced_in_replies, deprecated_in_replies
from offramp.study.shown import Brief

if TYPE_CHECKING:
    import pandas as pd

    from offramp.store.engine import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One model that one promoted feature depends on.

    Attributes:
        retirement: None where nobody says when.
        days_left: until that day; negative once it has passed; None without a date.
        cost: of a thousand runs, when it was promoted and now.
        successors: best first; looked for where the standing is alarming.
    """

    used: ModelInUse
    standing: Standing
    retirement: Retirement | None
    days_left: int | None
    cost: CostChange
    successors: tuple[Successor, ...]

    @property
    def next_step(self) -> str | None:
        """What to do now, a command where one does it; None where nothing is to be done."""
        if not self.standing.alarming:
            return None
        if self.used.role in _KEY_OF_ROLE:
            space = self.used.space_file or "the space file"
            return f"name another {self.used.role} under `{_KEY_OF_ROLE[self.used.role]}` in {space}"
        label = "" if self.used.label == "production" else f" --label {self.used.label}"
        return f"offramp migrate {self.used.feature}{label}"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        used, cost = self.used, self.cost
        return {
            "feature": used.feature,
            "label": used.label,
            "version": used.version,
            "model": used.name,
            "route": used.route,
            "fallback": used.fallback,
            "role": used.role.value,
            "standing": self.standing.value,
            "days_left": self.days_left,
            **retirement_json(self.retirement),
            "cost": {"then_usd_1k": cost.then_usd_1k, "now_usd_1k": cost.now_usd_1k, "ratio": cost.ratio},
            "successors": [asdict(item) for item in self.successors],
            "next": self.next_step,
        }


_KEY_OF_ROLE = {Role.JUDGE: "metric", Role.PROPOSER: "propose"}
"""Roles whose model is replaced in the space file, and the key there."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WatchReport(Brief):
    """All models that promoted features depend on, the most urgent first.

    Attributes:
        notes: what could not be looked at, and what to do.
    """

    today: datetime.date
    within_days: int
    table: str
    rows: tuple[Watched, ...]
    notes: tuple[str, ...] = ()

    @property
    def in_short(self) -> str:
        """How many models need action, and which."""
        who = ", ".join(f"{row.used.feature}: {row.used.name}" for row in self.alarming)
        return (
            f"{len(self.alarming)} of {len(self.rows)} models within {self.within_days} days{f': {who}' if who else ''}"
        )

    def to_frame(self) -> pd.DataFrame:
        """A row for each model, the most urgent first."""
        import pandas as pd

        return pd.json_normalize([row.to_json() for row in self.rows])

    @property
    def alarming(self) -> tuple[Watched, ...]:
        """Those that need action."""
        return tuple(row for row in self.rows if row.standing.alarming)

    def to_json(self) -> dict[str, Any]:
        """JSON values, for jobs that read them."""
        return {
            "today": self.today.isoformat(),
            "within_days": self.within_days,
            "table": self.table,
            "alarming": len(self.alarming),
            "models": [row.to_json() for row in self.rows],
            "notes": list(self.notes),
        }


def retirement_json(found: Retirement | None) -> dict[str, Any]:
    """A date as JSON values; all None where nobody says when."""
    return {
        "retires": None if found is None else found.date.isoformat(),
        "basis": None if found is None else found.basis.value,
        "announced": None if found is None else found.announced,
        "source": None if found is None else found.source,
        "note": None if found is None else found.note,
    }


def watch(
    *, within_days: int = WITHIN_DAYS, lifecycle: str | Path | None = None, feeds: Sequence[str | Path] = (),
    today: datetime.date | None = None, ics: str | Path | None = None, promotions: str | Path | None = None,
    storage: str | None = None, results: str | Path = "results",
) -> WatchReport:  # fmt: skip
    """Which promoted features depend on models that retire soon, and what could replace them.

    Args:
        within_days: the window.
        lifecycle: your own retirement notices; `lifecycle.yaml` by default, if it exists.
        feeds: files of retirements, in the model-eol format or as a LiteLLM proxy's `/model/deprecations` returns them.
        today: what days are counted from; the UTC date by default.
        ics: a file to write the dates to as a calendar.
        promotions: folder; `OFFRAMP_PROMOTIONS` or `promotions` by default.
        storage: URL of the studies, for what headers of replies said, and for the judges and proposers of promotions
            that do not record them; `<results>/offramp.db` by default, if it exists.

    Raises:
        UsageError: a file of notices, a promotion, or the storage that was named cannot be read.
    """
    folder = None if promotions is None else Path(promotions)
    calendar = load_calendar(None if lifecycle is None else Path(lifecycle), feeds=list(map(Path, feeds)))
    notes: list[str] = []
    with _studies(storage, Path(results), notes) as store:
        reader = DependencyReader(folder, store)
        models = list(models_in_use(folder, reader, reader.space_of))
        if store is not None:
            calendar = replace(calendar, announced=(*calendar.announced, *announced_in_replies(store)))
            notes += _deprecated(store, models)
        report = watch_models(models, calendar, today=today or utc_today(), within_days=within_days)
    notes += (
        f"{feature} {version}: its judge and proposer are not known: it does not record them, and neither its study "
        "nor its space file was found. Name the storage of its study with --storage"
        for feature, version in sorted(reader.unknown)
    )
    report = replace(report, notes=(*notes, *report.notes))
    if ics is not None:
        from offramp.lifecycle.ics import write_calendar

        write_calendar(report, Path(ics))
    return report


def _unknown_names(rows: Iterable[Watched], calendar: Calendar) -> Iterator[str]:
    """Of models without a date: which ones no table is known to have had."""
    asked = {row.used.name: row.used.route for row in rows if row.standing is Standing.UNKNOWN}
    for name, route in asked.items():
        if calendar.meant(route) is None:
            yield (
                f"{name} is not in the table of models, and nothing tells that it ever was: when it retires is not "
                "known. If you know, write a notice"
            )


def _unknown_successors(rows: Iterable[Watched]) -> Iterator[str]:
    """Named in place of a watched model, and not in the table."""
    unknown = {item.name: row.used.name for row in rows for item in row.successors if not item.in_table}
    for name, leaving in unknown.items():
        yield (
            f"{name}, which your notice names in place of {leaving}, is not in the table of models: what it costs, "
            "what it can do and how long it will be served is unknown. Check how it is spelt"
        )


def _deprecated(store: Store, models: Iterable[ModelInUse]) -> Iterator[str]:
    """Watched models that a reply called deprecated without a date of their end."""
    watched = {(used.name, used.route) for used in models}
    for one in deprecated_in_replies(store):
        if (one.model, one.route) in watched:
            since = f" since {one.notice.since}" if one.notice.since else ""
            where = f"; see {one.notice.link}" if one.notice.link else ""
            yield (
                f"{one.model} is deprecated{since}, says a header of a reply on {one.seen_on}; it names no day on "
                f"which the model ends{where}"
            )


@contextmanager
def _studies(storage: str | None, results: Path, notes: list[str]) -> Iterator[Store | None]:
    """The storage to read, None without one. One that was not asked for and cannot be read is a note."""
    usual = results / "offramp.db"
    if storage is None and not usual.is_file():
        yield None
        return
    from offramp.store.engine import open_store

    try:
        store = open_store(storage or f"sqlite:///{usual}", write_probe=False)
    except StorageError as error:
        if storage is not None:
            raise
        notes.append(f"{error}")
        yield None
        return
    with store:
        yield store


def watch_models(
    models: Iterable[ModelInUse], calendar: Calendar, *, today: datetime.date, within_days: int = WITHIN_DAYS
) -> WatchReport:
    """The same for these models and these dates. A judge or proposer of one's own is listed once a notice names it."""
    looked_at = [look_at(used, calendar, today, within_days=within_days) for used in models]
    rows = [row for row in looked_at if row.used.role.answers or row.standing is not Standing.OWN]
    rows.sort(key=_urgency)
    return WatchReport(
        today=today,
        within_days=within_days,
        table=calendar.table.version,
        rows=tuple(rows),
        notes=(*_unknown_names(rows, calendar), *_unknown_successors(rows)),
    )


def look_at(
    used: ModelInUse, calendar: Calendar, today: datetime.date, *, within_days: int = WITHIN_DAYS, always: bool = False
) -> Watched:
    """The standing of one model.

    Args:
        always: look for successors whatever the standing.
    """
    retirement = calendar.retirement(used.name, used.route, stated=used.stated, own=used.own)
    without = Standing.OWN if used.own else calendar.undated(used.route, listed=used.listed)
    standing = standing_of(retirement, today, within_days, without=without)
    wanted = standing.alarming or always
    return Watched(
        used=used,
        standing=standing,
        retirement=retirement,
        days_left=None if retirement is None else retirement.days_left(today),
        cost=cost_change(used, calendar.table),
        successors=successors(_needs(used, calendar), retirement, calendar, today) if wanted else (),
    )


def _needs(used: ModelInUse, calendar: Calendar) -> Needs:
    row = calendar.table.find((None if used.own else calendar.meant(used.route)) or used.route)
    usage, context = used.usage_1k or TYPICAL_1K, None
    if used.usage_1k is not None:  # room for a run four times as long as the mean one: the longest is not recorded
        read = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
        context = 4 * (read + usage.output_tokens + usage.reasoning_tokens) // 1000
    now = None if row is None or row.price is None else row.price.for_tier(used.service_tier)
    price = now or used.price_then
    return Needs(
        route=row.route if row else used.route,
        context_tokens=context,
        json_schema=used.json_schema,
        request_params=used.request_params,
        reasons=used.reasons,
        usage_1k=usage,
        cost_usd_1k=cost_usd_1k(price, usage, used.requests_per_run),
        requests_per_run=used.requests_per_run,
    )


_ORDER: Sequence[Standing] = tuple(Standing)
_ROLES: Sequence[Role] = tuple(Role)


def _urgency(row: Watched) -> tuple[bool, float, int, str, str, int]:
    gone = row.standing is Standing.VANISHED
    days = float("-inf") if gone else float("inf") if row.days_left is None else row.days_left
    used, role = row.used, _ROLES.index(row.used.role)
    return (not row.standing.alarming, days, _ORDER.index(row.standing), used.feature, used.label, role)
