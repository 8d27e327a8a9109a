"""How long it takes to look at a study of many candidates and results.

    python benchmarks/scale.py [CANDIDATES] [EXAMPLES]

Builds a storage of 10,000 candidates on 100 examples (1,000,000 results) in a temporary folder. Then times commands in
new processes, interpreter start included, and pages of `offramp review` once it is ready: the first page of a study that
it has not read ahead, and the same page again. Prints one line of JSON with the best of three times in seconds, and
sizes in megabytes. The aim is `pareto` within 3 s and each page within 1 s.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from offramp.records import Candidate, DemoKind, Objective, Price, Split
from offramp.store import tables
from offramp.store.candidates import CandidateRow, CandidateState, CandidateStore, content_of
from offramp.store.engine import Store, open_store
from offramp.store.studies import StudyDetails, StudyRow, StudyStatus, StudyStore

STUDY = "scale-00000000"
HELD = 20
"""Candidates that were scored on the holdout."""


def space() -> dict[str, Any]:
    """The space file of the study; its dataset does not exist."""
    from offramp.space.load import SpaceFile

    return SpaceFile.model_validate(
        {
            "schema_version": 1,
            "name": "scale",
            "task": {"signature": "text -> label: Literal['a', 'b']"},
            "dataset": {"path": "missing.jsonl"},
            "metric": {"kind": "exact", "field": "label"},
            "models": [{"name": "m", "route": "openai/m", "price": {"input_usd": 1.0, "output_usd": 2.0}}],
            "instructions": {"one": "Label the text."},
        }
    ).model_dump_json()


def candidate(number: int) -> Candidate:
    """A candidate that differs from all others."""
    params = {"model": "m", "instruction": "one", "temperature": number / 1e6}
    return Candidate(
        params=params, model="m", module="predict", adapter="plain", constrained=False, instructions={"main": "Label the text."},
        demo_kind=DemoKind.NONE, demo_count=0, demo_seed=0, request_params={"temperature": number / 1e6},
    )  # fmt: skip


def rows(
    name: str, split: Split, examples: int, rng: random.Random, skill: float, tokens: int
) -> Iterator[dict[str, Any]]:
    """Results of one candidate."""
    for i in range(examples):
        yield {
            "study": STUDY, "split": str(split), "candidate": name, "example": f"{split}-{i:04}", "state": "scored",
            "score": float(rng.random() < skill), "cost_usd": None, "latency_s": rng.lognormvariate(0, 0.5) * tokens / 500,
            "input_tokens": tokens, "cached_input_tokens": 0, "cache_write_tokens": 0, "output_tokens": 5,
            "reasoning_tokens": 0, "compute_s": None, "outputs": {"label": "a"}, "reason": None, "parts": {}, "calls": 1,
            "cached_calls": 0,
        }  # fmt: skip


def build(store: Store, candidates: int, examples: int) -> None:
    """Writes the storage in bulk, with the aggregates that the program itself would write."""
    from offramp.store.aggregates import AggregateStore, aggregate_of
    from offramp.store.results import ResultStore

    objectives = (
        Objective(name="quality", weight=0.6, scale=(0, 1)),
        Objective(name="cost", weight=0.2, scale=(0.002, 0)),
        Objective(name="latency", weight=0.2, scale=(5, 0)),
    )
    rng, made = random.Random(0), [candidate(i) for i in range(candidates)]
    prices = {"m": Price(input_usd=1.0, output_usd=2.0)}
    details = StudyDetails(objectives=objectives, incumbent=made[0].id, prices=prices)
    StudyStore(store).create_or_get(
        StudyRow(name=STUDY, space_name="scale", space_json=str(space()), space_hash="", task_hash="", seed=0,
                 status=StudyStatus.FINISHED, stop_reason="trials", details=details)
    )  # fmt: skip
    CandidateStore(store).put(STUDY, CandidateRow(candidate=made[0], number=0, state=CandidateState.COMPLETE))
    aggregates, results = AggregateStore(store), ResultStore(store)
    for start in range(0, candidates, 200):
        block = made[start : start + 200]
        kept = [
            {"study": STUDY, "candidate": c.id, "number": start + i, "state": "complete", "params": dict(c.params),
             "content": content_of(c), "origin": {}, "reason": None} for i, c in enumerate(block)
        ][1 if start == 0 else 0 :]  # fmt: skip
        found = []
        for i, c in enumerate(block):
            skill, tokens = rng.uniform(0.3, 0.95), rng.randint(50, 2000)
            found += rows(c.id, Split.SEARCH, examples, rng, skill, tokens)
            if start + i < HELD:
                found += rows(c.id, Split.HOLDOUT, examples, rng, skill, tokens)
        with store.transaction() as conn:
            conn.execute(tables.candidates.insert(), kept)
            conn.execute(tables.results.insert(), found)
        for split in (Split.SEARCH, Split.HOLDOUT):
            for name, stored in results.some(STUDY, split, [c.id for c in block]).items():
                aggregates.put(STUDY, split, name, aggregate_of(stored.values()))


def seconds(*args: str) -> float:
    """Wall-clock time of one command."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "offramp.cli.main", *args], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - begin


def page_seconds(folder: str) -> tuple[float, float]:
    """Wall-clock time of the first page of the study, which is not the newest, and of the same page again."""
    command = [sys.executable, "-m", "offramp.cli.main", "review", "--results", folder, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            root, _, token = json.loads(server.stdout.readline())["url"].partition("?token=")
            return _got(f"{root}studies/{STUDY}", token), _got(f"{root}studies/{STUDY}", token)
        finally:
            server.terminate()


def _got(address: str, token: str) -> float:
    begin = time.perf_counter()
    request = urllib.request.Request(address, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        reply.read()
    return time.perf_counter() - begin


def main() -> None:
    """Builds the storage, then times each command three times."""
    candidates, examples = (int(arg) for arg in (*sys.argv[1:], *("10000", "100")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "offramp.db"
        begin = time.perf_counter()
        with open_store(f"sqlite:///{path}") as store:
            build(store, candidates, examples)
        numbers: dict[str, float] = {
            "candidates": candidates,
            "results": candidates * examples,
            "build_s": time.perf_counter() - begin,
        }
        numbers["megabytes"] = path.stat().st_size / 1e6
        page = str(Path(folder) / "report.html")
        commands = {
            "pareto_s": ("pareto", STUDY), "pareto_json_s": ("pareto", STUDY, "--json"),
            "compare_s": ("compare", STUDY, "trial 5", "trial 0"), "report_s": ("report", STUDY, "--out", page),
        }  # fmt: skip
        for name, args in commands.items():
            numbers[name] = min(seconds(*args, "--results", folder) for _ in range(3))
        numbers["report_megabytes"] = Path(page).stat().st_size / 1e6
        with open_store(f"sqlite:///{path}") as store:
            newest = replace(StudyStore(store).get(STUDY), name="newest-00000000")
            StudyStore(store).create_or_get(newest)
        pages = [page_seconds(folder) for _ in range(3)]
        numbers["first_page_s"], numbers["next_page_s"] = (min(times) for times in zip(*pages, strict=True))
    print(json.dumps({name: round(value, 2) for name, value in numbers.items()}))


if __name__ == "__main__":
    main()
