"""`offramp models`: what can be searched, at which price and for how long; and the files of the embedded models."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from offramp.models.embedded import Progress
    from offramp.models.listing import ModelRow


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print records as JSON.")
@click.option("--all", "everything", is_flag=True, help="All chat models known, not only those with a key set.")
@click.option("--provider", help="Only models of this provider, such as openai or local.")
@click.option("--search", metavar="TEXT", help="Only names that contain TEXT.")
@click.pass_context
def models(context: click.Context, as_json: bool, everything: bool, provider: str | None, search: str | None) -> None:
    """What can be searched: price, context, retirement date, whether it runs here."""
    if context.invoked_subcommand is not None:
        return
    from offramp.models.listing import list_models

    rows = list_models(everything=everything, provider=provider, search=search)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        _print_table(rows, everything=everything)


@models.command()
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All embedded models.")
@click.option("--json", "as_json", is_flag=True, help="Print records as JSON.")
def pull(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Fetch embedded models into the cache folder and check their content."""
    from offramp.models import embedded

    chosen = _chosen(names, everything)
    results = []
    for name in chosen:
        shown = _progress_line(name) if sys.stderr.isatty() else None
        path = embedded.pull(name, shown)
        if shown is not None:
            click.echo("\r\x1b[K", nl=False, err=True)
        results.append(_result(name, str(path), as_json))
    if as_json:
        click.echo(json.dumps(results, indent=2))


@models.command()
@click.argument("names", metavar="[NAME...]", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print records as JSON.")
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Hash the files of embedded models anew; those that were pulled by default."""
    from offramp.models import embedded
    from offramp.models.gguf_files import BY_NAME

    chosen = _chosen(names, False) if names else [name for name in BY_NAME if embedded.file(name).exists()]
    results = [_result(name, str(embedded.verify(name)), as_json) for name in chosen]
    if as_json:
        click.echo(json.dumps(results, indent=2))
    elif not chosen:
        click.echo("No embedded model is pulled yet. Run `offramp models pull NAME`.")


def _chosen(names: tuple[str, ...], everything: bool) -> list[str]:
    from offramp.models.gguf_files import BY_NAME, embedded_model

    if everything == bool(names):
        raise click.UsageError(f"give names or --all; there are {', '.join(BY_NAME)}")
    return list(BY_NAME) if everything else [embedded_model(name, "offramp models").name for name in names]


def _result(name: str, path: str, as_json: bool) -> dict[str, str]:
    from offramp.models.gguf_files import embedded_model

    model = embedded_model(name)
    if not as_json:
        click.echo(f"{name}: {path}\n  sha256 {model.sha256} verified; licence: {model.licence}")
    return {"name": name, "path": path, "sha256": model.sha256, "licence": model.licence}


class _progress_line:
    """Rewrites one line on the terminal when the whole per cent or the step changes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = ("", -1)

    def __call__(self, progress: Progress) -> None:
        percent = progress.done_bytes * 100 // progress.total_bytes
        if (progress.step, percent) == self._last:
            return
        self._last = (progress.step, percent)
        megabytes = f"{progress.done_bytes / 1e6:.0f} of {progress.total_bytes / 1e6:.0f} MB"
        click.echo(f"\r\x1b[K{self._name}: {percent} % ({megabytes}) {progress.step}", nl=False, err=True)


def _print_table(rows: list[ModelRow], *, everything: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="USD per million tokens, or per hour of computing; `?`: not known",
    )
    table.add_column("model", overflow="fold")
    for heading in ("input", "cached", "output", "context"):
        table.add_column(heading, justify="right")
    for heading in ("retires", "runs here"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(escape(row.name), *_prices(row), _count(row.context_tokens), _retires(row), _runs_here(row))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table if rows else "No model matches.")
    if not everything:
        console.print("Embedded models, and hosted ones whose key is set. --all shows every chat model known.")


def _prices(row: ModelRow) -> tuple[str, str, str]:
    price = row.price
    if price is None:
        return "?", "?", "?"
    if price.compute_usd_per_hour is not None:
        return f"{price.compute_usd_per_hour:g}/h", "", ""
    return _usd(price.input_usd), _usd(price.cached_input_usd), _usd(price.output_usd)


def _usd(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _retires(row: ModelRow) -> str:
    if row.days_left is None:
        return ""
    if row.days_left < 0:
        return f"[red]{row.retirement_date} (gone)[/red]"
    text = f"{row.retirement_date} ({row.days_left} d)"
    return f"[yellow]{text}[/yellow]" if row.days_left < 90 else text


def _runs_here(row: ModelRow) -> str:
    if not row.runs_here:
        return "no: needs offramp\\[local]" if row.provider == "local" else "no key"
    return "after a pull" if row.pulled is False else "yes"
