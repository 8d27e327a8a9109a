"""`offramp rollback`: back to what ran before, in one step."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offramp.cli.options import AS_JSON, BY, LABEL, LIFECYCLE, PROMOTIONS, WHY


@click.command()
@click.argument("feature")
@click.option("--to", metavar="VERSION", help="A version, or the beginning of one  [default: the one before]")
@LABEL
@WHY
@BY
@PROMOTIONS
@LIFECYCLE
@AS_JSON
def rollback(
    feature: str, to: str | None, label: str, why: str | None, by: str | None, promotions: Path,
    lifecycle: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Point a label of FEATURE back at the version before it; running apps follow with their next request."""
    from offramp.cli import promotion_views
    from offramp.promote import api

    done = api.rollback(feature, to=to, label=label, promotions=promotions, by=by, why=why, lifecycle=lifecycle)
    if as_json:
        click.echo(json.dumps(promotion_views.promoted_json(done), indent=2))
    else:
        promotion_views.print_promoted(done)
