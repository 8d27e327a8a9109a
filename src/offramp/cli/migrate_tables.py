"""What `offramp migrate` found, for the terminal."""

from __future__ import annotations

import click

from offramp.lifecycle.migration.page import verdict
from offramp.lifecycle.migration.record import Figures, Kind, Migration
from offramp.study.wording import number, per_thousand, plain, seconds, short_params


def print_migration(found: Migration) -> None:
    """Today, each drop-in and the proposal on the holdout, and the verdict."""
    click.echo(f"{'holdout':<46}{'quality':>9}{'$/1k runs':>11}{'p50':>9}{'against today':>15}")
    _line(f"today: {found.before.model}", found.baseline.holdout, None)
    for item in found.drop_ins:
        gap = None if item.contest is None else item.contest.difference
        _line(f"as it is: {item.candidate.model}", item.holdout, gap)
    if found.chosen.kind is Kind.SEARCHED:
        gap = None if found.chosen.contest is None else found.chosen.contest.difference
        _line(f"new config: {found.chosen.candidate.model}", found.chosen.holdout, gap)
    click.echo(f"Proposed: {found.chosen.candidate.id} ({short_params(found.chosen.candidate.params)})")
    click.echo(verdict(found))
    for left in found.left_out:
        click.echo(f"Left out: {plain(left.name)}: {plain(' '.join(left.why.split()))}")


def _line(name: str, seen: Figures, gap: float | None) -> None:
    against = "" if gap is None else f"{gap * 100:+.1f} points"
    cells = f"{number(seen.quality):>9}{per_thousand(seen.cost_usd):>11}{seconds(seen.p50_s):>9}{against:>15}"
    click.echo(f"{plain(name):<46}{cells}")
