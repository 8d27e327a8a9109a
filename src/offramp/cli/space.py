"""`offramp space`: check a space file before a job does, or print the schema that editors use.

`space check` lists everything that is wrong and spends nothing; with `--json` the answer is one object, also for a file
with mistakes. Exit code 0 if the job could run, 2 if not. `space show` prints what would be sent for a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offramp.cli.options import AS_JSON, PATH, TRUST
from offramp.errors import UsageError

if TYPE_CHECKING:
    from offramp.job.shown_requests import ShownRequest


@click.group()
def space() -> None:
    """Check a space file, show what it sends, or print the JSON schema."""


@space.command()
@click.argument("file", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, even for a file with mistakes.")
@TRUST
@click.pass_context
def check(ctx: click.Context, file: Path, as_json: bool, trust: bool) -> None:
    """Check the space file FILE with its data and models. Writes and spends nothing."""
    try:
        summary, warnings = summary_of(file, trust)
    except UsageError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "problems": _problems(file, error)}, indent=2))
        ctx.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps({"ok": True, "summary": summary, "warnings": warnings}, indent=2))
    else:
        _show(summary, len(warnings))


@space.command()
@click.argument("file", type=PATH)
@click.option("--row", type=int, metavar="N", help="Row of the dataset  [default: the first of the search split]")
@AS_JSON
def show(file: Path, row: int | None, as_json: bool) -> None:
    """Print the exact request for one row: as the incumbent sends it, and in each message format. Calls no model."""
    from offramp.job.resolve import resolve_job
    from offramp.job.shown_requests import example_at, shown_requests
    from offramp.space.load import load_space

    job = resolve_job(load_space(file))
    split, example = example_at(job, row)
    found = shown_requests(job, example)
    if as_json:
        first = {"row": example.row, "example": example.id, "split": str(split)}
        click.echo(json.dumps({**first, "requests": [one.to_json() for one in found]}, indent=2, default=str))
        return
    click.echo(f"Row {example.row} ({split}, {example.id})")
    for one in found:
        _show_request(one)


def _show_request(one: ShownRequest) -> None:
    from offramp.study.wording import plain, short_params

    def text(value: Any) -> str:
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
        return "\n".join(plain(line) for line in written.splitlines())

    click.echo(f"\n=== {plain(one.title)}: {short_params(one.params)}")
    if one.note is not None:
        click.echo(f"note: {one.note}")
    if one.request is None:
        click.echo("It makes no request.")
        return
    for message in one.request.messages:
        more = {name: value for name, value in message.items() if name not in ("role", "content")}
        click.echo(f"[{message.get('role')}]\n{text(message.get('content') or '')}{text(more) if more else ''}")
    click.echo(f"[parameters, to {plain(one.request.model.route)}]\n{text(dict(one.request.params))}")


@space.command()
def schema() -> None:
    """Print the JSON schema of space files (schemas/space.schema.json)."""
    from offramp.space.schema import schema_text

    click.echo(schema_text(), nl=False)


def summary_of(file: Path, trust: bool) -> tuple[dict[str, str], list[str]]:
    """Names and values for people, and the warnings among them."""
    from offramp.job.declared import check_declared
    from offramp.job.trust import load_for

    declared = check_declared(load_for(file, trust=trust))  # before the imports below, which take seconds
    from offramp.job.check_here import missing_here
    from offramp.job.reserving import check_reservable
    from offramp.job.resolve import resolve_job
    from offramp.search.estimate import job_summary
    from offramp.task.findings import data_findings
    from offramp.task.metrics import gold_columns

    job = resolve_job(declared)
    check_reservable(job, usd=job.space.budget.usd)
    summary: dict[str, str] = {}
    found = data_findings(job.task, job.space.dataset, job.loaded.base, gold_columns(job.space.metric))
    more = [*missing_here(job), *found]
    told = [*job_summary(job), *(("warning", text) for text in more)]
    for name, value in told:
        summary[name] = f"{summary[name]}\n{value}" if name in summary else value  # there may be several warnings
    return summary, [text for name, text in told if name == "warning"]


def _problems(file: Path, error: UsageError) -> list[Mapping[str, Any]]:
    from offramp.space.messages import SpaceErrors

    if isinstance(error, SpaceErrors):
        return [{"where": p.where, "line": p.line, "key": p.key, "message": p.message} for p in error.problems]
    return [{"where": str(file), "line": None, "key": "", "message": str(error)}]


def _show(summary: Mapping[str, str], warnings: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from offramp.cli.console import PlainConsole

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in summary.items():
        table.add_row(Text(name, style="dim"), Text(value))
    console = PlainConsole()
    console.print(table)
    also = (
        "" if not warnings else " See the warning above." if warnings == 1 else f" See the {warnings} warnings above."
    )
    console.print(Text(f"The space file is correct.{also} Nothing was written or spent.", style="green"))
