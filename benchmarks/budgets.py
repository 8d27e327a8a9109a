"""What jobs with few calls recommend, beside a job that tries every candidate in full, on real models.

    python benchmarks/budgets.py [--space search_spaces/support_triage.yaml] [--full SPACE] [--calls 400 ...]
                                 [--minutes 8 ...] [--seeds 5] [--replies FILE]

Every candidate of the space `--full` (the same one for none) is run on the whole search split, and the best evaluated on
the holdout. Then the same job runs with each cap on calls, or on minutes, its holdout evaluation included, once for each
seed. Answers are remembered between all runs by their request, with the seconds they took the first time, which the
clock of a cap on minutes moves by, so that only what a job chooses to ask differs; `--replies` keeps them in a file,
with which the command can be stopped and run again.

Prints one line of JSON for each job: calls, candidates, and quality of the recommended one on the holdout; at the end the
means for each cap, and how far they are from the full job. Needs the embedded models (`make models`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from typing import Any

from remembering import Remembering, Replies

from offramp.records import CallReply
from offramp.search import api
from offramp.search.outcome import JobResult
from offramp.space.load import LoadedSpace, as_loaded


def run(
    space: LoadedSpace, replies: dict[str, CallReply], seed: int, *, calls: int | None = None,
    minutes: float | None = None,
) -> JobResult:  # fmt: skip
    """One job, to its end; without a cap every candidate is run in full."""
    part, full = space.space, calls is None and minutes is None
    search = part.search.model_copy(update={"race": None, "sampler": "grid"} if full else {})
    search = search.model_copy(update={"trials": 10_000 if full else None})
    verify = part.verify.model_copy(update={"front": False, "probe": 0})
    budget = part.budget.model_copy(update={"minutes": None})
    changed = part.model_copy(update={"search": search, "verify": verify, "budget": budget})
    transport = Remembering(replies)
    with tempfile.TemporaryDirectory() as folder:
        result = api.optimize(
            replace(space, space=changed), results=folder, seed=seed, calls=calls, minutes=minutes,
            transport=transport, timing=transport.timing,
        )  # fmt: skip
    if result.report.stop_reason == "interrupted":  # the job has ended cleanly; so does this script
        raise KeyboardInterrupt
    return result


def figures(result: JobResult) -> dict[str, Any]:
    """What a job used and what it recommends."""
    report = result.report
    chosen, today = report.recommended, report.incumbent
    return {
        "calls": result.calls,
        "candidates": report.trials,
        "complete": len(report.members),
        "holdout": None if chosen is None or chosen.holdout is None else chosen.holdout.quality,
        "incumbent": None if today is None or today.holdout is None else today.holdout.quality,
        "recommended": None if chosen is None else dict(chosen.params),
    }


def main() -> None:
    """Runs the jobs and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="search_spaces/support_triage.yaml")
    parser.add_argument("--full")
    parser.add_argument("--calls", type=int, nargs="*", default=[400])
    parser.add_argument("--minutes", type=float, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--replies")
    given = parser.parse_args()
    space, replies = as_loaded(given.space, trust=True), Replies(given.replies)
    full = figures(run(as_loaded(given.full or given.space, trust=True), replies, 0))
    print(json.dumps({"full": full}), flush=True)
    for name, cap in [*(("calls", calls) for calls in given.calls), *(("minutes", m) for m in given.minutes)]:
        found = []
        for seed in range(given.seeds):
            one = figures(run(space, replies, seed, **{name: cap}))
            found.append(one["holdout"])
            print(json.dumps({name: cap, "seed": seed, **one}), flush=True)
        mean = statistics.fmean(found)
        means = {"mean": mean, "least": min(found), "most": max(found), "to_full": mean - full["holdout"]}
        rounded = {key: round(value, 4) for key, value in means.items()}
        print(json.dumps({name: cap, "seeds": given.seeds, **rounded}), flush=True)


if __name__ == "__main__":
    main()
