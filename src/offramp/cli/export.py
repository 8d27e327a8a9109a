"""`offramp export`: a promotion in the form of another tool."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offramp.cli.options import AS_JSON, LABEL, PATH, PROMOTIONS

FORMS = ("litellm", "openai", "promptfoo", "dspy", "mlflow", "langfuse", "json")


@click.command()
@click.argument("feature")
@click.option("--to", type=click.Choice(FORMS), required=True, help="Which form.")
@LABEL
@PROMOTIONS
@click.option("--space", type=PATH, help="promptfoo: the space file, where it has moved.")
@click.option("--register", metavar="URI", help="mlflow: register the prompt at this tracking URI.")
@click.option("--out", type=PATH, metavar="FILE", help="Write to a file  [default: print it]")
@AS_JSON
def export(
    feature: str, to: str, label: str, promotions: Path, space: Path | None, register: str | None, out: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Write FEATURE for another tool: what is exported sends what was measured, or is refused."""
    from offramp.errors import UsageError, problem
    from offramp.promote.exports import run

    if register is not None and to != "mlflow":
        raise UsageError(problem("--register", "goes with --to mlflow", do="Leave it out."))
    source = run.source_of(feature, label=label, promotions=promotions, space=space)
    file = run.export(source, to)
    if out is not None:
        run.write(out, file)
    uri = _registered(source, register) if register is not None else None
    if as_json:
        text = None if out is not None else file.text
        told = {"to": to, "version": source.promotion.version, "out": out and str(out), "text": text, "uri": uri}
        click.echo(json.dumps({**told, "notes": list(file.notes)}, indent=2))
        return
    click.echo(file.text if out is None else f"{out}", nl=out is not None)
    for note in (*file.notes, *([f"Registered as {uri}."] if uri else [])):
        click.echo(note, err=True)


def _registered(source: object, uri: str) -> str:
    from offramp.promote.exports.mlflow_prompt import register

    return register(source, uri)  # type: ignore[arg-type]
