"""`offramp promote`: the winner of a study as config, with its evidence, behind a gate."""

from __future__ import annotations

import json
from typing import Any

import click

from offramp.cli.options import AS_JSON, BY, LABEL, LIFECYCLE, PROMOTIONS, SPACE, WHY, stored


@click.command()
@click.argument("study", default="latest")
@click.option("--pick", default="recommended", show_default=True,
              help="recommended, knee, incumbent, `trial N`, or the beginning of a candidate's id.")  # fmt: skip
@LABEL
@click.option("--feature", metavar="NAME", help="What apps call it  [default: the space's name]")
@click.option("--fallback", "fallbacks", multiple=True, metavar="MODEL",
              help="Model to ask when the first gives no answer; may be given several times.")  # fmt: skip
@click.option("--within", "within_days", type=click.IntRange(min=0), default=90, show_default=True, metavar="DAYS",
              help="Refuse a model that retires within so many days.")  # fmt: skip
@LIFECYCLE
@SPACE
@click.option("--force", is_flag=True, help="Promote although the gate does not hold; needs --why.")
@click.option("--dry-run", is_flag=True, help="Show what would change; write nothing.")
@WHY
@BY
@PROMOTIONS
@stored
@AS_JSON
@click.pass_context
def promote(ctx: click.Context, /, study: str, as_json: bool, **options: Any) -> None:
    """Promote a candidate of STUDY: write it with its evidence and point a label at it.

    Shows what changes for apps. Exit code 3, and nothing written, when the gate does not hold. No call is made.
    """
    from offramp.cli import promotion_views
    from offramp.promote import api

    try:
        done = api.promote(study, **options)
    except api.PromotionRefused as refused:
        if not as_json:
            promotion_views.print_changes(refused.changes)
            raise
        click.echo(json.dumps(promotion_views.refused_json(refused), indent=2))
        ctx.exit(refused.exit_code)
    if as_json:
        click.echo(json.dumps(promotion_views.promoted_json(done), indent=2))
    else:
        promotion_views.print_promoted(done)
