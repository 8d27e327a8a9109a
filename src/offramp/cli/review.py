"""`offramp report` and `offramp review`: a study as one HTML file, and the same as a live page."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offramp.cli.options import PATH, PROMOTIONS, WEIGHTS, study_options


@click.command()
@click.argument("study", default="latest")
@click.option("--out", type=PATH, help="The file  [default: RESULTS/<study>.html]")
@WEIGHTS
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the file's path and size.")
def report(
    study: str, out: Path | None, weights: str | None, storage: str | None, results: Path, as_json: bool
) -> None:
    """Write STUDY (its name, the beginning of it, or `latest`) as one HTML file that loads nothing from anywhere."""
    from offramp.review import report_file
    from offramp.study.policies import parse_weights

    path = report_file.report(study, out=out, storage=storage, results=results, weights=parse_weights(weights))
    if as_json:
        click.echo(json.dumps({"path": str(path), "bytes": path.stat().st_size}))
    else:
        click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


@click.command()
@click.argument("study", required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=8600, show_default=True, help="0 takes any free port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--token", envvar="OFFRAMP_REVIEW_TOKEN", help="Ask for this token  [default: a new one]")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@PROMOTIONS
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with the address, then serve.")
def review(
    study: str | None, port: int, host: str, token: str | None, open_browser: bool, promotions: Path,
    storage: str | None, results: Path, as_json: bool,
) -> None:  # fmt: skip
    """Serve a live page of the studies, or of STUDY: follow, reweight, compare, promote. Ctrl-C ends it."""
    from offramp.review.live_page import Options, serve

    options = Options(
        study=study, host=host, port=port, token=token, open=open_browser, storage=storage, results=results,
        promotions=promotions,
    )  # fmt: skip
    serve(options, announce=lambda at: click.echo(json.dumps({"url": at}) if as_json else f"Open {at}"))
