"""`offramp migrate`: from a retirement notice to a proposal, in one command.

Exit code 0 with a proposal that is not shown to be worse than today's config, 3 with one that is, or whose holdout is
incomplete (it is written all the same), 1 and 2 as usual. Running the same command again continues where it stopped and
pays for nothing that it already has.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from offramp.cli.options import AS_JSON, FEED, FILE, LABEL, LIFECYCLE, PROMOTIONS, SPACE, study_options, wire

if TYPE_CHECKING:
    from offramp.lifecycle.migration.migrating import Places
    from offramp.lifecycle.migration.record import Contender, Migration
    from offramp.records import Aggregate

WORSE = 3


@click.command()
@click.argument("feature")
@click.option("--to", multiple=True, metavar="MODEL", help="Model to try. Repeatable. [default: up to 3 successors]")
@LABEL
@click.option("--reference", type=click.Choice(["labels", "answers"]), default="labels", show_default=True,
              help="Judge by the data's labels, or by the recorded answers of today's config.")  # fmt: skip
@click.option("--trials", type=int, help="Different candidates to search. [default: the space file's number]")
@click.option("--budget-usd", type=float, help="Cap on money for all runs together, earlier commands included.")
@click.option("--budget-calls", type=int, help="Cap on requests for all runs together, earlier commands included.")
@click.option("--minutes", type=float, help="Cap on the wall clock time of this command, for all runs together.")
@click.option("--seed", type=int, help="Seed of the search.")
@click.option("--out", type=FILE, metavar="FILE",
              help="File for the proposal. [default: proposals/FEATURE-DATE.md]")  # fmt: skip
@LIFECYCLE
@FEED
@SPACE
@PROMOTIONS
@study_options
@AS_JSON
@click.pass_context
def migrate(
    ctx: click.Context, /, feature: str, to: tuple[str, ...], label: str, reference: str, trials: int | None,
    budget_usd: float | None, budget_calls: int | None, minutes: float | None, seed: int | None, out: Path | None,
    lifecycle: Path | None, feeds: tuple[Path, ...], space: Path | None, promotions: Path, storage: str | None,
    results: Path, as_json: bool,
) -> None:  # fmt: skip
    """Find a successor for the model of FEATURE, compare, and write a proposal."""
    from offramp.cli.live import LiveView
    from offramp.lifecycle.migration.migrating import Places, run_migration
    from offramp.lifecycle.migration.proposal import migration_json, write_proposal
    from offramp.lifecycle.migration.record import Reference
    from offramp.lifecycle.migration.runs import Caps

    places = Places(
        promotions=promotions, storage=storage, results=results, lifecycle=lifecycle, feeds=feeds, space=space
    )
    caps = Caps(usd=budget_usd, calls=budget_calls, minutes=minutes)
    with LiveView(sys.stderr) as view:
        found = run_migration(
            feature, to=to, label=label, places=places, caps=caps, trials=trials, seed=seed,
            reference=Reference(reference), observer=view.show,
            say=lambda text: click.echo(f"offramp: {text}", err=True), **wire(),
        )  # fmt: skip
    path = write_proposal(found, out, promote_command=suggested_promotion(found, places))
    if as_json:
        click.echo(json.dumps({**migration_json(found), "proposal": str(path)}, indent=2, allow_nan=False))
    else:
        print_migration(found)
        click.echo(f"Proposal: {path}")
    against = found.chosen.comparison
    worse = found.reference == "labels" and against is not None and against.worse
    ctx.exit(WORSE if worse or not found.complete(found.chosen) else 0)


def suggested_promotion(found: Migration, places: Places) -> str:
    """The command that promotes what was proposed."""
    words = ["offramp", "promote", found.chosen.study, "--pick", found.chosen.candidate.id, "--feature", found.feature]
    if found.label != "production":
        words += ["--label", found.label]
    if places.promotions != Path("promotions"):
        words += ["--promotions", str(places.promotions)]
    if places.storage is not None:
        words += ["--storage", places.storage]
    elif places.results != Path("results"):
        words += ["--results", str(places.results)]
    if places.lifecycle is not None:
        words += ["--lifecycle", str(places.lifecycle)]
    for feed in places.feeds:
        words += ["--feed", str(feed)]
    return shlex.join(words)


def print_migration(found: Migration) -> None:
    """Today's config, each drop-in and the proposal on the holdout, and the conclusion."""
    from offramp.lifecycle.migration.proposal import conclusion
    from offramp.lifecycle.migration.record import Kind
    from offramp.study.wording import plain, short_params

    click.echo(f"{'holdout':<46}{'quality':>9}{'$/1k runs':>11}{'p50':>9}{'against today':>15}")
    _print_row(f"today: {found.before.model}", found.baseline.holdout, None)
    contenders = [(_named(item), item) for item in found.drop_ins]
    if found.chosen.kind is Kind.SEARCHED:
        contenders.append((f"new config: {found.chosen.candidate.model}", found.chosen))
    for name, item in contenders:
        _print_row(name, item.holdout, None if item.comparison is None else item.comparison.difference)
    if found.complete(found.chosen):
        click.echo(f"Proposed: {found.chosen.candidate.id} ({short_params(found.chosen.candidate.params)})")
    click.echo(conclusion(found))
    for left in found.left_out:
        click.echo(f"Left out: {plain(left.name)}: {plain(' '.join(left.why.split()))}")


def _named(item: Contender) -> str:
    more = f", {item.raised.replace(' raised from ', ' ').replace(' to ', ' -> ')}" if item.raised else ""
    return f"{'adapted' if item.rejected or item.raised else 'unchanged'}: {item.candidate.model}{more}"


def _print_row(name: str, seen: Aggregate, difference: float | None) -> None:
    from offramp.study.wording import number, per_thousand, plain, points, seconds

    against = "" if difference is None else f"{points(difference)} points"
    cells = f"{number(seen.quality):>9}{per_thousand(seen.cost_usd):>11}{seconds(seen.latency_p50_s):>9}{against:>15}"
    click.echo(f"{plain(name):<46}{cells}")
