"""From a study to an app and its gate, on models that really run: the commands and the script that a person would write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from offramp.errors import ModelError
from offramp.models import embedded

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.local_model, pytest.mark.slow, pytest.mark.timeout(900)]

SPACE = f"""
schema_version: 1
name: triage
task:
  signature:
    inputs: {{message: null}}
    outputs:
      category:
        type: enum
        values: [billing, shipping, returns, account_access, technical, cancellation, product_question]
dataset: {{path: "{ROOT / "datasets" / "support_triage.jsonl"}", id: id}}
splits: {{train: 28, search: 14, holdout: 14, stratify: category}}
metric: {{kind: exact, field: category}}
incumbent: {{model: local/smollm2-135m, instruction: vibe, demos: none}}
models: [local/smollm2-135m]
instructions:
  vibe: What is this about?
program: {{format: plain, constrained: true}}
demos: {{kind: [none, nearest], count: 3}}
params: {{temperature: 0.0, max_tokens: 8, seed: 0}}
search: {{trials: 2, concurrency: 2, sampler: grid}}
"""

APP = """
import offramp

triage = offramp.load("triage")
print(triage(message="I was charged twice for one order.").category)
"""


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of commands, with the embedded model in the cache folder."""
    pytest.importorskip("xllamacpp")
    try:
        embedded.pull("local/smollm2-135m")
    except ModelError as error:
        pytest.skip(str(error))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])),
    }


def run(environment: dict[str, str], folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def command(environment: dict[str, str], folder: Path, *arguments: str, code: int = 0) -> str:
    return run(environment, folder, "-c", "import sys; from offramp.cli.main import main; sys.exit(main())", *arguments,
               code=code)  # fmt: skip


def test_optimise_promote_load_check_and_roll_back(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    study = json.loads(command(environment, tmp_path, "optimize", "space.yaml", "--json"))
    others = {member["candidate"] for member in [*study["front"], study["incumbent"]]}
    command(environment, tmp_path, "promote", "--pick", "incumbent", "--within", "0")
    done = json.loads(command(environment, tmp_path, "promote", "--force", "--why", "a test", "--json"))
    assert done["promotion"]["evidence"]["candidate"] in others
    assert done["promotion"]["evidence"]["requests_matched"] == 14

    labels = {"billing", "shipping", "returns", "account_access", "technical", "cancellation", "product_question"}
    assert run(environment, tmp_path, "-c", APP).strip() in labels

    told = json.loads(command(environment, tmp_path, "check", "triage", "--json", "--concurrency", "1"))
    assert told["holds"] and told["n"] == 14 and told["calls"] == 14
    again = json.loads(command(environment, tmp_path, "check", "triage", "--json", "--cache"))
    assert again["holds"] and again["calls"] == 0

    if done["changes"]["config"]:
        command(environment, tmp_path, "rollback", "triage", "--why", "a test")
        history = json.loads(command(environment, tmp_path, "history", "triage", "--json"))
        assert [move["action"] for move in history] == ["promote", "promote", "rollback"]
