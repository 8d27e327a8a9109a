"""The main job on models that really run: llama.cpp on loopback, real data, the command that a person types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from offramp.errors import ModelError
from offramp.models import embedded

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "tasks"

pytestmark = [pytest.mark.local_model, pytest.mark.timeout(600)]

SPACE = f"""
schema_version: 1
name: triage-small
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
incumbent: {{model: local/smollm2-135m, instruction: vibe}}
models: [local/smollm2-135m]
instructions:
  vibe: What is this about?
  names: >-
    Answer with one of billing, shipping, returns, account_access, technical, cancellation, product_question.
program: {{format: plain, constrained: true}}
demos: {{kind: [none, balanced], count: 7}}
params: {{temperature: 0.0, max_tokens: 8}}
search: {{trials: 3, concurrency: 2}}
"""


@pytest.fixture(scope="module")
def models() -> dict[str, str]:
    """The environment of the command, with the embedded models in the cache folder."""
    pytest.importorskip("xllamacpp")
    given = os.environ.get("OFFRAMP_TEST_MODEL_CACHE")
    environment = {**os.environ, "OFFRAMP_CACHE": given} if given else dict(os.environ)
    before = os.environ.get("OFFRAMP_CACHE")
    os.environ.update(environment)
    try:
        for name in ("local/smollm2-135m", "local/qwen2.5-coder-0.5b"):
            embedded.pull(name)
    except ModelError as error:
        pytest.skip(str(error))
    finally:
        if before is None:
            os.environ.pop("OFFRAMP_CACHE", None)
    return environment


def optimize(environment: dict[str, str], space: Path, results: Path, *options: str) -> dict[str, Any]:
    """What `offramp optimize --json` prints."""
    command = [sys.executable, "-c", "import sys; from offramp.cli.main import main; sys.exit(main())"]
    command += ["optimize", str(space), "--results", str(results), "--json", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_job_runs_and_the_same_job_again_pays_nothing_and_finds_the_same(
    models: dict[str, str], tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    first = optimize(models, space, tmp_path / "results")
    again = optimize(models, space, tmp_path / "results")

    assert first["stop_reason"] == "trials" and first["trials"] == 3
    assert first["calls"] >= 3 * 14 and first["failed_calls"] == 0
    assert 0 < first["spent_usd"] < 0.01
    assert first["incumbent"]["n"] == 14 and first["incumbent"]["cost_usd"] > 0 and first["incumbent"]["latency_s"] > 0
    assert {"candidate", "params", "quality", "cost_usd", "latency_s", "n", "utility"} <= set(first["front"][0])
    assert first["recommended"] in first["front"] and first["recommended"]["holdout"]["n"] == 14
    assert again["calls"] == 0 and again["cached_calls"] >= first["calls"] - 2 * 14
    assert (again["front"], again["recommended"]) == (first["front"], first["recommended"])


def test_another_storage_with_the_same_seed_finds_the_same_candidates(models: dict[str, str], tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    runs = [optimize(models, space, tmp_path / name, "--trials", "2") for name in ("one", "two")]
    assert [{m["candidate"] for m in run["front"]} | {run["incumbent"]["candidate"]} for run in runs][0]
    assert runs[0]["study"] == runs[1]["study"]
    assert runs[0]["incumbent"]["quality"] == runs[1]["incumbent"]["quality"]


@pytest.mark.parametrize("name", ["snips_intents", "facility_support"])
def test_real_data_that_nobody_here_wrote(models: dict[str, str], tmp_path: Path, name: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the trial data does not lie beside this checkout")
    found = optimize(models, ROOT / "tests" / "spaces" / f"{name}.yaml", tmp_path, "--trials", "2", "--minutes", "4")
    assert found["stop_reason"] == "trials"
    assert all(member["n"] == found["incumbent"]["n"] for member in found["front"])
    assert found["recommended"]["quality"] >= found["incumbent"]["quality"] - 0.1
