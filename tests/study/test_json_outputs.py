"""Scripts read the JSON and CSV of the commands: keys that are there stay, with their numbers.

`json_outputs.json` holds what the commands print for one small study, its promotion, its check and a migration. What
depends on the clock or on names of files is left out of it. After an intended change, write it again with:

    OFFRAMP_WRITE_EXPECTED=1 pytest tests/study/test_json_outputs.py
"""

import csv
import io
import json
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from offramp.cli.main import offramp
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, wire, write_space

EXPECTED = Path(__file__).with_name("json_outputs.json")
LEFT_OUT = {
    "study", "version", "sha256", "at", "measured_at", "elapsed_s", "offramp", "dspy", "price_table", "space_hash",
    "task_hash", "dataset_hash", "splits_hash", "path", "proposal", "bytes", "summary_json", "created_at", "updated_at",
    "verdict", "why", "space_file", "notes", "by", "text",
}  # fmt: skip
"""Keys that stay, whatever their values are."""


def run(*args, code=0):
    result = CliRunner().invoke(offramp, list(args), obj=wire())
    assert result.exit_code == code, result.output
    return result.stdout


def masked(value, name=""):
    """The same value with what changes from run to run left out; floats by eight digits."""
    if isinstance(value, dict):
        return {key: masked(inner, key) for key, inner in value.items()}
    if name in LEFT_OUT:
        return "..."
    if isinstance(value, list):
        return [masked(inner, name) for inner in value]
    if isinstance(value, str) and "/" in value:
        return "..."
    return float(f"{value:.8g}") if isinstance(value, float) else value


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Every output, by command."""
    with pytest.MonkeyPatch.context() as patch:
        yield commands(tmp_path_factory.mktemp("outputs"), patch)


def commands(folder, patch):
    answered_by(patch, FunctionTransport(reply_to))
    patch.chdir(folder)
    space = write_space(
        folder,
        search={"sampler": "grid", "trials": 99, "concurrency": 1},
        splits={"train": 4, "search": 20, "holdout": 16},
        constraints={"regressions": {"max": 0.25, "confidence": 0.9}, "cost_usd_max": 0.01, "quality_min": 0.25},
        objectives={"cost": {"weight": 0.3, "scale": "incumbent"}, "latency": {"weight": 0.1, "scale": [9, 0]}},
        incumbent={"model": "large", "instruction": "clear"},
        verify={"front": True, "probe": 3},
    )
    job = json.loads(run("optimize", str(space), "--json"))
    study = job["study"]
    picked = json.loads(run("pareto", study, "--json", "--pick", "within:10"))
    compared = json.loads(run("compare", study, "recommended", "incumbent", "--by", "label", "--json"))
    worse = json.loads(run("compare", study, "trial 1", "incumbent", "--split", "search", "--json"))
    table = run("pareto", study, "--csv", "--all")
    plain = json.loads(run("optimize", str(write_space(folder / "plain")), "--json"))["study"]
    run("promote", plain, "--pick", "incumbent", "--force", "--why", "what runs today", "--within", "0")
    (kept,) = Path("promotions/landscape").glob("[0-9a-f]*.yaml")
    (promotion,) = yaml.safe_load_all(kept.read_text())
    checked = json.loads(run("check", "landscape", "--json"))
    migration = json.loads(run("migrate", "landscape", "--to", "large", "--trials", "6", "--json"))
    return {
        "optimize": masked(job),
        "pareto": masked(picked),
        "compare": masked(compared),
        "compare a worse one on the search split": masked(worse),
        "pareto --csv": [masked(row) for row in csv.DictReader(io.StringIO(table))],
        "evidence": masked(promotion["evidence"]),
        "check": masked(checked),
        "migrate": masked(migration),
        "studies": masked(json.loads(run("studies", "--json"))),
        "report": masked(json.loads(run("report", study, "--json"))),
    }


def differences(found, expected, where):
    """What is missing or has another value; new keys are not differences."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            yield from (
                differences(found[key], value, f"{where}.{key}") if key in found else [f"{where}.{key} is missing"]
            )
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        for number, value in enumerate(expected):
            yield from differences(found[number], value, f"{where}[{number}]")
    elif found != expected:
        yield f"{where}: {found!r} for {expected!r}"


def test_every_command_has_the_keys_and_numbers_that_are_written_down(outputs):
    text = json.dumps(outputs, indent=1, sort_keys=True) + "\n"
    if os.environ.get("OFFRAMP_WRITE_EXPECTED"):
        EXPECTED.write_text(text)
    assert list(differences(json.loads(text), json.loads(EXPECTED.read_text()), "")) == []
