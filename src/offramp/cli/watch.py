"""`offramp watch`: which promoted features run on models that retire, and what could replace them; with `--scan`, which
models an app's own files name.

Exit code 3 when something retires within the window, has retired or has vanished, so that a nightly job can warn. A
nightly job also starts often: the output is written without a table library. Names are other people's: their control
characters are not printed.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from offramp.cli.options import AS_JSON, FEED, FILE, LIFECYCLE, PATH, PROMOTIONS, study_options
from offramp.models.retirement.dates import Basis, Standing
from offramp.printable import printable as plain

if TYPE_CHECKING:
    from offramp.lifecycle.in_use import ModelInUse
    from offramp.lifecycle.scan import ScanReport
    from offramp.lifecycle.successors import Successor
    from offramp.lifecycle.watch_report import Watched, WatchReport
    from offramp.models.retirement.dates import Retirement

ALARM = 3
PLACES = 3
"""Places of one name, and files that were not read, that are shown; --json has all."""
_COLOURS = {Standing.RETIRED: "red", Standing.VANISHED: "red", Standing.SOON: "yellow"}
_WHOSE = {
    Basis.NOTICE: " (your own notice)",
    Basis.STATED: " (its space file)",
    Basis.FEED: " (a feed)",
    Basis.HEADER: " (its replies)",
}


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
@click.option("--within", "within_days", type=_Days(), default="90d", show_default=True,
              help="Warn about models that retire within this many days (90d) or weeks (12w).")  # fmt: skip
@click.option("--scan", "scanned", type=PATH, metavar="PATH",
              help="Look for model names in source and configuration below PATH instead; needs no promotion.",
)  # fmt: skip
@LIFECYCLE
@FEED
@PROMOTIONS
@study_options
@click.option("--ics", type=FILE, metavar="FILE", help="Also write the dates as a calendar.")
@click.option("--today", type=_Date(), metavar="DATE", help="Count days from this date. [default: today, UTC]")
@AS_JSON
@click.pass_context
def watch(ctx: click.Context, within_days: int, scanned: Path | None, lifecycle: Path | None,
          feeds: tuple[Path, ...], promotions: Path, storage: str | None, results: Path, ics: Path | None,
          today: datetime.date | None, as_json: bool) -> None:  # fmt: skip
    """Which promoted features depend on models that retire soon, and what could replace them.

    Watched are the model, its fallbacks, the judges of the metric, the model that proposes instructions, and the base
    of a tuned model.
    """
    from offramp.lifecycle.scan import scan
    from offramp.lifecycle.watch_report import watch as run

    if scanned is not None:
        if ics is not None:
            raise click.UsageError("--ics is for promoted features; leave it out with --scan")
        found = scan(scanned, lifecycle=lifecycle, feeds=feeds, today=today, within_days=within_days)
        _print_json(found) if as_json else print_scan(found, sys.stdout)
        ctx.exit(ALARM if found.alarming else 0)
    report = run(
        promotions=promotions, lifecycle=lifecycle, today=today, within_days=within_days, storage=storage,
        results=results, feeds=feeds, ics=ics,
    )  # fmt: skip
    _print_json(report) if as_json else print_watch(report, sys.stdout)
    ctx.exit(ALARM if report.alarming else 0)


def _print_json(report: WatchReport | ScanReport) -> None:
    click.echo(json.dumps(report.to_json(), indent=2))


def print_watch(report: WatchReport, out: TextIO) -> None:
    """Promoted models, the most urgent first."""
    if not report.rows:
        click.echo("Nothing has been promoted yet: see `offramp promote`. `offramp watch --scan .` needs no promotion.")
        return
    width = max(len(f"{row.used.feature} ({row.used.label})") for row in report.rows)
    for row in report.rows:
        who = f"{row.used.feature} ({row.used.label})"
        model = f"{plain(row.used.name)}{_role(row.used)}"
        _print_line(f"{plain(who):<{width}}  {model}: ", row.standing, row.retirement, row.days_left, out)
        details = [*_source(row.retirement), *_price_change(row), *_candidates(row.successors)]
        _print_details([*details, *([f"next: {row.next_step}"] if row.next_step else [])], out)
    for note in report.notes:
        click.echo(f"Note: {plain(note)}", file=out)
    what = "promoted model" if all(row.used.role.answers for row in report.rows) else "model of promoted features"
    click.echo(_foot(len(report.alarming), len(report.rows), what, report.within_days, report.table), file=out)


def _role(used: ModelInUse) -> str:
    """What stands behind its name; nothing for the model itself."""
    if used.tuned is not None:
        return f", base of {plain(used.tuned)}"
    stated = {"model": "", "fallback": " as fallback", "program": ", asked by the program as well"}
    return stated.get(used.role, f", {used.role} of {plain(used.feature)}")


def print_scan(report: ScanReport, out: TextIO) -> None:
    """Named models, the most urgent first."""
    width = max((len(model.name) for model in report.models), default=0)
    for model in report.models:
        _print_line(f"{plain(model.name):<{width}}  ", model.standing, model.retirement, model.days_left, out)
        more = f" and {len(model.places) - PLACES} more" if len(model.places) > PLACES else ""
        places = plain(", ".join(map(str, model.places[:PLACES]))) + more
        stands_for = [f"an alias: today {plain(model.alias_of)}"] if model.alias_of else []
        if not model.in_table and model.standing is not Standing.VANISHED:
            stands_for.append("not in the table of models: new, misspelt, or a deployment of your own")
        _print_details([*stands_for, places, *_candidates(model.successors)], out)
    if (n := len(report.unread)) > 0:
        more = f" and {n - PLACES} more" if n > PLACES else ""
        which = f"{plain(', '.join(report.unread[:PLACES]))}{more}"
        click.echo(f"Not read (too large, not text, or no permission): {which}.", file=out)
    files = f"{report.files:,} file{'' if report.files == 1 else 's'}"
    what = f"model named in {files} below {plain(report.path)}"
    click.echo(_foot(len(report.alarming), len(report.models), what, report.within_days, report.table), file=out)


def _print_line(name: str, standing: Standing, found: Retirement | None, days_left: int | None, out: TextIO) -> None:
    line = f"{_days(days_left, standing, found):>9}  {name}{_date(standing, found)}"
    click.echo(click.style(line, fg=_COLOURS.get(standing)), file=out)


def _print_details(lines: Iterable[str], out: TextIO) -> None:
    for line in lines:
        for part in textwrap.wrap(line, 107, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False):
            click.echo(f"           {part}", file=out)


def _days(days: int | None, standing: Standing, found: Retirement | None) -> str:
    if standing is Standing.VANISHED:
        return "vanished"
    if days is None:
        return "-"
    if standing is Standing.SOON and found is not None and found.basis is Basis.ESTIMATE and days <= 0:
        return "any day"
    return f"{days:,} d"


def _date(standing: Standing, found: Retirement | None) -> str:
    if standing is Standing.VANISHED:
        return "no longer in the table of models"
    if found is None:
        return "runs here, no notice" if standing is Standing.OWN else "no date known"
    if found.basis is Basis.ESTIMATE:
        return f"may retire from {found.date} (estimate: the vendor's policy, no notice yet)"
    verb = "retired" if standing is Standing.RETIRED else "retires"
    return f"{verb} {found.date}{_WHOSE.get(found.basis, '')}"


def _source(found: Retirement | None) -> Iterator[str]:
    if found is not None and found.note:
        yield plain(found.note)
    if found is not None and found.source:
        yield f"source: {plain(found.source)}"


def _price_change(row: Watched) -> Iterator[str]:
    from offramp.study.wording import ratio_of

    cost = row.cost
    if cost.changed and cost.then_usd_1k is not None and cost.now_usd_1k is not None:
        was, now = f"${cost.then_usd_1k:.4g}", f"${cost.now_usd_1k:.4g}"
        yield f"price: {now} for 1k runs, {was} when it was promoted ({ratio_of(cost.ratio or 0.0)})"


def _candidates(found: Sequence[Successor]) -> Iterator[str]:
    from offramp.study.wording import ratio_of

    shown = []
    for item in found:
        facts = [f"named by the {item.named_by}"] if item.named_by else []
        facts += [] if item.in_table else ["not in the table of models"]
        if item.price_ratio is not None:
            facts.append(f"{ratio_of(item.price_ratio)} price")
        if item.retirement_date is not None:
            facts.append(f"{'may retire' if item.estimated else 'retires'} {item.retirement_date}")
        if item.not_sent:
            facts.append(f"does not accept {', '.join(item.not_sent)}")
        shown.append(plain(item.name) + (f" ({', '.join(facts)})" if facts else ""))
    if shown:
        yield "could replace it: " + "; ".join(shown)


def _foot(alarming: int, count: int, what: str, within_days: int, table: str) -> str:
    noun = what if alarming == count == 1 else what.replace("model", "models", 1)
    need = "need" if alarming != 1 else "needs"
    return f"{alarming} of {count} {noun} {need} action within {within_days} days ({plain(table)})."
