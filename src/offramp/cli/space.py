"""`offramp space`: check a space file before a job does, or print the schema that editors use.

`space check` lists everything that is wrong and spends nothing; with `--json` the answer is one object, also for a file
with mistakes. Exit code 0 if the job could run, 2 if not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from offramp.cli.options import PATH
from offramp.errors import UsageError


@click.group()
def space() -> None:
    """Check a space file, or print its JSON schema."""


@space.command()
@click.argument("file", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, even for a file with mistakes.")
@click.pass_context
def check(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Check the space file FILE with its data and models. Writes and spends nothing."""
    try:
        summary = _summary(file)
    except UsageError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "problems": _problems(file, error)}, indent=2))
        ctx.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps({"ok": True, "summary": summary}, indent=2))
    else:
        _show(summary)


@space.command()
def schema() -> None:
    """Print the JSON schema of space files (schemas/space.schema.json)."""
    from offramp.space.schema import schema_text

    click.echo(schema_text(), nl=False)


def _summary(file: Path) -> dict[str, str]:
    from offramp.job.declared import check_declared
    from offramp.space.load import load_space

    declared = check_declared(load_space(file))  # before the imports below, which take seconds
    from offramp.job.reserving import check_reservable
    from offramp.job.resolve import resolve_job
    from offramp.search.estimate import job_summary

    job = resolve_job(declared)
    check_reservable(job, usd=job.space.budget.usd)
    summary: dict[str, str] = {}
    for name, value in job_summary(job):
        summary[name] = f"{summary[name]}\n{value}" if name in summary else value  # there may be several warnings
    return summary


def _problems(file: Path, error: UsageError) -> list[Mapping[str, Any]]:
    from offramp.space.messages import SpaceErrors

    if isinstance(error, SpaceErrors):
        return [{"where": p.where, "line": p.line, "key": p.key, "message": p.message} for p in error.problems]
    return [{"where": str(file), "line": None, "key": "", "message": str(error)}]


def _show(summary: Mapping[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from offramp.cli.console import PlainConsole

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in summary.items():
        table.add_row(Text(name, style="dim"), Text(value))
    console = PlainConsole()
    console.print(table)
    console.print(Text("The space file is correct. Nothing was written or spent.", style="green"))
