"""From a study to an app and its gate, on models that really run: the commands and the script that a person would write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local_models import command, pulled

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.local_model

SPACE = """
schema_version: 1
name: triage
task:
  signature:
    inputs: {message: null}
    outputs:
      category:
        type: enum
        values: [billing, shipping, returns, account_access, technical, cancellation, product_question]
dataset: {path: support_triage.jsonl, id: id}
splits: {train: 28, search: 7, holdout: 7, stratify: category}
metric: {kind: exact, field: category}
incumbent: {model: local/smollm2-135m, instruction: vibe, demos: none, constrained: true}
models: [local/smollm2-135m]
instructions:
  vibe: What is this about?
program: {format: plain, constrained: true}
demos: {kind: [none, nearest], count: 3}
params: {temperature: 0.0, max_tokens: 16, seed: 0}
search: {trials: 2, concurrency: 2, sampler: grid}
"""

APP = """
import offramp

triage = offramp.load("triage")
print(triage(message="I was charged twice for one order.").category)
"""


def typed(folder: Path, *arguments: str) -> str:
    """What a process of its own prints."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": path},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_optimise_promote_load_check_and_roll_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job and the app are processes of their own, as for a person; the commands between them run in this one."""
    pulled(monkeypatch, "local/smollm2-135m")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE)
    shutil.copy(ROOT / "datasets" / "support_triage.jsonl", tmp_path)
    study = json.loads(typed(tmp_path, "-m", "offramp", "optimize", "space.yaml", "--json"))
    others = {member["candidate"] for member in [*study["front"], study["incumbent"]]}
    command("promote", "--pick", "incumbent", "--within", "0")
    done = json.loads(command("promote", "--force", "--why", "a test", "--json"))
    assert done["promotion"]["evidence"]["candidate"] in others
    assert done["promotion"]["evidence"]["requests_matched"] == 7

    labels = {"billing", "shipping", "returns", "account_access", "technical", "cancellation", "product_question"}
    assert typed(tmp_path, "-c", APP).strip() in labels

    told = json.loads(command("check", "triage", "--json", "--concurrency", "1"))
    assert told["holds"] and told["n"] == 7 and told["calls"] == 7
    again = json.loads(command("check", "triage", "--json", "--cache"))
    assert again["holds"] and again["calls"] == 0

    if done["changes"]["config"]:
        command("rollback", "triage", "--why", "a test")
        history = json.loads(command("history", "triage", "--json"))
        assert [move["action"] for move in history] == ["promote", "promote", "rollback"]
