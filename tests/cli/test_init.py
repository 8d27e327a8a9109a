"""`offramp init`: from data that nobody here wrote to a space file that runs; shipped jobs from an installed wheel."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from offramp.job.resolve import resolve_job
from offramp.job.resolved import ResolvedJob
from offramp.space.load import load_space
from offramp.starter.writing import examples
from search_jobs import main

ROOT = Path(__file__).parents[2]
TASKS = ROOT.parent / "shared" / "tasks"
TEAMS = ("billing", "shipping", "technical")
QUESTIONS = [(f"Where is city {i}?", f"In country {i}") for i in range(30)]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, rows: list[dict[str, Any]]) -> str:
    path = Path(name)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return name


def job_of(name: str) -> ResolvedJob:
    return resolve_job(load_space(Path(name)))


DATA: dict[str, tuple[str, list[dict[str, Any]], list[str], dict[str, str], str]] = {
    "labels in a CSV": (
        "tickets.csv", [{"ticket_id": i, "Message Text": f"case {i}", "Team": TEAMS[i % 3]} for i in range(40)],
        ["Message_Text"], {"Team": "enum"}, "exact",
    ),
    "sorted, with a date and a constant": (
        "old.tsv", [{"created": f"2026-01-{i + 1:02}", "source": "web", "body": f"mail {i}", "intent": TEAMS[i // 10]}
                    for i in range(30)],
        ["body"], {"intent": "enum"}, "exact",
    ),
    "questions with a short answer": (
        "faq.jsonl", [{"question": q, "context": "Numbers.", "answer": a} for q, a in QUESTIONS],
        ["question"], {"answer": "str"}, "token_f1",
    ),
    "stars": ("stars.jsonl", [{"review": f"It is thing {i}", "stars": i % 5 + 1} for i in range(25)],
              ["review"], {"stars": "int"}, "exact"),
    "a number": ("price.csv", [{"description": f"a house of {i} rooms", "price": f"{i * 1.5:.2f}"} for i in range(25)],
                 ["description"], {"price": "float"}, "number"),
    "true or false": ("spam.jsonl", [{"text": f"mail {i}", "spam": i % 3 == 0} for i in range(25)],
                      ["text"], {"spam": "bool"}, "exact"),
    "two answers": (
        "two.jsonl", [{"text": f"t {i}", "sentiment": TEAMS[i % 3], "urgency": TEAMS[i % 2]} for i in range(25)],
        ["text"], {"sentiment": "enum", "urgency": "enum"}, "mix",
    ),
    "an object": (
        "slots.jsonl", [{"text": f"t {i}", "slots": {"city": "Rome", "nights": i}} for i in range(25)],
        ["text"], {"slots": "object"}, "json_fields",
    ),
    "a list": ("tags.jsonl", [{"text": f"t {i}", "tags": [TEAMS[i % 3], "all"]} for i in range(25)],
               ["text"], {"tags": "list[str]"}, "json_fields"),
    "a list of objects": (
        "cities.jsonl", [{"text": f"t {i}", "entities": [{"kind": "city", "name": f"R{i}"}] * (i % 3 + 1)} for i in range(25)],
        ["text"], {"entities": "list[object]"}, "json_fields",
    ),
    "labels with gaps": (
        "gaps.csv", [{"text": f"t {i}", "label": "" if i in (3, 7) else TEAMS[i % 3]} for i in range(30)],
        ["text"], {"label": "enum"}, "exact",
    ),
    "names that DSPy and YAML take for something else": (
        "odd names.csv", [{"signature": f"long text number {i}", "class": ("no", "on", "1")[i % 3]} for i in range(24)],
        ["the_signature"], {"the_class": "enum"}, "exact",
    ),
    "names that say nothing": (
        "x.csv", [{"a": f"what is said {i}", "b": TEAMS[i % 3]} for i in range(24)], ["a"], {"b": "enum"}, "exact",
    ),
    "few rows": ("few.csv", [{"text": f"t {i}", "label": TEAMS[i % 2]} for i in range(8)],
                 ["text"], {"label": "enum"}, "exact"),
    "many rows and labels": (
        "many.csv", [{"utterance": f"say {i}", "intent": f"intent {i % 77}"} for i in range(1540)],
        ["utterance"], {"intent": "enum"}, "exact",
    ),
    "splits of its own": (
        "splits.jsonl", [{"id": f"r{i}", "input": f"t {i}", "label": TEAMS[i % 3], "split": ("train", "dev", "test")[i % 3]}
                         for i in range(60)],
        ["input"], {"label": "enum"}, "exact",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DATA)
def test_data_of_every_kind_gives_a_space_file_that_runs(capsys: Any, kind: str) -> None:
    name, rows, inputs, outputs, metric = DATA[kind]
    assert main(["init", "--data", write(name, rows), "--no-input"]) == 0
    told = capsys.readouterr().out
    stem = Path(name).stem.replace(" ", "_")
    job = job_of(f"{stem}.yaml")
    assert list(job.task.fields.inputs) == inputs
    assert {field: output.type for field, output in job.task.fields.outputs.items()} == outputs
    assert job.space.metric.kind == metric and job.incumbent is not None
    assert told.rstrip().endswith(f"offramp space check {stem}.yaml\n  offramp optimize {stem}.yaml")
    text = Path(f"{stem}.yaml").read_text()
    assert text.count("# ") >= 6 and max(map(len, text.splitlines())) < 4000
    assert main(["space", "check", f"{stem}.yaml"]) == 0
    assert main(["optimize", f"{stem}.yaml", "--dry-run"]) == 0


def test_what_was_guessed_and_left_out_is_said(capsys: Any) -> None:
    rows = [
        {"id": i, "text": f"t {i}", "team": TEAMS[i % 3], "score": i / 7, "lang": "en", "note": ""} for i in range(20)
    ]
    assert main(["init", "--data", write("a.csv", rows), "--output", "team", "--no-input"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for said in ("20 rows", "input text by its name", "output team 3 labels, 6 to 7 rows each", "metric exact on team",
                 "id id a value of its own", "left out score not needed", "left out lang it is the same in all rows",
                 "left out note it is empty", "Wrote a.yaml and test_a.py."):  # fmt: skip
        assert said in told


@pytest.mark.parametrize(
    ("models", "temperature", "room"),
    [
        (("openai/gpt-5.6-luna", "openai/gpt-5.6-terra"), None, True),
        (("openai/gpt-5.6-luna", "openai/gpt-4.1"), {"choices": [0.0, 0.7], "when": {"model": ["openai/gpt-4.1"]}}, True),
        (("openai/gpt-4.1", "openai/o3"), {"choices": [0.0, 0.7], "when": {"model": ["openai/gpt-4.1"]}}, True),
        (("openai/gpt-4.1", "openai/gpt-4.1-mini"), {"choices": [0.0, 0.7]}, False),
    ],
)  # fmt: skip
def test_models_that_reason_get_room_and_no_temperature_that_they_refuse(
    models: tuple[str, ...], temperature: dict[str, Any] | None, room: bool
) -> None:
    name = write("a.csv", [{"text": f"t {i}", "label": "ab"[i % 2]} for i in range(24)])
    assert main(["init", "--data", name, "--no-input", *(w for model in models for w in ("--model", model))]) == 0
    written = yaml.safe_load(Path("a.yaml").read_text())
    assert written["params"].get("temperature") == temperature
    assert (written["params"]["max_tokens"] >= 1024) == room
    first = temperature is not None and models[0] in temperature.get("when", {}).get("model", models)
    assert ("params" in written["incumbent"]) == first
    assert main(["space", "check", "a.yaml"]) == 0


@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_a_csv_may_have_the_separators_of_any_spreadsheet(mark: str) -> None:
    rows = [["note", "team"], *([f'he said "{i}"; then, left', TEAMS[i % 3]] for i in range(24))]
    with Path("a.csv").open("w", newline="") as out:
        csv.writer(out, delimiter=mark).writerows(rows)
    assert main(["init", "--data", "a.csv", "--no-input"]) == 0
    job = job_of("a.yaml")
    assert list(job.task.fields.outputs) == ["team"] and list(job.task.fields.inputs) == ["note"]
    assert all("; then, left" in str(example.values["note"]) for example in job.task.splits.search)


@pytest.mark.parametrize(
    "first", ["-0.9", "2026-01-02 10:00", "a whole sentence that somebody wrote in a review of a book, not a name"]
)
def test_a_file_without_names_of_columns_is_pointed_out(capsys: Any, first: str) -> None:
    Path("a.tsv").write_text(f"{first}\tgood\n" + "".join(f"it is number {i}\t{TEAMS[i % 3]}\n" for i in range(24)))
    assert main(["init", "--data", "a.tsv", "--no-input"]) == 0
    told = capsys.readouterr().out
    assert "the first line names the columns" in told and "if it is data, put a line with names above it" in told


def test_labels_that_differ_in_case_are_pointed_out(capsys: Any) -> None:
    rows = [{"text": f"t {i}", "label": ("Spam", "spam", "ham")[i % 3]} for i in range(24)]
    assert main(["init", "--data", write("case.csv", rows), "--no-input"]) == 0
    assert "'Spam', 'spam' differ only in case" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [[], ["my-job"], ["--input", "question", "--output", "topic"], ["--model", "openai/gpt-4.1-mini"]]
)
def test_without_data_a_stub_is_written_that_runs(capsys: Any, options: list[str]) -> None:
    assert main(["init", *options, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["files"]) == 3 and told["next"][-1] == f"offramp optimize {told['space']}"
    job = job_of(told["space"])
    assert job.incumbent is not None and len(job.task.splits.search) >= 2
    if "--model" in options:
        assert job.searched_models == ("openai/gpt-4.1-mini",) and job.space.budget.usd == 1.0
    assert main(["init", *options, "--no-input"]) == 0
    assert "was here already" in capsys.readouterr().out


def test_the_test_that_is_written_runs() -> None:
    assert main(["init", "my-job", "--no-input"]) == 0
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "test_my_job.py", "-p", "no:cacheprovider"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert "1 passed, 1 skipped" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        ([{"text": "a", "label": "b"}] * 9, ["--output", "lable"], "--output: no such column: got 'lable'"),
        ([{"text": "a", "label": "b"}] * 9, ["--input", "txt"], "Did you mean 'text'"),
        ([{"text": "a"}, {"text": "b"}], [], "nothing tells which column is the answer"),
        ([{"text": f"{i}", "answers": {"text": ["a"] * i}} for i in range(9)], [], "answers cannot be one as it is"),
        ([{"messages": [{"role": r, "content": f"{r} {i}"} for r in ("user", "assistant")]} for i in range(9)], [],
         "messages holds conversations: make a column for the text and one for the answer, as jq -c '{input:"),
        ([{"text": f"{i}", "label": "a"} for i in range(9)], ["../x"], "a name such as ticket-routing"),
        ([{"text": f"{i}", "label": "ab"[i % 2]} for i in range(9)], ["job.yaml"], "without folder and ending"),
        ([{"text": f"{i}", "label": "ab"[i % 2]} for i in range(3)], [], "number of rows"),
        ([{"text": f"{i}", "label": "ab"[i % 2]} for i in range(9)], ["--model", "nobody/knows-me"], "nobody/knows-me"),
        ([{"text": f"{i}", "label": "ab"[i % 2]} for i in range(9)], ["--example", "support-triage"], "copies a job as it is"),
    ],
)  # fmt: skip
def test_what_cannot_become_a_job_is_one_message_and_leaves_nothing(
    capsys: Any, rows: list[dict[str, Any]], options: list[str], says: str
) -> None:
    name = write("a.jsonl" if any(isinstance(v, dict | list) for v in rows[0].values()) else "a.csv", rows)
    assert main(["init", "--data", name, "--no-input", *options]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == [name]


def test_nothing_is_overwritten(capsys: Any) -> None:
    write("a.csv", [{"text": f"{i}", "label": "ab"[i % 2]} for i in range(9)])
    Path("a.yaml").write_text("mine\n")
    assert main(["init", "--data", "a.csv", "--no-input"]) == 2
    assert "a.yaml: exists already, and init overwrites nothing" in capsys.readouterr().err
    assert Path("a.yaml").read_text() == "mine\n" and not Path("test_a.py").exists()


def test_on_a_terminal_it_asks_and_offers_the_guess() -> None:
    write("a.csv", [{"text": f"{i}", "label": "ab"[i % 2], "other": f"x{i}"} for i in range(12)])
    reader, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "offramp", "init"], stdin=terminal, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)  # fmt: skip
    os.write(reader, b"a.csv\nmy-name\n\n\nlocal/gemma-3-270m\n")
    told, _ = process.communicate()
    os.close(reader), os.close(terminal)
    assert process.returncode == 0, told
    assert "Columns: text, label, other" in told and "[label]" in told
    job = job_of("my_name.yaml")
    assert job.space.name == "my-name" and job.searched_models == ("local/gemma-3-270m",)


@pytest.mark.parametrize("name", ["facility_support.jsonl", "snips_slots.jsonl"])
@pytest.mark.skipif(not TASKS.is_dir(), reason="the task sets are not part of the project")
def test_task_sets_that_nobody_here_wrote_give_a_job(capsys: Any, name: str) -> None:
    assert main(["init", "--data", str(TASKS / name), "--no-input"]) == 0
    assert "was copied" in capsys.readouterr().out
    assert main(["optimize", f"{Path(name).stem}.yaml", "--dry-run"]) == 0


# ------------------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("name", sorted(examples()))
def test_a_shipped_job_is_copied_with_its_data(capsys: Any, name: str) -> None:
    assert main(["init", "--example", name.replace("-", "_")]) == 0
    assert f"offramp optimize {name.replace('-', '_')}.yaml" in capsys.readouterr().out
    stem = name.replace("-", "_")
    job, shipped = job_of(f"{stem}.yaml"), resolve_job(load_space(ROOT / "search_spaces" / f"{stem}.yaml"))
    assert job.task.hash == shipped.task.hash and job.incumbent == shipped.incumbent
    assert sorted(path.name for path in Path().iterdir()) == [f"{stem}.jsonl", f"{stem}.yaml"]


def test_an_unknown_example_names_those_that_there_are(capsys: Any) -> None:
    assert main(["init", "--example", "suport-triage"]) == 2
    told = capsys.readouterr().err
    assert "expected one of order-extraction, reply-writer, support-triage" in told and "Did you mean" in told
