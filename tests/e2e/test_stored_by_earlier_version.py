"""What the version of commit eaaf39f has stored (tests/fixtures/v1) opens, continues and reports the same numbers.

Numbers, names, states and keys have to be as that version printed them; sentences for people may be worded anew, and a
later version may add keys. Exports of the promotion are the same byte for byte, but for what was wrong (a fallback had the
quality of the main model in `export.litellm`; cost and latency of candidates with failed runs were those of other rows).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import shutil
import sqlite3
import time
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

import optuna
import pytest

import offramp
from fixtures.v1 import answers, commands
from offramp.records import Purpose
from offramp.search import api
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, main, run_job

STORED = Path(answers.__file__).parent
NAMES: dict[str, str] = json.loads((STORED / "names.json").read_text())
PROSE = {"text", "why", "verdict", "basis", "started_from", "race", "searched"}
"""Keys of sentences for people; the exact text of others is part of the output."""
OF_THE_RUN = {"elapsed_s", "measured_at", "at", "proposal", "price_table", "table", "dspy", "offramp", "id", "minutes"}
"""Keys that say when, by which packages or how fast it was."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was stored, as the working directory."""
    copy = tmp_path / "copy"
    shutil.copytree(STORED, copy, ignore=shutil.ignore_patterns("expected", "*.py", "*.gz", "__pycache__"))
    with gzip.open(STORED / "results" / "offramp.db.gz") as packed:
        (copy / "results" / "offramp.db").write_bytes(packed.read())
    with closing(sqlite3.connect(copy / "results" / "offramp.db")) as db, db:  # of a process killed a moment ago
        db.execute("UPDATE offramp_reservations SET created_at = ?", (time.time(),))
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> FunctionTransport:
    """The models as they answered the version before; `requests` has what they were asked."""
    transport = FunctionTransport(answers.reply)
    answered_by(monkeypatch, transport)
    return transport


def expected(name: str) -> Any:
    return json.loads((STORED / "expected" / f"{name}.json").read_text())


def printed(line: str, *more: str) -> str:
    with redirect_stdout(io.StringIO()) as out:
        code = main([*line.format(**NAMES).split(), *more])
    assert code in (0, 3), out.getvalue()
    return out.getvalue()


def same(found: Any, before: Any, where: str = "") -> None:
    """Every key is there with its value."""
    name = where.rpartition(".")[2]
    if isinstance(before, dict):
        assert isinstance(found, dict), where
        missing = before.keys() - found.keys()
        assert not missing, f"{where}: {missing}"
        for key, value in before.items():
            same(found[key], value, f"{where}.{key}")
    elif isinstance(before, list):
        assert isinstance(found, list) and len(found) == len(before), f"{where}: {found} for {before}"
        for number, value in enumerate(before):
            same(found[number], value, f"{where}[{number}]")
    elif name in OF_THE_RUN or (name in PROSE and isinstance(before, str) and " " in before):
        assert type(found) is type(before) or {type(found), type(before)} == {int, float}, f"{where}: {found!r}"
    elif isinstance(before, float):
        assert found is not None and math.isclose(found, before, rel_tol=1e-9, abs_tol=1e-12), (
            f"{where}: {found} for {before}"
        )
    else:
        assert found == before, f"{where}: {found!r} for {before!r}"


@pytest.mark.parametrize("name", commands.JSON)
def test_commands_that_look_print_the_same_and_make_no_call(folder: Path, models: FunctionTransport, name: str) -> None:
    found, before = json.loads(printed(commands.JSON[name], "--json")), expected(name)
    if name == "promote-plan":  # a version is a hash that includes when it was made
        for plan in (found, before):
            del plan["version"], plan["path"], plan["changes"]["after"]
            del plan["promotion"]["version"], plan["promotion"]["sha256"]
    if name.startswith(
        "optimize"
    ):  # an estimate, by now from what the stored prompts were billed at: more than guessed
        assert found["dry_run"].pop("cost_usd") > before["dry_run"].pop("cost_usd")
    same(found, before)
    assert models.requests == []


@pytest.mark.parametrize("name", commands.SENDING)
def test_commands_that_ask_models_come_to_the_same(folder: Path, models: FunctionTransport, name: str) -> None:
    found, before = json.loads(printed(commands.SENDING[name], "--json")), expected(name)
    if name == "migrate":  # what its search comes to is the engine's affair
        for result in (found, before):
            del result["spent"], result["stop_reason"], result["trials"]
    same(found, before)


@pytest.mark.parametrize("name", commands.CSV)
def test_tables_have_the_same_columns_and_numbers(folder: Path, name: str) -> None:
    found, before = (
        list(csv.DictReader(io.StringIO(text))) for text in (printed(commands.CSV[name]), _text(f"{name}.csv"))
    )
    same([_numbers(row) for row in found], [_numbers(row) for row in before])


def _numbers(row: dict[str, str]) -> dict[str, str | float]:
    """The row with its numbers as numbers."""
    return {name: float(cell) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell) else cell for name, cell in row.items()}


def _text(name: str) -> str:
    return (STORED / "expected" / name).read_text()


@pytest.mark.parametrize("form", commands.FORMS)
def test_an_old_promotion_exports_byte_for_byte(folder: Path, form: str) -> None:
    assert printed(f"export triage --to {form}") == _text(f"export.{form}")


CONTINUED: dict[str, tuple[str, dict[str, Any]]] = {
    "capped": ("space.yaml", {"seed": 6}),
    "killed": ("random.yaml", {"seed": 7}),
    "done": ("space.yaml", {"trials": 15}),
    "warm": ("next.yaml", {"trials": 8, "from_study": NAMES["done"]}),
}


@pytest.mark.parametrize("name", CONTINUED)
def test_a_study_continues_with_what_it_has_and_pays_nothing_twice(
    folder: Path, models: FunctionTransport, name: str
) -> None:
    space, limits = CONTINUED[name]
    stored = trials(NAMES[name])
    with closing(sqlite3.connect("results/offramp.db")) as db:
        answered = {row[0] for row in db.execute("SELECT request_hash FROM offramp_calls WHERE status = 'ok'")}
    result = api.result_json(run_job(Path(space), Path("results"), **limits))
    before = expected(f"continue-{name}")["result"]
    for key in ("study", "scales", "incumbent", "holdout_size", "objectives"):
        if key in before:
            same(result[key], before[key], f".{key}")
    same(result.keys() | before.keys(), result.keys())
    assert trials(NAMES[name])[: len(stored)] == stored
    assert result["stop_reason"] in {"trials", "space_exhausted", before["stop_reason"]}
    asked = {request.hash for request in models.requests if request.purpose is not Purpose.PROBE}
    assert asked and not answered & asked, "what the version before has paid for was asked again"


def trials(study: str) -> list[list[Any]]:
    """The complete trials as Optuna has them: candidate, values, scored examples."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = optuna.load_study(study_name=study, storage="sqlite:///results/offramp.db").get_trials()
    assert "RUNNING" not in {trial.state.name for trial in kept}
    complete = [trial for trial in kept if trial.state.name == "COMPLETE"]
    return [[trial.user_attrs.get("candidate"), list(trial.values), trial.user_attrs.get("n")] for trial in complete]


def test_a_study_continues_alike_with_more_requests_at_a_time(
    folder: Path, models: FunctionTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = folder.with_name("twin")
    shutil.copytree(folder, twin)
    one = api.result_json(run_job(Path("space.yaml"), Path("results"), seed=6))
    monkeypatch.chdir(twin)
    four = api.result_json(run_job(Path("space.yaml"), Path("results"), seed=6, concurrency=4))
    for name in ("study", "trials", "stopped", "front", "incumbent", "recommended", "proposals"):
        same(four[name], one[name], f".{name}")


def test_an_app_gets_the_messages_that_the_version_before_sent(folder: Path) -> None:
    found = offramp.load_messages("triage", {"message": "{{message}}"}, promotions="promotions")
    sent = json.loads(_text("export.openai"))
    assert [dict(message) for message in found.messages] == sent["messages"]
    assert found.params == {name: sent[name] for name in ("max_tokens", "temperature")}


def test_looking_at_an_old_storage_does_not_change_it(folder: Path) -> None:
    path = folder / "results" / "offramp.db"
    before = path.read_bytes()
    for line in (
        "studies",
        "pareto {done} --all",
        "compare {done} --space space.yaml",
        "optimize space.yaml --dry-run",
    ):
        printed(line, "--json")
    assert path.read_bytes() == before
