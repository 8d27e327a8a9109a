"""Live racing compared with full evaluation, on real models, at equal calls.

    python benchmarks/live_racing.py [--seeds 5] [--calls 700] [--space search_spaces/support_triage.yaml]

For each seed the same job runs twice, with racing and without, each in its own storage and with the same cap on calls
(part of which is reserved for the holdout evaluation). Answers are remembered between all runs by their request, with
the seconds they took the first time. So both jobs see the same answers, and only what they choose to ask differs.

Prints one line of JSON per seed with the calls, candidates, stopped candidates, cost in USD and recommended candidate
of each job, with its quality on the holdout; at the end the medians, the mean difference and its sign test. Needs the
embedded models (`make models`); a seed takes minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from offramp.calls.transports.routes import RouteTransport
from offramp.models.server import LocalServers
from offramp.records import CallReply, CallRequest
from offramp.search import api
from offramp.search.outcome import JobResult
from offramp.space.load import LoadedSpace, load_space

TRIALS = 200
TIMEOUT_S = 120.0


class Remembering:
    """A transport that sends each request once and remembers the reply for later runs."""

    def __init__(self, replies: dict[str, CallReply]) -> None:
        self._replies, self._servers = replies, LocalServers()
        self._inner = RouteTransport(self._servers, TIMEOUT_S)
        self._one = asyncio.Lock()

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The first reply to this request; requests are sent one at a time, as the models run on the same machine."""
        async with self._one:
            if request.hash not in self._replies:
                await self._inner.prepare(request.model)
                self._replies[request.hash] = await self._inner.send(request, attempt)
        return self._replies[request.hash]

    async def aclose(self) -> None:
        """Stops the models."""
        await self._inner.aclose()
        await self._servers.close()


def run(space: LoadedSpace, replies: dict[str, CallReply], seed: int, calls: int, *, race: bool) -> JobResult:
    """One job, run until its cap."""
    part = space.space.search.race if race else None
    search = space.space.search.model_copy(update={"race": part})
    verify = space.space.verify.model_copy(update={"front": False, "probe": 0})
    budget = space.space.budget.model_copy(update={"minutes": None})
    changed = space.space.model_copy(update={"search": search, "verify": verify, "budget": budget})
    transport = Remembering(replies)
    with tempfile.TemporaryDirectory() as folder:
        result = api.optimize(
            replace(space, space=changed), results=folder, seed=seed, calls=calls, transport=transport, trials=TRIALS
        )
    if result.report.stop_reason == "interrupted":  # the job has ended cleanly; so does this script
        raise KeyboardInterrupt
    return result


def figures(result: JobResult) -> dict[str, Any]:
    """What a job used and what it recommends."""
    report = result.report
    chosen = report.recommended
    scored = None if chosen is None or chosen.holdout is None else chosen.holdout.quality
    return {
        "calls": result.calls, "candidates": report.trials, "stopped": report.stopped,
        "usd": round(result.spent_usd, 5), "holdout": scored, "candidate": None if chosen is None else chosen.candidate,
    }  # fmt: skip


def main() -> None:
    """Runs the jobs, prints and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=700)
    parser.add_argument("--space", default="search_spaces/support_triage.yaml")
    given = parser.parse_args()
    space, replies, rows = load_space(Path(given.space)), {}, []
    for seed in range(given.seeds):
        row = {}
        for way in ("racing", "full"):
            row[way] = figures(run(space, replies, seed, given.calls, race=way == "racing"))
        rows.append(row)
        print(json.dumps({"seed": seed, **row}), flush=True)
    ahead = [row["racing"]["holdout"] - row["full"]["holdout"] for row in rows]
    wins, losses = sum(a > 0 for a in ahead), sum(a < 0 for a in ahead)
    medians = {
        way: {
            key: statistics.median(row[way][key] for row in rows) for key in ("calls", "candidates", "usd", "holdout")
        }
        for way in ("racing", "full")
    }
    test = binomtest(losses, wins + losses, alternative="greater").pvalue if wins + losses else 1.0
    print(
        json.dumps(
            {"medians": medians, "mean_difference": round(statistics.fmean(ahead), 4), "wins": wins, "losses": losses,
             "p_racing_is_worse": round(float(test), 3)}
        )
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
