"""`offramp history`: who promoted what, when and why."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offramp.cli.options import AS_JSON, PROMOTIONS


@click.command()
@click.argument("feature")
@PROMOTIONS
@AS_JSON
def history(feature: str, promotions: Path, as_json: bool) -> None:
    """Show every move of a label of FEATURE, the newest last."""
    from offramp.cli import promotion_views
    from offramp.promote import api
    from offramp.promote.reading import values_of

    found = api.history(feature, promotions=promotions)
    if as_json:
        click.echo(json.dumps([values_of(move) for move in found], indent=2))
    else:
        promotion_views.print_history(found)
