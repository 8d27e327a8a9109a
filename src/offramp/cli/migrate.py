"""`offramp migrate`: from a retirement notice to a proposal, in one command.

Exit code 0 with a proposal that is not worse than what runs today, 3 with one that is (it is written all the same),
1 and 2 as usual. The same command again goes on where it was stopped and pays for nothing that it has.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offramp.cli.options import AS_JSON, FILE, LABEL, LIFECYCLE, PROMOTIONS, SPACE, stored, wire

if TYPE_CHECKING:
    from offramp.lifecycle.migration.migrate import Places
    from offramp.lifecycle.migration.record import Migration

WORSE = 3


@click.command()
@click.argument("feature")
@click.option(
    "--to", multiple=True, metavar="MODEL", help="Model to try; again for more. [default: up to 3 successors]"
)
@LABEL
@click.option(
    "--reference",
    type=click.Choice(["labels", "answers"]),
    default="labels",
    show_default=True,
    help="Judge by the data's labels, or by the recorded answers of what runs today.",
)
@click.option("--trials", type=int, help="Different candidates of the search. [default: as the space file says]")
@click.option("--budget-usd", type=float, help="Cap on money, all runs together.")
@click.option("--budget-calls", type=int, help="Cap on requests, all runs together.")
@click.option("--minutes", type=float, help="Cap on wall clock, all runs together.")
@click.option("--seed", type=int, help="Seed of the search.")
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    help="Where the proposal goes. [default: proposals/FEATURE-DATE.md]",
)
@LIFECYCLE
@SPACE
@PROMOTIONS
@stored
@AS_JSON
def migrate(feature: str, to: tuple[str, ...], label: str, out: Path | None, as_json: bool,
            lifecycle: Path | None, space: Path | None, promotions: Path, storage: str | None, results: Path,
            **rest: Any) -> None:  # fmt: skip
    """Find a successor for the model of FEATURE, compare, and write a proposal."""
    from offramp.lifecycle.migration.migrate import Places
    from offramp.lifecycle.migration.write import migration_json, write_proposal

    places = Places(promotions=promotions, storage=storage, results=results, lifecycle=lifecycle, space=space)
    found = _run(feature, to, label, places, rest)
    path = write_proposal(found, out, promote_command=_promote_command(found, promotions, lifecycle, storage, results))
    if as_json:
        click.echo(json.dumps({**migration_json(found), "proposal": str(path)}, indent=2, allow_nan=False))
    else:
        _show(found, path)
    worse = found.reference == "labels" and found.chosen.contest is not None and found.chosen.contest.worse
    click.get_current_context().exit(WORSE if worse else 0)


def _run(feature: str, to: tuple[str, ...], label: str, places: Places, rest: dict[str, Any]) -> Migration:
    from offramp.cli.live import LiveView
    from offramp.lifecycle.migration.migrate import migrate as run
    from offramp.lifecycle.migration.record import Reference
    from offramp.lifecycle.migration.runs import Caps

    caps = Caps(usd=rest["budget_usd"], calls=rest["budget_calls"], minutes=rest["minutes"])
    with LiveView(sys.stderr) as view:
        return run(
            feature, to=to, label=label, places=places, caps=caps, trials=rest["trials"], seed=rest["seed"],
            reference=Reference(rest["reference"]),
            observer=view.show, say=lambda text: click.echo(f"offramp: {text}", err=True), **wire(),
        )  # fmt: skip


def _promote_command(
    found: Migration, promotions: Path, lifecycle: Path | None, storage: str | None, results: Path
) -> str:
    words = ["offramp", "promote", found.chosen.study, "--pick", found.chosen.candidate.id, "--feature", found.feature]
    if found.label != "production":
        words += ["--label", found.label]
    if promotions != Path("promotions"):
        words += ["--promotions", str(promotions)]
    if storage is not None:
        words += ["--storage", storage]
    elif results != Path("results"):
        words += ["--results", str(results)]
    if lifecycle is not None:
        words += ["--lifecycle", str(lifecycle)]
    return shlex.join(words)


def _show(found: Migration, path: Path) -> None:
    from offramp.cli.migrate_tables import print_migration

    print_migration(found)
    click.echo(f"Proposal: {path}")
