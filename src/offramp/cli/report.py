"""`offramp report`: a study as one HTML file."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("study", default="latest")
@click.option("--out", type=click.Path(path_type=Path), help="The file  [default: RESULTS/<study>.html]")
@click.option("--weights", metavar="W", help="Other weights, such as quality=.6,cost=.3,latency=.1")
@click.option(
    "--storage", metavar="URL", envvar="OFFRAMP_STORAGE", help="SQLAlchemy URL  [default: RESULTS/offramp.db]"
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    envvar="OFFRAMP_RESULTS",
    help="Folder that the run wrote to.",
)
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
