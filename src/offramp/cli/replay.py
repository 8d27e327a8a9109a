"""`offramp replay`: the front of a recorded table, found by reading few of its cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from offramp.cli.options import PATH

if TYPE_CHECKING:
    from offramp.search.replay import Replay, ReplayMember


@click.command()
@click.argument("table", type=PATH)
@click.option("--cells", type=int, metavar="N", help="Number of cells that may be read.")
@click.option("--share", type=float, metavar="S", help="The same, as a share of candidates x search examples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the order of examples.")
@click.option("--weights", metavar="W", help="Weights to recommend by, such as quality=.6,cost=.3,latency=.1")
@click.option("--verify", is_flag=True, help="Show the members' means over the holdout rows too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(
    table: Path, cells: int | None, share: float | None, seed: int, weights: str | None, verify: bool, as_json: bool
) -> None:
    """Race the candidates of TABLE, a log of past evaluations, without any call.

    TABLE is a Parquet or CSV file with a row for each candidate on each example: columns param.*, example_id and score
    (0..1), and cost_usd, latency_s and split if known. Without --cells and --share all cells are read.
    """
    from offramp.search.replay import replay as run
    from offramp.study.policies import parse_weights

    found = run(table, cells=cells, share=share, seed=seed, weights=parse_weights(weights), verify=verify)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        print_replay(found)


def print_replay(found: Replay) -> None:
    """What was read, the front, and the recommended member."""
    from rich.text import Text

    from offramp.cli.console import PlainConsole
    from offramp.study.wording import percent, plain

    console = PlainConsole()
    share = found.cells_used / found.cells_total
    console.print(
        f"{found.candidates} candidates x {found.examples} examples: {found.cells_used} of {found.cells_total} cells "
        f"read ({percent(share, 1)}), of {found.candidates_read} candidates; {len(found.front)} on the declared front"
    )
    holdout = any(member.holdout is not None for member in found.front)
    heads = ("quality", "+-", *(("holdout",) if holdout else ()), "$/1k runs", "latency", "cells", "trust")
    console.print(Text("".join(f"{head:>10}" for head in heads), style="dim"))
    for member in found.front:
        best = member is found.recommended
        cells = "".join(f"{cell:>10}" for cell in _cells(member, holdout))
        shown = [f"{name}={value}" for name, value in member.params.items() if value is not None]
        params = plain(", ".join(shown) or "(no params)")
        console.print(Text(cells, style="green" if best else ""))
        console.print(Text(f"  {'recommended: ' if best else ''}{params}", style="green" if best else "dim"))


def _cells(member: ReplayMember, holdout: bool) -> tuple[str, ...]:
    from offramp.study.wording import fraction, number, per_thousand, seconds

    return (
        number(member.estimates["quality"]),
        number(member.sd["quality"]),
        *((number((member.holdout or {}).get("quality")),) if holdout else ()),
        per_thousand(member.estimates["cost_usd"]),
        seconds(member.estimates["latency_s"]),
        str(member.cells),
        fraction(member.trust, 2),
    )
