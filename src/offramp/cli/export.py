"""`offramp export`: a promotion in the form of another tool."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offramp.cli.options import AS_JSON, LABEL, PATH, PROMOTIONS
from offramp.promote.exports.exporting import FORMS


@click.command()
@click.argument("feature")
@click.option("--to", type=click.Choice(tuple(FORMS)), required=True, help="The tool to export to.")
@LABEL
@PROMOTIONS
@click.option("--space", type=PATH, help="promptfoo: the space file, if it has moved.")
@click.option("--register", metavar="URI", help="mlflow: register the prompt at this tracking URI.")
@click.option("--out", type=PATH, metavar="FILE", help="Write to a file  [default: print it]")
@AS_JSON
def export(
    feature: str, to: str, label: str, promotions: Path, space: Path | None, register: str | None, out: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Write FEATURE for another tool. An export sends what was measured; where that is not possible, it is refused."""
    from offramp.errors import UsageError, problem
    from offramp.promote.exports import exporting

    if register is not None and to != "mlflow":
        raise UsageError(problem("--register", "works only with --to mlflow", do="Leave it out."))
    source = exporting.source_of(feature, label=label, promotions=promotions, space=space)
    file = exporting.export(source, to)
    if out is not None:
        exporting.write(out, file)
    uri = None
    if register is not None:
        from offramp.promote.exports import mlflow_prompt

        uri = mlflow_prompt.register(source, register)
    if as_json:
        found = {"to": to, "version": source.promotion.version, "out": out and str(out)}
        text = None if out is not None else file.text
        click.echo(json.dumps({**found, "text": text, "uri": uri, "notes": list(file.notes)}, indent=2))
        return
    click.echo(file.text if out is None else f"{out}", nl=out is not None)
    for note in (*file.notes, *([f"Registered as {uri}."] if uri else [])):
        click.echo(note, err=True)
