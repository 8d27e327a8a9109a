"""`offramp report`: a study as one HTML file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offramp.cli.options import PATH, WEIGHTS, stored


@click.command()
@click.argument("study", default="latest")
@click.option("--out", type=PATH, help="The file  [default: RESULTS/<study>.html]")
@WEIGHTS
@stored
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: where the file is, and its size.")
def report(
    study: str, out: Path | None, weights: str | None, storage: str | None, results: Path, as_json: bool
) -> None:
    """Write STUDY (its name, the beginning of it, or `latest`) as one HTML file that loads nothing from anywhere."""
    from offramp.review import report as library
    from offramp.study.weights import parse_weights

    path = library.report(study, out=out, storage=storage, results=results, weights=parse_weights(weights))
    if as_json:
        click.echo(json.dumps({"path": str(path), "bytes": path.stat().st_size}))
    else:
        click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
