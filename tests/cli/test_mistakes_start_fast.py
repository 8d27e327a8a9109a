"""A mistake in a space file is reported before anything heavy is imported, so that it takes no longer than a look."""

import subprocess
import sys
from pathlib import Path

import pytest

from offramp.cli.main import COMMANDS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from startup import MISTAKES, SPACE

HEAVY = ("dspy", "litellm", "optuna", "scipy", "pandas", "torch", "openai")
MORE = {
    "yaml": ("metric: {", "metric: ["),
    "metric field": ("field: label", "field: lable"),
    "two": ("name: demo", "name: demo\ntrials: 3\nseed: x"),
    "signature": ("-> label", "->"),
    "empty": (SPACE, ""),
    "searched param": ("models:", "params: {temperture: [0, 1]}\nmodels:"),
}
RUN = f"""
import sys
from offramp.cli.main import main
codes = [main([*sys.argv[1].split(), path]) for path in sys.argv[2:]]
print("codes", set(codes))
print("heavy", sorted({{name.partition(".")[0] for name in sys.modules}} & {{*{HEAVY}}}))
"""


@pytest.mark.parametrize(
    "command", ["space check", "space check --json", "optimize", "optimize --dry-run", "optimize --json"]
)
def test_no_mistake_waits_for_a_heavy_import(tmp_path, command):
    assert command.partition(" ")[0] in COMMANDS
    (tmp_path / "rows.csv").write_text("message,label\n" + "".join(f"m {n},{'ab'[n % 2]}\n" for n in range(60)))
    paths = []
    for name, (right, wrong) in {**MISTAKES, **MORE}.items():
        assert right in SPACE
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(SPACE.replace(right, wrong))
    done = subprocess.run([sys.executable, "-c", RUN, command, *paths], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-2:] == ["codes {2}", "heavy []"], done.stdout + done.stderr
