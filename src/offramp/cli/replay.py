"""`offramp replay`: the front of a recorded table, by reading a few of its cells."""

from __future__ import annotations

import json
from pathlib import Path

import click

from offramp.cli.options import PATH


@click.command()
@click.argument("table", type=PATH)
@click.option("--cells", type=int, metavar="N", help="Cells that may be read.")
@click.option("--share", type=float, metavar="S", help="The same, as a share of candidates x search examples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the order of examples.")
@click.option("--weights", metavar="W", help="What recommends, such as quality=.6,cost=.3,latency=.1")
@click.option("--verify", is_flag=True, help="Show the members' means over the holdout rows too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(
    table: Path, cells: int | None, share: float | None, seed: int, weights: str | None, verify: bool, as_json: bool
) -> None:
    """Race the candidates of TABLE, a log of past evaluations, without any call.

    TABLE is a Parquet or CSV file with a row for each candidate on each example: columns param.*, example_id and score
    (0..1), and cost_usd, latency_s and split where they are known. Without --cells and --share all cells are read.
    """
    from offramp.search.replay import replay as run
    from offramp.study.weights import parse_weights

    found = run(table, cells=cells, share=share, seed=seed, weights=parse_weights(weights), verify=verify)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2, allow_nan=False))
        return
    from offramp.cli.replay_table import print_replay

    print_replay(found)
