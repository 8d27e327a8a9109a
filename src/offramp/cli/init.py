"""`offramp init`: a first space file from your data, or a shipped example to try."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from offramp.cli.options import AS_JSON, FILE, TEXT

if TYPE_CHECKING:
    from offramp.starter.writing import Started


@click.command()
@click.argument("name", required=False, type=TEXT)
@click.option("--data", type=FILE, metavar="FILE", help="Your examples: CSV, TSV, JSONL, Parquet or XLSX.")
@click.option("--input", "inputs", type=TEXT, multiple=True, metavar="COLUMN",
              help="Column that goes in  [default: guessed]. Repeatable.")  # fmt: skip
@click.option("--output", "outputs", type=TEXT, multiple=True, metavar="COLUMN",
              help="Column with the right answer  [default: guessed]. Repeatable.")  # fmt: skip
@click.option("--model", "models", type=TEXT, multiple=True, metavar="MODEL",
              help="Model to search, the first as what runs today  [default: local ones]. Repeatable.")  # fmt: skip
@click.option("--example", type=TEXT, metavar="JOB",
              help="Copy a shipped job: support-triage, order-extraction or reply-writer.")  # fmt: skip
@click.option("--no-input", is_flag=True, help="Ask nothing, as without a terminal.")
@AS_JSON
def init(
    name: str | None, data: Path | None, inputs: Sequence[str], outputs: Sequence[str], models: Sequence[str],
    example: str | None, no_input: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write a space file, a dataset stub where there is no data, and a test into this folder.

    On a terminal it asks for what is not given; elsewhere it guesses and says what. It calls no model, overwrites no
    file, and ends with the commands to run next.
    """
    from offramp.errors import UsageError, problem
    from offramp.starter import writing

    if example is not None:
        if given := [o for o, v in (("NAME", name), ("--data", data), ("--input", inputs), ("--output", outputs),
                                    ("--model", models)) if v]:  # fmt: skip
            raise UsageError(problem("--example", f"copies a job as it is; {', '.join(given)} cannot change it",
                                     do="Leave one of them out."))  # fmt: skip
        _show(writing.copy_example(example), as_json)
        return
    if not (no_input or as_json) and sys.stdin.isatty():
        name, data, inputs, outputs, models = _asked(name, data, inputs, outputs, models)
    _show(writing.init(name, data=data, inputs=inputs, outputs=outputs, models=models), as_json)


def _asked(
    name: str | None, data: Path | None, inputs: Sequence[str], outputs: Sequence[str], models: Sequence[str]
) -> tuple[str | None, Path | None, Sequence[str], Sequence[str], Sequence[str]]:
    """What was not given, asked for, with the guess as the default."""
    from offramp.space.model import DatasetPart
    from offramp.starter.columns import guess_columns
    from offramp.starter.space_text import LOCAL
    from offramp.task.readers import read_source

    if data is None:
        text = click.prompt("Your examples (CSV, JSONL, ...; empty for a stub)", default="", show_default=False)
        data = Path(text) if text.strip() else None
    if name is None:
        name = click.prompt("Name of the job", default="my-task" if data is None else data.stem)
    if data is not None and not (inputs and outputs):
        source = read_source(DatasetPart(path=data.name), data.parent)
        click.echo(f"Columns: {', '.join(source.columns())}")
        guess = guess_columns(source, inputs=inputs, outputs=outputs)
        inputs = inputs or _columns("Input columns", [f.column for f in guess.inputs])
        outputs = outputs or _columns("Columns with the right answer", [f.column for f in guess.outputs])
    return name, data, inputs, outputs, models or _columns("Models", LOCAL)


def _columns(what: str, default: Sequence[str]) -> list[str]:
    text = click.prompt(f"{what}, separated by commas", default=", ".join(default))
    return [part.strip() for part in text.split(",") if part.strip()]


def _show(done: Started, as_json: bool) -> None:
    from offramp.study.wording import plain

    if as_json:
        click.echo(json.dumps(done.to_json(), indent=2))
        return
    if done.guess is not None:
        click.echo(f"{plain(done.data)}: {done.guess.rows:,} rows. Guessed:")
        for line in done.guess.lines():
            click.echo(plain(line))
    for note in done.notes:
        click.echo(f"  note: {plain(note)}")
    files = [plain(path) for path in done.files]
    click.echo(f"Wrote {', '.join(files[:-1])}{' and ' if len(files) > 1 else ''}{files[-1]}." if files
               else f"{plain(done.space)} was here already, unchanged.")  # fmt: skip
    click.echo("Next:")
    for command in done.next:
        click.echo(f"  {plain(command)}")
