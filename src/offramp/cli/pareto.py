"""`offramp pareto`: a study's front as a table and a plot; other weights cost nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from offramp.cli.options import AS_JSON, WEIGHTS, stored
from offramp.errors import UsageError, problem


@click.command()
@click.argument("study", default="latest")
@WEIGHTS
@click.option("--pick", metavar="WAY", help="Choose by weights, knee, within:POINTS, under:usd=U,seconds=S or no-loss.")
@stored
@click.option("--all", "everything", is_flag=True, help="All candidates, not the front alone.")
@AS_JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one row per candidate.")
def pareto(
    study: str, weights: str | None, pick: str | None, storage: str | None, results: Path, everything: bool,
    as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """Show the front of STUDY: its name, the beginning of it, or `latest`.

    No call is made: weights only rank and recommend. Tokens are priced with today's prices.
    """
    if as_json and as_csv:
        raise UsageError(problem("offramp pareto", "--json and --csv at once", do="Choose one."))
    from offramp.study import api
    from offramp.study.weights import parse_weights

    report = api.pareto(study, storage=storage, results=results, weights=parse_weights(weights), pick=pick)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2, allow_nan=False))
        return
    from offramp.cli import tables

    if as_csv:
        tables.write_csv(sys.stdout, report, everything=everything)
    else:
        tables.print_report(report, everything=everything)
