"""`offramp watch`: which promoted features run on models that retire, and what could replace them; or, with `--scan`,
which models an app's own files name.

Exit code 3 when something retires within the window, has retired or has vanished: a nightly job can warn by it.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from offramp.cli.options import AS_JSON, FILE, LIFECYCLE, PATH, PROMOTIONS

ALARM = 3


class _Days(click.ParamType[int]):
    name = "DAYS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """`90d`, `12w` or a number of days."""
        found = re.fullmatch(r"(\d{1,5})\s*(d|w)?", str(value).strip(), re.IGNORECASE)
        if found is None:
            self.fail(f"got {value!r}, expected days such as 90d, or weeks such as 12w", param, ctx)
        return int(found[1]) * (7 if (found[2] or "").lower() == "w" else 1)


class _Date(click.ParamType[datetime.date]):
    name = "DATE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.date:
        """A date such as 2027-01-31."""
        try:
            return value if isinstance(value, datetime.date) else datetime.date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"got {value!r}, expected a date such as 2027-01-31", param, ctx)


@click.command()
@click.option(
    "--within",
    "within_days",
    type=_Days(),
    default="90d",
    show_default=True,
    help="Warn of models that go within so many days (90d) or weeks (12w).",
)
@click.option(
    "--scan",
    "scanned",
    type=PATH,
    metavar="PATH",
    help="Look for model names in source and configuration below PATH instead; needs no promotion.",
)
@LIFECYCLE
@PROMOTIONS
@click.option("--ics", type=FILE, metavar="FILE", help="Write the dates as a calendar, too.")
@click.option("--today", type=_Date(), metavar="DATE", help="Count days from this date. [default: today, UTC]")
@AS_JSON
@click.pass_context
def watch(ctx: click.Context, within_days: int, scanned: Path | None, lifecycle: Path | None, promotions: Path,
          ics: Path | None, today: datetime.date | None, as_json: bool) -> None:  # fmt: skip
    """Which promoted features run on models that retire soon, and what could replace them."""
    if scanned is not None and ics is not None:
        raise click.UsageError("--ics goes with promoted features, not with --scan")
    given = {"lifecycle": lifecycle, "today": today, "within_days": within_days}
    alarming = _scan(scanned, as_json, given) if scanned is not None else _watch(promotions, ics, as_json, given)
    ctx.exit(ALARM if alarming else 0)


def _watch(promotions: Path, ics: Path | None, as_json: bool, given: dict[str, Any]) -> bool:
    from offramp.cli.watch_tables import print_watch
    from offramp.lifecycle import api
    from offramp.lifecycle.ics import write_calendar
    from offramp.lifecycle.report import watch_json

    report = api.watch(promotions=promotions, **given)
    if ics is not None:
        write_calendar(report, ics)
    if as_json:
        click.echo(json.dumps(watch_json(report), indent=2))
    else:
        print_watch(report, sys.stdout)
    return bool(report.alarming)


def _scan(path: Path, as_json: bool, given: dict[str, Any]) -> bool:
    from offramp.cli.watch_tables import print_scan
    from offramp.lifecycle import api
    from offramp.lifecycle.report import scan_json

    report = api.scan(path, **given)
    if as_json:
        click.echo(json.dumps(scan_json(report), indent=2))
    else:
        print_scan(report, sys.stdout)
    return bool(report.alarming)
