"""`offramp compare`: two candidates example by example."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from offramp.cli.options import SPACE, stored
from offramp.errors import UsageError, problem


@click.command()
@click.argument("study")
@click.argument("a", default="recommended")
@click.argument("b", default="incumbent")
@click.option("--split", type=click.Choice(["holdout", "search"]), help="The holdout by default, where both ran on it.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Cut the examples by a column of the dataset. Repeatable.")
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Examples to show.")
@click.option("--margin", type=click.FloatRange(min=0, min_open=True), default=0.02, show_default=True,
              help="Loss of mean score that you would accept.")  # fmt: skip
@SPACE
@stored
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, all examples in it.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one row per example.")
def compare(
    study: str, a: str, b: str, split: str | None, by: tuple[str, ...], limit: int, margin: float, space: Path | None,
    storage: str | None, results: Path, as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """Compare candidate A with B in STUDY: wins, losses, ties, how sure the difference is, and the examples.

    A and B are `recommended`, `knee`, `incumbent`, `trial N`, or the beginning of a candidate's id. A wins where it
    scores more than B. No call is made.
    """
    if as_json and as_csv:
        raise UsageError(problem("offramp compare", "--json and --csv at once", do="Choose one."))
    from offramp.cli import compare_views
    from offramp.records import Split
    from offramp.study import api

    found = api.compare(
        study, a, b, storage=storage, results=results, split=None if split is None else Split(split), by=by,
        margin=margin, space_file=space,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(compare_views.to_json(found), indent=2, allow_nan=False))
    elif as_csv:
        compare_views.write_csv(sys.stdout, found)
    else:
        compare_views.print_comparison(found, limit=limit)
