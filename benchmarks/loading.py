"""How long an app waits for a promoted feature, in new processes that import neither dspy nor litellm.

    python benchmarks/loading.py [RUNS]

There are two features: one with fixed demos, and one that chooses the 6 nearest demos among 150 train examples, which
loads most. `load` reads, checks and indexes the files and writes the first request. Prints a table of milliseconds: CPU
time (median and worst of RUNS processes, 20 by default) and wall-clock time (median). The aim is 50 ms for `load`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from offramp.ids import content_hash
from offramp.promote.promotion import PromotedDemos
from offramp.promote.promotion_store import PromotionStore, rows_of
from promotion_records import make_promotion

ROOT = Path(__file__).parents[1]
CODE = """
import json, sys, time
def now():
    return time.process_time(), time.perf_counter()
times = [now()]
import offramp.promote.loading
times.append(now())
feature, folder = sys.argv[1:]
offramp.load_messages(feature, {"message": "Where is my parcel? It should have come on Monday."}, promotions=folder)
times.append(now())
for _ in range(100):
    offramp.load_messages(feature, {"message": "I was charged twice for the same order."}, promotions=folder)
times.append(now())
heavy = [m for m in ("dspy", "litellm", "optuna", "pandas", "pydantic", "numpy") if m in sys.modules]
spans = [[b[i] - a[i] for i in (0, 1)] for a, b in zip(times, times[1:])]
print(json.dumps([*spans[:2], [t / 100 for t in spans[2]], heavy]))
"""


def promote(folder: Path) -> None:
    """Promotes the two features, with the messages of the example job as the pool of demos."""
    lines = (ROOT / "datasets" / "support_triage.jsonl").read_text().splitlines()[:150]
    values = [{"message": row["message"], "category": row["category"]} for row in map(json.loads, lines)]
    rows = rows_of(
        [
            {"content_hash": content_hash(row), "values": row,
             "messages": [["user", row["message"]], ["assistant", row["category"]]]}
            for row in values
        ]
    )  # fmt: skip
    base = make_promotion(text="Sort a message to a smart-home company by what the customer asks for.\n" * 10)
    assert base.rendering is not None
    demos = PromotedDemos(kind="nearest", count=6, values={}, pool=rows.ref)
    promotion = replace(base, demos=demos, rendering=replace(base.rendering, demos_at=1))
    PromotionStore(folder, "nearest").promote(replace(promotion, feature="nearest"), [rows], label="production")
    PromotionStore(folder, "fixed").promote(replace(base, feature="fixed"), [], label="production")


def main(runs: int) -> None:
    """Measures and prints."""
    print(f"{'':<26}{'cpu median':>12}{'cpu worst':>12}{'wall median':>13}   ms, {runs} processes")
    with tempfile.TemporaryDirectory() as name:
        promote(Path(name))
        for feature in ("fixed", "nearest"):
            found = [measured(feature, name) for _ in range(runs)]
            for index, what in enumerate(("import", "load", "each next request")):
                cpu, wall = ([row[index][clock] * 1000 for row in found] for clock in (0, 1))
                times = f"{statistics.median(cpu):>12.2f}{max(cpu):>12.2f}{statistics.median(wall):>13.2f}"
                print(f"{feature + ': ' + what:<26}{times}")
            print("  heavy libraries loaded:", sorted({module for row in found for module in row[3]}) or "none")


def measured(feature: str, folder: str) -> list[Any]:
    """CPU and wall-clock seconds of each step in one process, and the heavy libraries that it loaded."""
    done = subprocess.run([sys.executable, "-c", CODE, feature, folder], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
