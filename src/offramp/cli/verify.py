"""`offramp verify`: a study's whole front on the holdout, and its latency measured apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from offramp.cli.options import AS_JSON, SPACE, stored, wire


@click.command()
@click.argument("study", default="latest")
@click.option(
    "--budget-usd", type=float, help="Budget of this command; by default half more than it is expected to cost."
)
@click.option("--budget-calls", type=int, help="Cap on its requests.")
@click.option("--minutes", type=float, help="Cap on wall clock.")
@click.option("--probe", type=click.IntRange(min=0, max=10_000), default=20, show_default=True,
              help="Timed runs of each candidate; 0 for none. p95 has an upper end from 72 runs on.")  # fmt: skip
@click.option("--probe-concurrency", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Timed runs at the same time.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 1024), help="Requests in flight on the holdout.")
@SPACE
@stored
@click.option("--dry-run", is_flag=True, help="Say who would be verified and from which budget; spend nothing.")
@AS_JSON
def verify(
    study: str, budget_usd: float | None, budget_calls: int | None, minutes: float | None, probe: int,
    probe_concurrency: int, concurrency: int | None, space: Path | None, storage: str | None, results: Path,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Score the front of STUDY, the recommended candidate and the incumbent on the holdout, and time them apart.

    Nothing that the search found changes. What has been scored on the holdout is not run again; a probe is new each
    time: warm models, a fixed concurrency, nothing from the ledger, candidates in turns.
    """
    from offramp.cli import verify_views
    from offramp.search import api

    asked: dict[str, Any] = {"usd": budget_usd, "calls": budget_calls, "minutes": minutes, "probe": probe,
             "probe_concurrency": probe_concurrency, "concurrency": concurrency}  # fmt: skip
    where: dict[str, Any] = {"storage": storage, "results": results, "space_file": space}
    if dry_run:
        plan = api.plan_verify(study, **where, **asked)
        shown = json.dumps(verify_views.plan_json(plan), indent=2) if as_json else verify_views.plan_text(plan)
        click.echo(shown)
        return
    with verify_views.Watching(quiet=as_json) as watching:
        done = api.verify(study, started=watching.planned, progress=watching.told, **wire(), **where, **asked)
    if as_json:
        click.echo(json.dumps(verify_views.to_json(done), indent=2, allow_nan=False))
    else:
        verify_views.print_verified(done)
