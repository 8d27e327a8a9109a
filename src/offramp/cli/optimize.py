"""`offramp optimize`: the main job."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offramp.cli.options import AS_JSON, PATH, TEXT, stored, wire

if TYPE_CHECKING:
    from offramp.search.engine import JobResult


@click.command()
@click.argument("space", type=PATH)
@click.option("--trials", type=int, help="Different candidates to evaluate, the incumbent included.")
@click.option("--budget-usd", type=float, help="Cap on money, everything included.")
@click.option("--budget-calls", type=int, help="Cap on requests, everything included.")
@click.option("--minutes", type=float, help="Cap on wall clock.")
@click.option("--seed", type=int, help="Seed of every draw.")
@click.option("--concurrency", type=int, help="Requests in flight at the same time.")
@click.option(
    "--from", "from_study", type=TEXT, metavar="STUDY", help="Start from this study: front, results, history."
)
@click.option("--from-storage", type=TEXT, metavar="URL", help="Where that study is  [default: as --storage]")
@stored
@click.option("--dry-run", is_flag=True, help="Say what to expect; write and spend nothing.")
@AS_JSON
def optimize(
    space: Path,
    budget_usd: float | None,
    budget_calls: int | None,
    storage: str | None,
    results: Path,
    dry_run: bool,
    as_json: bool,
    **rest: Any,
) -> None:
    """Search the space file SPACE for the best trade of quality, cost and latency.

    The same command again continues the study: it pays for nothing that it has. Options go before the file's own.
    """
    limits = {**rest, "usd": budget_usd, "calls": budget_calls}
    if dry_run:
        _dry_run(space, storage, results, limits, as_json)
        return
    from offramp.search import api

    if as_json:
        result = api.optimize(space, storage=storage, results=results, **wire(), **limits)
        click.echo(json.dumps(api.result_json(result), indent=2, allow_nan=False))
    else:
        result = _live(space, storage, results, limits)
    if result.error is not None:
        raise result.error


def _live(space: Path, storage: str | None, results: Path, limits: dict[str, Any]) -> JobResult:
    from offramp.cli.live import LiveView
    from offramp.cli.tables import print_result
    from offramp.search import api

    click.echo(f"offramp: preparing {space}", err=True)
    with LiveView(sys.stderr) as view:
        result = api.optimize(space, storage=storage, results=results, observer=view.show, **wire(), **limits)
    print_result(result, results)
    return result


def _dry_run(space: Path, storage: str | None, results: Path, limits: dict[str, Any], as_json: bool) -> None:
    from offramp.search import api
    from offramp.search.estimate import job_summary

    job, expected = api.dry_run(space, storage=storage, results=results, **limits)
    if as_json:
        summary = dict(job_summary(job))
        click.echo(json.dumps({"dry_run": expected.to_json(), "space": summary}, indent=2))
        return
    from offramp.cli.tables import print_estimate

    print_estimate(job_summary(job), expected)
