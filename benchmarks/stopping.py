"""What live racing saves, and what it loses, on tables of recorded or synthetic outcomes.

    python benchmarks/stopping.py [--candidates 40] [--seeds 5] [TABLE.parquet | SHAPE ...]

As in a live job, candidates come one after another (here at random) and run on growing blocks of one shared order until
they are complete or surely behind the front so far (search/live/behind.py). Prints one line of JSON per table with means
over seeds: `run`, the share of cells that were run; `lost`, the share of the true front's members that were stopped;
`members` of the true front; `volume`, the hypervolume of the complete candidates as a share of that of all; and seconds
of CPU. Without names: every shape of replay_tables.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from replay import OBJECTIVES, Truth
from replay_tables import SHAPES, make_table

from offramp.records import Split
from offramp.search.live.behind import ahead, block_ends, count_looks
from offramp.search.replay.table import read_table


def raced(truth: Truth, candidates: int, seed: int) -> dict[str, float]:
    """One search over some of the table's candidates."""
    generator = np.random.default_rng(seed)
    ids = generator.permutation(truth.n)[:candidates]
    order = generator.permutation(truth.k)
    values = truth.table.values[ids][:, order]
    objectives = [OBJECTIVES[outcome] for outcome in truth.table.outcomes]
    known, complete, stopped = np.full_like(values, np.nan), [], []
    ends = block_ends(truth.k)
    for i in range(len(ids)):
        for end in (*ends, truth.k):
            known[i, :end] = values[i, :end]
            front = [complete[f] for f in truth.front(truth.norm[ids[complete]])] if complete else []
            rows = [*front, *(c for c in complete if c not in front), i]
            behind = end < truth.k and ahead(
                known[rows], objectives, rivals=len(front), confidence=0.95, looks=count_looks(ends), margin=0.01, generator=generator
            ) is not None  # fmt: skip
            if behind:
                stopped.append(i)
                break
        else:
            complete.append(i)
    front = truth.front(truth.norm[ids]).tolist()
    left = [ids[i] for i in complete]
    return {
        "run": float((~np.isnan(known[..., 0])).mean()), "lost": len(set(front) & set(stopped)) / len(front),
        "members": len(front), "volume": truth.volume(left) / truth.volume(ids),
    }  # fmt: skip


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*", default=list(SHAPES))
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    for name in given.tables:
        truth = Truth(make_table(SHAPES[name], 0) if name in SHAPES else read_table(Path(name))[Split.SEARCH])
        begin = time.process_time()
        rows = [raced(truth, given.candidates, seed) for seed in range(given.seeds)]
        means = {key: round(statistics.fmean(row[key] for row in rows), 3) for key in rows[0]}
        cpu = round((time.process_time() - begin) / given.seeds, 1)
        print(json.dumps({"table": Path(name).stem, **means, "cpu_s": cpu}), flush=True)


if __name__ == "__main__":
    main()
