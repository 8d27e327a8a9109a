"""Jobs that are killed with SIGKILL at random instants, with many requests in flight, then run again.

    python benchmarks/kills.py [--kills 30] [--in-flight 64] [--seed 0]

A job of 12 candidates over 40 examples, in a process of its own, sends to a landscape with a known answer; replies come
back in random order. One run is not disturbed. Then, for each kill, a fresh job is killed after a random share of the
seconds that the first one took, and run again to its end. Prints one line of JSON: in how many of them

- `same`: the study is the same as the undisturbed one: front, recommendation, trials and waves;
- `asked_again`: how many requests with a stored answer were sent again, in all (0 is right);
- `lost`: requests that were in flight at a kill and had to be sent again: the median and the most of one kill;
- `before_search`, `after_search`: kills before the first request and after the last, which tell less.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from search_jobs import essence, job_that_dies, trials_of, write_space

FORK = multiprocessing.get_context("fork")
NEVER = 10**9


class Job:
    """Runs of one job in a folder."""

    def __init__(self, folder: Path, space: Path) -> None:
        self.folder, self.space = folder, space
        folder.mkdir(parents=True)

    def begin(self, order: int) -> Any:
        args = (self.space, self.folder, self.folder / "sent.log", NEVER, self.folder / "out.json")
        process = FORK.Process(target=job_that_dies, args=args, kwargs={"order": order})
        process.start()
        return process

    def sent(self) -> list[str]:
        log = self.folder / "sent.log"
        return log.read_text().split() if log.exists() else []

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if not (self.folder / "offramp.db").exists():
            return []
        with closing(sqlite3.connect(self.folder / "offramp.db")) as db:
            try:
                return db.execute(query).fetchall()
            except sqlite3.OperationalError:
                return []

    def answered(self) -> set[str]:
        return {row[0] for row in self.rows("SELECT request_hash FROM offramp_calls WHERE status = 'ok'")}

    def study(self) -> tuple[Any, ...]:
        found = json.loads((self.folder / "out.json").read_text())
        trials = trials_of(f"sqlite:///{self.folder / 'offramp.db'}", found["study"])
        return essence(found), trials, self.rows("SELECT number, content FROM offramp_waves ORDER BY number")


def main() -> None:
    """Kills, and prints what became of the jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    for module in ("dspy", "litellm", "optuna", "scipy.stats", "offramp.search.engine"):
        importlib.import_module(module)  # once, before the processes are forked: kills are to fall into the search
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        space = write_space(
            folder, count=60, splits={"train": 6, "search": 40, "holdout": 14},
            search={"trials": 50, "concurrency": given.in_flight},
        )  # fmt: skip
        whole, begin = Job(folder / "whole", space), time.monotonic()
        whole.begin(0).join()
        seconds, expected, requests = time.monotonic() - begin, whole.study(), len(whole.sent())
        same = asked_again = before = after = 0
        lost: list[int] = []
        for kill in range(given.kills):
            job = Job(folder / f"kill-{kill}", space)
            process = job.begin(kill + 1)
            process.join(draw.uniform(0.0, seconds))
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            sent, had = job.sent(), job.answered()
            before, after = before + (not sent), after + (len(set(sent)) == requests)
            job.begin(1000 + kill).join()
            again = job.sent()[len(sent) :]
            asked_again += len(had & set(again))
            lost.append(len(set(sent) & set(again)))
            same += job.study() == expected
    print(
        json.dumps(
            {"kills": given.kills, "in_flight": given.in_flight, "requests": requests, "same": same,
             "asked_again": asked_again, "lost_median": statistics.median(lost), "lost_most": max(lost),
             "before_search": before, "after_search": after}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
