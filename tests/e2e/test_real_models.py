"""The main job on models that really run: llama.cpp on loopback, real data, the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_models import command, pulled

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "tasks"

pytestmark = pytest.mark.local_model

SPACE = """
schema_version: 1
name: triage-small
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
incumbent: {model: local/smollm2-135m, instruction: vibe}
models: [local/smollm2-135m]
instructions:
  vibe: What is this about?
  names: >-
    Answer with one of billing, shipping, returns, account_access, technical, cancellation, product_question.
program: {format: plain, constrained: true}
demos: {kind: [none, balanced], count: 7}
params: {temperature: 0.0, max_tokens: 8}
search: {trials: 3, concurrency: 2}
"""


@pytest.fixture(scope="module", autouse=True)
def models() -> Iterator[None]:
    """The embedded models in the cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        pulled(patch, "local/smollm2-135m", "local/qwen2.5-coder-0.5b")
        yield


def written(folder: Path, space: str) -> None:
    """A project: the space file, and the data beside it."""
    (folder / "space.yaml").write_text(space)
    shutil.copy(ROOT / "datasets" / "support_triage.jsonl", folder)


def optimize(space: Path, results: Path, *options: str) -> dict[str, Any]:
    """What `offramp optimize --json` prints."""
    return json.loads(command("optimize", space, "--results", results, "--json", *options))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A job that ran to its end, and its folder."""
    folder = tmp_path_factory.mktemp("first")
    written(folder, SPACE)
    return optimize(folder / "space.yaml", folder / "results"), folder


def test_a_job_runs_and_the_same_job_again_pays_nothing_and_finds_the_same(first: tuple[dict[str, Any], Path]) -> None:
    found, folder = first
    again = optimize(folder / "space.yaml", folder / "results")

    assert found["stop_reason"] == "trials" and found["trials"] == 3
    assert found["calls"] >= 3 * 7 and found["failed_calls"] == 0
    assert 0 < found["spent_usd"] < 0.01
    assert found["incumbent"]["n"] == 7 and found["incumbent"]["cost_usd"] > 0 and found["incumbent"]["latency_s"] > 0
    assert {"candidate", "params", "quality", "cost_usd", "latency_s", "n", "utility"} <= set(found["front"][0])
    assert found["recommended"] in found["front"] and found["recommended"]["holdout"]["n"] == 7
    assert again["calls"] == 0 and again["cached_calls"] >= found["calls"] - 2 * 7
    assert (again["front"], again["recommended"]) == (found["front"], found["recommended"])


def test_another_storage_with_the_same_seed_proposes_the_same_candidates_and_gets_the_same_answers(
    first: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    found, folder = first
    other = optimize(folder / "space.yaml", tmp_path, "--trials", "2")
    assert other["study"] == found["study"]
    assert (other["incumbent"]["candidate"], other["incumbent"]["quality"]) == (
        found["incumbent"]["candidate"], found["incumbent"]["quality"],
    )  # fmt: skip


PROPOSE = """
propose:
  model: local/qwen2.5-coder-0.5b
  rounds: 1
  count: 2
  every: 1
  examples: 3
  max_chars: 800
  params: {temperature: 0.7, max_tokens: 60, seed: 0}
"""


def test_a_real_model_writes_instructions_that_join_or_are_dropped_with_a_reason(
    tmp_path: Path,
) -> None:
    """What half a billion parameters write may be good or not: it is paid, stored, screened and, where it joins, tried."""
    space = SPACE.replace("demos: {", "# demos: {")
    written(tmp_path, space + PROPOSE)
    found = optimize(tmp_path / "space.yaml", tmp_path / "results")
    again = optimize(tmp_path / "space.yaml", tmp_path / "results")

    assert found["error"] is None and found["failed_calls"] == 0
    proposals = found["proposals"]
    assert [row["kind"] for row in proposals] == ["reflection", "data"]
    assert all((row["name"] is None) == (row["reason"] is not None) for row in proposals)
    assert all(row["text"] and len(row["text"]) > 10 for row in proposals if row["name"])
    assert 0 < found["spent_by_purpose_usd"]["proposer"] < 0.01
    assert again["calls"] == 0 and again["proposals"] == proposals and again["front"] == found["front"]


def smaller(name: str, folder: Path, **splits: Any) -> Path:
    """A space file of tests/spaces with fewer rows; its data lies beside this checkout."""
    if not SHARED.is_dir():
        pytest.skip("the trial data does not lie beside this checkout")
    space = yaml.safe_load((ROOT / "tests" / "spaces" / f"{name}.yaml").read_text())
    data = Path(space["dataset"]["path"]).name
    shutil.copy(SHARED / data, folder / data)
    space["dataset"]["path"] = data
    space["splits"].update(splits)
    (folder / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    return folder / "space.yaml"


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("snips_intents", {"train": 35, "search": 14, "holdout": 14}),
        ("facility_support", {"train": 6, "search": 4, "holdout": 3}),
    ],
)
def test_real_data_that_nobody_here_wrote(tmp_path: Path, name: str, splits: dict[str, int]) -> None:
    space = smaller(name, tmp_path, **splits)
    found = optimize(space, tmp_path / "results", "--trials", "2")
    assert found["stop_reason"] == "trials" and found["failed_calls"] == 0
    assert all(member["n"] == found["incumbent"]["n"] == splits["search"] for member in found["front"])
    assert found["recommended"]["holdout"]["n"] == splits["holdout"]
    assert found["recommended"]["utility"] >= found["incumbent"]["utility"]
