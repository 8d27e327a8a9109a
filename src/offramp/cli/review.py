"""`offramp review`: the live page of a storage."""

from __future__ import annotations

from pathlib import Path

import click

from offramp.cli.options import PROMOTIONS, stored


@click.command()
@click.argument("study", required=False)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8600, show_default=True, help="0 takes any that is free."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other than loopback needs the token.")
@click.option("--token", envvar="OFFRAMP_REVIEW_TOKEN", help="Ask for this token  [default: a new one beyond loopback]")
@click.option("--open", "open_browser", is_flag=True, help="Open it in the browser.")
@PROMOTIONS
@stored
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with the address, then serve.")
def review(
    study: str | None, port: int, host: str, token: str | None, open_browser: bool, promotions: Path,
    storage: str | None, results: Path, as_json: bool,
) -> None:  # fmt: skip
    """Serve a live page of the studies, or of STUDY: follow, weigh, compare, promote. Ctrl-C ends it."""
    import json

    from offramp.review.serve import Options, serve

    options = Options(
        study=study, host=host, port=port, token=token, open=open_browser, storage=storage, results=results,
        promotions=promotions,
    )  # fmt: skip
    serve(options, announce=lambda at: click.echo(json.dumps({"url": at}) if as_json else f"Open {at}"))
