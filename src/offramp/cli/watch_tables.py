"""What `offramp watch` found, as text: a line for each model, what could replace it, and the command to run next.

Written without a table library, since a nightly job starts this often and it has to start fast. Names are of others: no
control character of theirs is printed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TextIO

import click

from offramp.lifecycle.scan import Named, ScanReport
from offramp.lifecycle.successors import Successor
from offramp.lifecycle.watch import Watched, WatchReport
from offramp.models.retirement.dates import Basis, Retirement
from offramp.models.retirement.standing import Standing

PLACES = 3
"""Places of one name that are shown; --json has all."""
_OWN = {Basis.NOTICE: " (your own notice)", Basis.STATED: " (its space file)"}
_COLOURS = {Standing.RETIRED: "red", Standing.VANISHED: "red", Standing.SOON: "yellow"}


def print_watch(report: WatchReport, out: TextIO) -> None:
    """Promoted models, the most urgent first."""
    if not report.rows:
        click.echo("Nothing is promoted yet. `offramp promote` does that; `offramp watch --scan .` needs no promotion.")
        return
    width = max(len(f"{row.used.feature} ({row.used.label})") for row in report.rows)
    for row in report.rows:
        _print_watched(row, width, out)
    click.echo(
        _foot(len(report.alarming), len(report.rows), "promoted model", report.within_days, report.table), file=out
    )


def print_scan(report: ScanReport, out: TextIO) -> None:
    """Named models, the most urgent first."""
    width = max((len(model.name) for model in report.models), default=0)
    for model in report.models:
        _print_named(model, width, out)
    if report.unread:
        click.echo(f"{len(report.unread)} files were not read (too large, no text, or not to be opened).", file=out)
    what = f"model named in {report.files} files below {_plain(report.path)}"
    click.echo(_foot(len(report.alarming), len(report.models), what, report.within_days, report.table), file=out)


def _print_watched(row: Watched, width: int, out: TextIO) -> None:
    used = row.used
    who = f"{used.feature} ({used.label})"
    role = " as fallback" if used.fallback else ""
    line = (
        f"{_left(row.days_left, row.standing, row.retirement):>9}  {_plain(who):<{width}}  {_plain(used.name)}{role}: "
    )
    click.echo(click.style(line + _says(row.standing, row.retirement), fg=_COLOURS.get(row.standing)), file=out)
    details = [*_source(row.retirement), *_cost(row), *_could(row.successors)]
    if row.next_step:
        details.append(f"next: {row.next_step}")
    _print_details(details, out)


def _print_named(model: Named, width: int, out: TextIO) -> None:
    line = f"{_left(model.days_left, model.standing, model.retirement):>9}  {_plain(model.name):<{width}}  "
    click.echo(click.style(line + _says(model.standing, model.retirement), fg=_COLOURS.get(model.standing)), file=out)
    more = f" and {len(model.places) - PLACES} more" if len(model.places) > PLACES else ""
    _print_details([_plain(", ".join(map(str, model.places[:PLACES]))) + more, *_could(model.successors)], out)


def _print_details(lines: Sequence[str], out: TextIO) -> None:
    for line in lines:
        for part in textwrap.wrap(line, 107, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False):
            click.echo(f"           {part}", file=out)


def _left(days: int | None, standing: Standing, found: Retirement | None) -> str:
    if standing is Standing.SOON and found is not None and found.basis is Basis.ESTIMATE and (days or 0) <= 0:
        return "any day"
    if days is None or standing is Standing.VANISHED:
        return "gone" if standing is Standing.VANISHED else "-"
    return f"{days:,} d"


def _says(standing: Standing, found: Retirement | None) -> str:
    if standing is Standing.VANISHED:
        return "no longer in the table of models"
    if found is None:
        return "runs here, no notice" if standing is Standing.OWN else "no date known"
    if found.basis is Basis.ESTIMATE:
        return f"may retire from {found.date} (estimate: the vendor's policy, no notice yet)"
    verb = "retired" if standing is Standing.RETIRED else "retires"
    return f"{verb} {found.date}{_OWN.get(found.basis, '')}"


def _source(found: Retirement | None) -> Iterator[str]:
    if found is not None and found.note:
        yield _plain(found.note)
    if found is not None and found.source:
        yield f"source: {_plain(found.source)}"


def _cost(row: Watched) -> Iterator[str]:
    cost = row.cost
    if cost.changed and cost.then_usd_1k is not None and cost.now_usd_1k is not None:
        was, now = f"${cost.then_usd_1k:.4g}", f"${cost.now_usd_1k:.4g}"
        yield f"price: {now} for 1k runs, {was} when it was promoted (x{cost.ratio:.2f})"


def _could(found: Sequence[Successor]) -> Iterator[str]:
    if found:
        yield "could replace it: " + "; ".join(map(_told, found))


def _told(item: Successor) -> str:
    facts = [f"named by the {item.named_by}"] if item.named_by else []
    if item.price_ratio is not None:
        facts.append(f"x{item.price_ratio:.2f} price")
    if item.retirement_date is not None:
        facts.append(f"{'may retire' if item.estimated else 'retires'} {item.retirement_date}")
    return _plain(item.name) + (f" ({', '.join(facts)})" if facts else "")


def _foot(alarming: int, count: int, what: str, within_days: int, table: str) -> str:
    noun = what if alarming == count == 1 else what.replace("model", "models", 1)
    need = "need" if alarming != 1 else "needs"
    return f"{alarming} of {count} {noun} {need} action within {within_days} days ({_plain(table)})."


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
