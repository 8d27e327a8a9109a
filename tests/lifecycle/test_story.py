"""The story that `make story` runs: its parts are there and right. It runs on real models by hand: it takes minutes."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

import click

from offramp.cli.main import offramp
from offramp.job.resolve import resolve_job
from offramp.space.load import load_space

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "story.sh"
SPACE = ROOT / "examples" / "retirement" / "support_triage.yaml"


def test_the_script_is_one_that_a_shell_can_read() -> None:
    subprocess.run(["sh", "-n", str(SCRIPT)], check=True)


def test_every_command_of_the_story_exists() -> None:
    named = set(re.findall(r"^expect \d \S+ offramp ([a-z]+)", SCRIPT.read_text(), re.MULTILINE))
    assert {"optimize", "promote", "check", "watch", "migrate", "rollback", "history"} <= named
    assert named <= set(offramp.list_commands(click.Context(offramp)))


def test_the_app_of_the_story_has_five_lines() -> None:
    app = SCRIPT.read_text().split("<<'APP'\n")[1].split("\nAPP\n")[0]
    assert len(app.splitlines()) == 5 and 'offramp.load("support-triage")' in app


def test_its_job_is_right_tries_all_that_it_can_and_runs_on_the_model_that_leaves_alone() -> None:
    job = resolve_job(load_space(SPACE))
    assert job.searched_models == ("local/smollm2-135m",) and job.space.name == "support-triage"
    assert len(job.task.splits.holdout) >= 90
    assert job.space.search.trials == 1 + math.prod(len(param.choices) for param in job.search_params if param.searched)
