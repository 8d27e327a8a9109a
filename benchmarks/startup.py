"""How much longer `offramp --help` takes than a bare interpreter.

    python benchmarks/startup.py

Prints one line of JSON: medians of ten runs of each in seconds, their difference and ratio. The aim is a difference of
at most 0.3 s.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

RUNS = 10
BARE = ("-c", "pass")
HELP = ("-m", "offramp.cli.main", "--help")


def start_s(arguments: Sequence[str]) -> float:
    """Seconds that one interpreter takes from start to exit."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Measures the two in turns, so that a busy moment affects both."""
    start_s(HELP)  # writes the bytecode files
    pairs = [(start_s(BARE), start_s(HELP)) for _ in range(RUNS)]
    bare_s, help_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    numbers = {"bare_s": bare_s, "help_s": help_s, "difference_s": help_s - bare_s, "ratio": help_s / bare_s}
    print(json.dumps({name: round(value, 4) for name, value in numbers.items()}))


if __name__ == "__main__":
    main()
