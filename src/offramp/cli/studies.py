"""`offramp studies`: what a storage holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from offramp.cli.options import stored


@click.command()
@stored
@click.option("--json", "as_json", is_flag=True, help="Print records as JSON.")
def studies(storage: str | None, results: Path, as_json: bool) -> None:
    """List the studies in a storage, the newest first."""
    from offramp.study import api

    rows = [_row(study) for study in api.studies(storage=storage, results=results)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from offramp.cli.tables import print_studies

    print_studies(rows)


def _row(study: Any) -> dict[str, Any]:
    summary = json.loads(study.summary_json) if study.summary_json else {}
    recommended = summary.get("recommended") or {}
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
        "proposals": _proposals(summary.get("proposals", [])),
        "created_at": study.created_at,
        "updated_at": study.updated_at,
    }


def _proposals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Proposed instructions: name (None: dropped), text or the reason, and what they come from."""
    names = ("predictor", "name", "kind", "round", "text", "reason", "parents", "model")
    return [{name: row[name] for name in names} for row in rows if row["round"]]
