"""The benchmarks run: they are started by hand, so that only a test sees when the code has left them behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "args", "figure"), [("overhead", ["4"], "fresh_to_dspy"), ("startup", ["1"], "help_s")]
)
def test_a_benchmark_prints_its_figures(name, args, figure):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[figure] > 0


def test_every_successor_that_a_vendor_names_has_a_plan_or_a_reason():
    command = [sys.executable, str(BENCHMARKS / "successors.py"), "--day", "2026-11-28"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *lines, counts = done.stdout.splitlines()
    assert len(lines) > 100 and counts.startswith(f"{len(lines)} pairs")
    assert all(line.startswith(("plan", "none")) and " -> " in line for line in lines)
    assert all(line.endswith(")") for line in lines if not line.startswith("plan  "))
    assert sum(line.startswith("none") for line in lines) < 0.1 * len(lines)
