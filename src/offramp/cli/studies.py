"""`offramp studies`: what a storage holds; `offramp pareto`: the front of one study as a table and a plot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offramp.cli.options import AS_JSON, WEIGHTS, study_options
from offramp.errors import UsageError, problem

if TYPE_CHECKING:
    from offramp.store.studies import StudyRow

_PROPOSAL = ("predictor", "name", "kind", "round", "text", "reason", "parents", "model")


@click.command()
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print records as JSON.")
def studies(storage: str | None, results: Path, as_json: bool) -> None:
    """List the studies in a storage, the newest first."""
    from offramp.study import lookup

    rows = [study_json(study) for study in lookup.studies(storage=storage, results=results)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    from offramp.cli.console import PlainConsole
    from offramp.study.wording import money, number, plain

    table = Table(pad_edge=False, box=None)
    for name in ("study", "ended", "trials", "quality", "spent", "updated (UTC)"):
        right = name in ("trials", "quality", "spent")
        table.add_column(name, justify="right" if right else "left", no_wrap=name == "study")
    for row in rows:
        table.add_row(
            plain(row["study"]),
            row["stop_reason"] or row["status"],
            str(row["trials"] or ""),
            number(row["quality"]) if row["quality"] is not None else "",
            money(row["spent_usd"]) if row["spent_usd"] is not None else "",
            str(row["updated_at"])[:16].replace("T", " "),
        )
    PlainConsole().print(table if rows else "No studies yet.")


def study_json(study: StudyRow) -> dict[str, Any]:
    """A study in JSON values, with the numbers of its last report; None where it has none yet."""
    summary = json.loads(study.summary_json) if study.summary_json else {}
    recommended = summary.get("recommended") or {}
    proposals = [row for row in summary.get("proposals", []) if row["round"]]  # round 0: texts of the space file
    return {
        "study": study.name,
        "space": study.space_name,
        "seed": study.seed,
        "status": str(study.status),
        "stop_reason": study.stop_reason,
        "trials": summary.get("trials"),
        "recommended": recommended.get("candidate"),
        "quality": recommended.get("quality"),
        "spent_usd": (summary.get("study_money") or {}).get("spent_usd"),
        "started_from": (summary.get("started_from") or {}).get("study"),
        "proposals": [{name: row[name] for name in _PROPOSAL} for row in proposals],
        "created_at": study.created_at,
        "updated_at": study.updated_at,
    }


@click.command()
@click.argument("study", default="latest")
@WEIGHTS
@click.option("--pick", metavar="WAY", help="Choose by weights, knee, within:POINTS, under:usd=U,seconds=S or no-loss.")
@study_options
@click.option("--all", "everything", is_flag=True, help="All candidates, not only the front.")
@AS_JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one row per candidate.")
def pareto(
    study: str, weights: str | None, pick: str | None, storage: str | None, results: Path, everything: bool,
    as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """Show the front of STUDY: its name, the beginning of it, or `latest`.

    No call is made: weights only rank and recommend. Tokens are priced at today's prices.
    """
    if as_json and as_csv:
        raise UsageError(problem("offramp pareto", "--json and --csv at once", do="Choose one."))
    from offramp.study import lookup
    from offramp.study.policies import parse_weights

    report = lookup.pareto(study, storage=storage, results=results, weights=parse_weights(weights), pick=pick)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2, allow_nan=False))
        return
    from offramp.cli import study_tables

    if as_csv:
        study_tables.write_csv(sys.stdout, report, everything=everything)
    else:
        study_tables.print_report(report, everything=everything)
