"""`offramp models`: what can be searched, at which price and for how long; the files of the embedded models."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from offramp.models.catalogue import ModelRow
    from offramp.models.embedded import Progress


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print records as JSON.")
@click.option("--all", "everything", is_flag=True, help="All known chat models, not only those whose key is set.")
@click.option("--provider", help="Only models of this provider, such as openai or local.")
@click.option("--search", metavar="TEXT", help="Only names that contain TEXT.")
@click.pass_context
def models(context: click.Context, as_json: bool, everything: bool, provider: str | None, search: str | None) -> None:
    """List what can be searched: price, context, retirement date, whether it runs here."""
    if context.invoked_subcommand is not None:
        return
    from offramp.models.catalogue import list_models

    rows = list_models(everything=everything, provider=provider, search=search)
    if as_json:
        click.echo(json.dumps([_as_json(row) for row in rows], indent=2))
    else:
        _print_table(rows, everything=everything)


@models.command()
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All embedded models.")
@click.option("--json", "as_json", is_flag=True, help="Print records as JSON.")
def pull(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Download embedded models into the cache folder and verify their content."""
    from offramp.models import embedded

    chosen = _chosen(names, everything)
    results = []
    for name in chosen:
        terminal = sys.stderr.isatty()
        path = embedded.pull(name, _ProgressLine(name, terminal) if terminal or not as_json else None)
        if terminal:
            click.echo("\r\x1b[K", nl=False, err=True)
        results.append(_result(name, str(path), as_json))
    if as_json:
        click.echo(json.dumps(results, indent=2))


@models.command()
@click.argument("names", metavar="[NAME...]", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print records as JSON.")
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Hash the files of embedded models again; by default those that were pulled."""
    from offramp.models import embedded
    from offramp.models.gguf_files import BY_NAME

    chosen = _chosen(names, False) if names else [name for name in BY_NAME if embedded.file(name).exists()]
    results = [_result(name, str(embedded.verify(name)), as_json) for name in chosen]
    if as_json:
        click.echo(json.dumps(results, indent=2))
    elif not chosen:
        click.echo("No embedded model has been pulled yet. Run `offramp models pull NAME`.")


def _chosen(names: tuple[str, ...], everything: bool) -> list[str]:
    from offramp.models.gguf_files import BY_NAME, embedded_model

    if everything == bool(names):
        raise click.UsageError(f"give names or --all; the embedded models are {', '.join(BY_NAME)}")
    return list(BY_NAME) if everything else [embedded_model(name, "offramp models").name for name in names]


def _result(name: str, path: str, as_json: bool) -> dict[str, str]:
    from offramp.models.gguf_files import embedded_model

    model = embedded_model(name)
    if not as_json:
        click.echo(f"{name}: {path}\n  sha256 {model.sha256} verified; licence: {model.licence}")
    return {"name": name, "path": path, "sha256": model.sha256, "licence": model.licence}


class _ProgressLine:
    """Rewrites one line on the terminal when the percentage or the step changes; elsewhere a line every 25 %."""

    def __init__(self, name: str, terminal: bool) -> None:
        self._name, self._terminal = name, terminal
        self._last = ("", -1)

    def __call__(self, progress: Progress) -> None:
        percent = progress.done_bytes * 100 // progress.total_bytes
        percent -= 0 if self._terminal else percent % 25
        if (progress.step, percent) == self._last:
            return
        self._last = (progress.step, percent)
        megabytes = f"{progress.done_bytes / 1e6:.0f} of {progress.total_bytes / 1e6:.0f} MB"
        line = f"{self._name}: {percent} % ({megabytes}) {progress.step}"
        click.echo(f"\r\x1b[K{line}" if self._terminal else line, nl=not self._terminal, err=True)


def _print_table(rows: list[ModelRow], *, everything: bool) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from offramp.cli.console import PlainConsole

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="USD per million tokens, or per hour of computing; `?`: unknown",
    )
    table.add_column("model", overflow="fold")
    for heading in ("input", "cached", "output", "context"):
        table.add_column(heading, justify="right")
    for heading in ("retires", "runs here"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        context = "?" if row.context_tokens is None else f"{row.context_tokens:,}"
        table.add_row(escape(row.name), *_prices(row), context, _retires(row), _runs_here(row))
    console = PlainConsole(markup=True, width=None if sys.stdout.isatty() else 120)
    console.print(table if rows else "No model matches.")
    if not everything:
        console.print("Embedded models, and hosted ones whose key is set. --all shows every known chat model.")


def _as_json(row: ModelRow) -> dict[str, Any]:
    return {**dataclasses.asdict(row), "price": None if row.price is None else row.price.to_json()}


def _prices(row: ModelRow) -> tuple[str, str, str]:
    price = row.price
    if price is None:
        return "?", "?", "?"
    if price.compute_usd_per_hour is not None:
        return f"{price.compute_usd_per_hour:g}/h", "", ""
    known = (price.input_usd, price.cached_input_usd, price.output_usd)
    first, cached, last = ("?" if usd is None else f"{usd:.4g}" for usd in known)
    return first, cached, last


def _retires(row: ModelRow) -> str:
    if row.days_left is None:
        return ""
    if row.days_left < 0:
        return f"[red]{row.retirement_date} (retired)[/red]"
    text = f"{row.retirement_date} ({row.days_left} d)"
    return f"[yellow]{text}[/yellow]" if row.days_left < 90 else text


def _runs_here(row: ModelRow) -> str:
    if not row.runs_here:
        return "no: needs offramp\\[local]" if row.provider == "local" else "no key"
    return "after a pull" if row.pulled is False else "yes"
