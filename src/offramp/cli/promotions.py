"""The commands on promoted versions: `offramp promote`, `rollback`, `history` and `diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offramp.cli.options import AS_JSON, BY, FEED, LABEL, LIFECYCLE, PROMOTIONS, SPACE, WHY, study_options

if TYPE_CHECKING:
    from offramp.promote.changes import Changes
    from offramp.promote.promoting import Promoted
    from offramp.promote.promotion import SplitEvidence

_OF_A_FIRST_VERSION = (
    "model.name", "fallbacks", "others", "predictor_models", "request_params", "predictor_params", "instructions",
    "demos.kind", "demos.count", "candidate", "cascade.kind", "cascade.of", "cascade.threshold",
    "cascade.second_of", "cascade.second_threshold",
)  # fmt: skip
"""Beginnings of the keys that are shown of a first version, of which everything is new."""


@click.command()
@click.argument("study", default="latest")
@click.option("--pick", default="recommended", show_default=True,
              help="recommended, knee, incumbent, `trial N`, or the beginning of a candidate's id.")  # fmt: skip
@click.option("--cascade", metavar="RULE",
              help="Not a candidate but a rule of `offramp cascades`: chosen, a kind, or its id.")  # fmt: skip
@click.option("--weights", metavar="W", help="With --cascade, as for `offramp cascades`.")
@LABEL
@click.option("--feature", metavar="NAME", help="Name that apps use  [default: the space's name]")
@click.option("--fallback", "fallbacks", multiple=True, metavar="MODEL",
              help="Model to ask when the first gives no answer. Repeatable.")  # fmt: skip
@click.option("--within", "within_days", type=click.IntRange(min=0), default=90, show_default=True, metavar="DAYS",
              help="Refuse a model that retires within this many days.")  # fmt: skip
@LIFECYCLE
@FEED
@SPACE
@click.option("--force", is_flag=True, help="Promote even if the gate refuses; needs --why.")
@click.option("--dry-run", is_flag=True, help="Show what would change; write nothing.")
@WHY
@BY
@PROMOTIONS
@study_options
@AS_JSON
@click.pass_context
def promote(ctx: click.Context, /, study: str, as_json: bool, weights: str | None, **options: Any) -> None:
    """Promote a candidate or a cascade of STUDY: write it with its evidence and point a label at it.

    Shows what changes for apps. If the gate refuses, nothing is written and the exit code is 3. No call is made.
    """
    from offramp.promote import promoting
    from offramp.study.policies import parse_weights

    try:
        done = promoting.promote(study, weights=parse_weights(weights), **options)
    except promoting.PromotionRefused as refused:
        if not as_json:
            print_changes(refused.changes)
            raise
        found = {"feature": refused.promotion.feature, "version": None, "label": None, "refused": list(refused.reasons)}
        click.echo(json.dumps({**found, "changes": refused.changes.to_json()}, indent=2))
        ctx.exit(refused.exit_code)
    print_promoted(done, as_json=as_json)


@click.command()
@click.argument("feature")
@click.option("--to", metavar="VERSION", help="A version, or the beginning of one  [default: the previous one]")
@LABEL
@WHY
@BY
@PROMOTIONS
@LIFECYCLE
@AS_JSON
def rollback(feature: str, as_json: bool, **options: Any) -> None:
    """Point a label of FEATURE back at its previous version; running apps follow with their next request."""
    from offramp.promote import promoting

    print_promoted(promoting.rollback(feature, **options), as_json=as_json)


@click.command()
@click.argument("feature")
@PROMOTIONS
@AS_JSON
def history(feature: str, promotions: Path, as_json: bool) -> None:
    """Show every move of a label of FEATURE, the newest last."""
    from offramp.promote import promoting
    from offramp.promote.serialization import values_of
    from offramp.study.wording import plain

    moves = promoting.history(feature, promotions=promotions)
    if as_json:
        click.echo(json.dumps([values_of(move) for move in moves], indent=2))
        return
    for move in moves:
        before = f" (was {move.from_version})" if move.from_version else ""
        why = f": {move.why}" if move.why else ""
        forced = f" [forced despite: {'; '.join(move.forced)}]" if move.forced else ""
        line = f"{move.at}  {move.by}  {move.action}  {move.label} -> {move.version}{before}{why}{forced}"
        click.echo(plain(line))
    if not moves:
        click.echo("No label has been moved yet.")


@click.command()
@click.argument("feature")
@click.argument("before")
@click.argument("after")
@PROMOTIONS
@AS_JSON
def diff(feature: str, before: str, after: str, promotions: Path, as_json: bool) -> None:
    """Show what differs between two versions of FEATURE, each a label, a version or the beginning of one."""
    from offramp.promote import promoting

    found = promoting.diff(feature, before, after, promotions=promotions)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        print_changes(found)


def print_changes(found: Changes) -> None:
    """What differs, the config first."""
    from offramp.promote.changes import change_lines, value_lines
    from offramp.study.wording import plain

    click.echo(f"{found.before or 'nothing'} -> {found.after}")
    if not found.config:
        click.echo("  config: unchanged")
    everything = (*found.config, *found.numbers, *found.unreadable)
    if found.before is None:
        shown = [change for change in everything if change.key.startswith(_OF_A_FIRST_VERSION)]
        lines = [line for change in shown for line in value_lines(change)]
    else:
        lines = [line for change in everything for line in change_lines(change)]
    for line in lines:
        click.echo(f"  {plain(line)}")


def print_promoted(done: Promoted, *, as_json: bool) -> None:
    """What a promote or a rollback did, or would do."""
    from offramp.promote.serialization import values_of
    from offramp.study.wording import plain, signed

    promotion, move = done.promotion, done.move
    if as_json:
        found = {
            "feature": promotion.feature,
            "version": promotion.version,
            "label": None if move is None else move.label,
            "path": str(done.path),
            "refused": list(done.refused),
            "notes": list(done.notes),
            "move": None if move is None else values_of(move),
            "changes": done.changes.to_json(),
            "promotion": values_of(promotion),
        }
        click.echo(json.dumps(found, indent=2))
        return
    print_changes(done.changes)
    for reason in done.refused:
        click.echo(f"  {'forced' if move else 'the gate would refuse'}: {plain(reason)}")
    notes = [f"  note: {plain(note)}" for note in done.notes]
    if move is None:
        for note in notes:
            click.echo(note)
        click.echo(f"Would write {done.path}. Nothing was written.")
        return
    models = " / ".join(dict.fromkeys(part.model.name for part in promotion.parts))
    click.echo(f"{promotion.feature}: {move.label} is {promotion.version} ({plain(models)})")
    click.echo(f"  {_holdout_line(promotion.evidence.holdout)}")
    if promotion.cascade is not None and (gain := promotion.cascade.holdout) is not None:
        ahead = f"{signed(gain.difference)} of utility to the best single candidate"
        ahead += f" ({signed(gain.low)} to {signed(gain.high)})"
        click.echo(f"  {promotion.cascade.kind} cascade on the holdout: {ahead}, n={gain.n}")
    click.echo(f"  {done.path}")
    for note in notes:
        click.echo(note)


def _holdout_line(found: SplitEvidence | None) -> str:
    from offramp.study.wording import number, per_thousand, seconds, unreadable_words

    if found is None or found.quality is None:
        return "holdout: not evaluated"
    interval = f"{number(found.quality_low)} to {number(found.quality_high)}"
    text = f"holdout: quality {number(found.quality)} ({interval}), n={found.n}"
    if found.n_failed:
        text += f" ({found.n_failed} more have no score; these numbers are as on all)"
    if found.n_runs is not None:
        text += f" in {found.n_runs} runs"
    if found.n_fault:
        text += f", {unreadable_words(found.n_fault, found.n)}"
    return f"{text}, {per_thousand(found.cost_usd)} per 1,000 runs, p95 {seconds(found.latency_p95_s)}"
