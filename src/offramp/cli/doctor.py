"""`offramp doctor`: is this machine fit to run a job, and if not, what to do about it.

Exit code 0 when nothing failed, else 1; warnings do not fail. The checks are in `health.py`; this file shows them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from offramp.cli.options import AS_JSON, stored

if TYPE_CHECKING:
    from offramp.cli.health import Check

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@stored
@AS_JSON
@click.pass_context
def doctor(ctx: click.Context, storage: str | None, results: Path, as_json: bool) -> None:
    """Check this machine: packages, memory, cache, storage, models, keys, prices.

    A storage of an earlier offramp is brought up to date.
    """
    from offramp.cli.health import State, run_checks

    checks = run_checks(storage, results)
    failed = any(check.state is State.FAIL for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _show(checks)
    ctx.exit(1 if failed else 0)


def _show(checks: Sequence[Check]) -> None:
    """A table of what was found, then a line for each thing to do."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "state", "found"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        table.add_row(Text(check.name), Text(check.state, style=_STYLES[check.state]), Text(check.found))
    console.print(table)
    for check in checks:
        if check.do and check.state != "ok":
            console.print(Text(f"{check.state} {check.name}: {check.do}", style=_STYLES[check.state]))
