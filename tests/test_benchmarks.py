"""The benchmarks run: they are started by hand, so that only a test sees when the code has left them behind."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from offramp.records import CallReply, CallRequest, Model, Usage

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_what_a_benchmark_imports_is_there(monkeypatch, name):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize(
    ("name", "args", "figure"),
    [
        ("overhead", ["4"], "fresh_to_dspy"),
        ("startup", ["1"], "help_s"),
        ("samplers", ["--trials", "20"], "proposal_ms"),
    ],
)
def test_a_benchmark_prints_its_figures(name, args, figure):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[figure] > 0


def test_a_remembered_reply_takes_as_long_as_what_its_model_has_to_read_in_this_job(monkeypatch):
    """Its recorded latency is that of another order of requests: the minutes of a simulated job were those of no job."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from remembering import Speeds

    model = Model(name="near", route="local/near")

    def reply(read, cached, written):
        usage = Usage(input_tokens=read, cached_input_tokens=cached, output_tokens=written)
        seconds = 0.1 + 0.01 * read + 0.05 * written
        return CallReply(text="a", finish_reason="stop", usage=usage, latency_s=seconds, answered_by="near")

    speeds = Speeds([reply(read, 400 - read, written) for read in (20, 100, 400) for written in range(5, 25)])

    def asked(rules, question, recorded):
        messages = ({"role": "system", "content": rules}, {"role": "user", "content": question})
        return speeds.reply(CallRequest(model=model, messages=messages, params={}), recorded)

    first = asked("Sort it. " * 200, "one", reply(20, 380, 10))
    assert first.usage.input_tokens == 400 and first.latency_s == pytest.approx(0.1 + 4.0 + 0.5)
    again = asked("Sort it. " * 200, "two", reply(400, 0, 10))
    assert again.usage.input_tokens < 10 and again.latency_s < 0.75
    other = asked("Label it. " * 200, "one", reply(20, 380, 10))
    assert other.usage.input_tokens > 380 and other.latency_s > 4.3


def test_few_cells_say_more_with_the_model_than_by_their_means():
    command = [sys.executable, str(BENCHMARKS / "calibration.py"), "--cells", "3", "--pools", "2", "--seeds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, _, slope, z, error, plain, *_ = [part.strip() for part in done.stdout.splitlines()[-1].strip("|").split("|")]
    assert 0.3 < float(slope) < 3 and 0.2 < float(z) < 2 and float(error) < 0.75 * float(plain)


def test_every_successor_that_a_vendor_names_has_a_plan_or_a_reason():
    command = [sys.executable, str(BENCHMARKS / "successors.py"), "--day", "2026-11-28"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *lines, counts = done.stdout.splitlines()
    assert len(lines) > 100 and counts.startswith(f"{len(lines)} pairs")
    assert all(line.startswith(("plan", "none")) and " -> " in line for line in lines)
    assert all(line.endswith(")") for line in lines if not line.startswith("plan  "))
    assert sum(line.startswith("none") for line in lines) < 0.1 * len(lines)
