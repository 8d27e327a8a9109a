"""Whether what the race expects of candidates with few cells is what they turn out to have.

    python benchmarks/calibration.py [--cells 3,6,12] [--pools 6] [--seeds 6] [TABLE.parquet | SHAPE ...]

From each table, pools of 19 candidates and 60 examples are drawn. Every candidate gets the same few cells, and the race's
model says what quality it expects of each over all 60. Prints a Markdown table, with averages over pools and seeds:

- slope: of the true quality on the expected one, over the candidates of a pool; above 1 the model shrinks too much;
- z: root mean square of error / stated standard deviation; 1 where the intervals are right;
- error: root mean square error of the expected quality, and of the plain mean of the cells;
- regret: how far the candidate that is expected to be best is behind the best, and the same by plain means.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from replay_tables import SHAPES, make_table

from offramp.records import Split
from offramp.search.racing import QUALITY, Race, RaceSettings
from offramp.search.replay.table import RecordedTable, read_table

CANDIDATES, EXAMPLES = 19, 60
NAMES = ("structured", "prompts_alone", "small_structured", "near_ties", "misleading_params", "heavy_tails")


def pools(table: RecordedTable, count: int) -> Iterator[tuple[np.ndarray, list[dict[str, object]]]]:
    """Scores of shape (candidates, examples), and params, of parts of a table."""
    for turn in range(count):
        generator = np.random.default_rng(turn)
        rows = generator.choice(len(table.pool), min(CANDIDATES, len(table.pool)), replace=False)
        columns = generator.choice(len(table.examples), min(EXAMPLES, len(table.examples)), replace=False)
        yield table.values[np.ix_(rows, columns, [0])][:, :, 0], [dict(table.pool[row]) for row in rows]


def measured(scores: np.ndarray, params: list[dict[str, object]], cells: int, seed: int) -> list[float]:
    """slope, z, error, error of plain means, regret, regret by plain means of one pool."""
    few = RaceSettings(first=cells)
    race = Race(objectives=[QUALITY], n_examples=scores.shape[1], seed=seed, settings=few)
    for one in params:
        race.add(one)  # type: ignore[arg-type]
    for block in race.looks(cells * len(params)):
        race.observe(block.index, block.positions, scores[block.index, list(block.positions)][:, None])
    found, truth = race.declare(), np.nanmean(scores, axis=1)
    expected = np.array([found.estimates[i]["quality"].mean for i in range(len(params))])
    sd = np.array([found.estimates[i]["quality"].sd for i in range(len(params))])
    plain = np.nanmean(race.cells.values[:, :, 0], axis=1)
    off = expected - truth
    return [
        float(np.polyfit(expected, truth, 1)[0]), float(np.sqrt(np.mean((off / sd) ** 2))),
        float(np.sqrt(np.mean(off**2))), float(np.sqrt(np.mean((plain - truth) ** 2))),
        float(truth.max() - truth[expected.argmax()]), float(truth.max() - truth[plain.argmax()]),
    ]  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="3,6,12")
    parser.add_argument("--pools", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("tables", nargs="*", metavar="TABLE|SHAPE", default=NAMES)
    given = parser.parse_args()
    tables = {
        Path(name).stem: make_table(SHAPES[name], 1) if name in SHAPES else read_table(Path(name))[Split.SEARCH]
        for name in given.tables
    }
    print("| table | cells | slope | z | error | of plain means | regret | by plain means |\n" + "|---" * 8 + "|")
    for cells in map(int, given.cells.split(",")):
        means = []
        for name, table in tables.items():
            runs = [
                measured(scores, params, cells, seed)
                for scores, params in pools(table, given.pools)
                for seed in range(given.seeds)
            ]
            means.append(np.mean(runs, axis=0))
            print(line(name, cells, means[-1]), flush=True)
        print(line("all", cells, np.mean(means, axis=0)), flush=True)


def line(name: str, cells: int, found: np.ndarray) -> str:
    """A row of the table."""
    slope, z, *rest = found
    return f"| {name} | {cells} | {slope:.2f} | {z:.2f} | " + " | ".join(f"{one:.3f}" for one in rest) + " |"


if __name__ == "__main__":
    main()
