"""How much longer than a bare interpreter `offramp --help` takes, and commands with a space file that has a mistake.

    python benchmarks/startup.py [runs]

Prints one line of JSON: medians of `runs` (10) of each in seconds, and how much longer each takes than `bare_s`. `help` is
`offramp --help` (the aim: 0.3 s more); `check` and `optimize` are those commands with files that have an unknown key, an unknown
model, no dataset, and a column that the data does not have (the aim: 1 s more for the slowest of them).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

BARE = ("-c", "pass")
OFFRAMP = ("-m", "offramp.cli.main")
SPACE = """\
name: demo
task:
  signature: "message -> label: Literal['a', 'b']"
dataset: {path: rows.csv}
metric: {kind: exact, field: label}
models: [gpt-4o-mini]
"""
MISTAKES: Mapping[str, tuple[str, str]] = {
    "key": ("models:", "modles:"),
    "model": ("gpt-4o-mini", "gpt-4o-minni"),
    "dataset": ("rows.csv", "rowz.csv"),
    "column": ("message ->", "massage ->"),
}
"""By name, what is replaced in `SPACE`, and by what."""


def start_s(arguments: Sequence[str], *, folder: str | None = None, code: int = 0) -> float:
    """Seconds that one interpreter takes from start to exit."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, check=False)
    assert done.returncode == code, done.stderr.decode()
    return time.perf_counter() - begin


def main(runs: int) -> None:
    """Measures all in turns, so that a busy moment affects each."""
    with tempfile.TemporaryDirectory() as folder:
        rows = "".join(f"message {n},{'ab'[n % 2]}\n" for n in range(60))
        (Path(folder) / "rows.csv").write_text("message,label\n" + rows)
        commands = {"bare": (BARE, 0), "help": ((*OFFRAMP, "--help"), 0)}
        for name, (right, wrong) in MISTAKES.items():
            (Path(folder) / f"{name}.yaml").write_text(SPACE.replace(right, wrong))
            commands[f"check_{name}"] = ((*OFFRAMP, "space", "check", f"{name}.yaml"), 2)
            commands[f"optimize_{name}"] = ((*OFFRAMP, "optimize", f"{name}.yaml"), 2)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for run in range(runs + 1):  # the first writes the bytecode files
            for name, (arguments, code) in commands.items():
                took = start_s(arguments, folder=folder, code=code)
                if run:
                    times[name].append(took)
    medians = {name: statistics.median(found) for name, found in times.items()}
    numbers = {f"{name}_s": median for name, median in medians.items()}
    numbers |= {f"{name}_more_s": median - medians["bare"] for name, median in medians.items() if name != "bare"}
    print(json.dumps({name: round(value, 4) for name, value in numbers.items()}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
