"""`offramp diff`: what differs between two promoted versions."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offramp.cli.options import AS_JSON, PROMOTIONS


@click.command()
@click.argument("feature")
@click.argument("before")
@click.argument("after")
@PROMOTIONS
@AS_JSON
def diff(feature: str, before: str, after: str, promotions: Path, as_json: bool) -> None:
    """Show what differs between two versions of FEATURE, each a label, a version or the beginning of one."""
    from offramp.cli import promotion_views
    from offramp.promote import api

    found = api.diff(feature, before, after, promotions=promotions)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        promotion_views.print_changes(found)
