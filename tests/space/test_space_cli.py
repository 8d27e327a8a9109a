"""`offramp space` as a person runs it."""

import json
import sys
from pathlib import Path

import pytest
from space_files import GOOD, broken

from offramp.cli.main import main
from offramp.space.schema import schema_text

DATA = [
    {"message": f"message {i}", "category": ["billing", "shipping", "returns"][i % 3], "urgency": i % 4}
    for i in range(24)
]  # fmt: skip


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Writes the good file with changes, and its data, into an empty folder."""
    monkeypatch.chdir(tmp_path)

    def write(*changes):
        rows = "".join(json.dumps(row) + "\n" for row in DATA)
        Path("tickets.jsonl").write_text(rows)
        Path("job.yaml").write_text(broken(*changes))
        return "job.yaml"

    return write


LOCAL = (
    ("  model: openai/gpt-4o\n  instruction", "  model: local/smollm2-135m\n  instruction"),
    (GOOD[GOOD.index("  - openai/gpt-4o\n") : GOOD.index("instructions:\n")], "  - local/smollm2-135m\n"),
    (GOOD[GOOD.index("  reasoning_effort:\n") : GOOD.index("objectives:")], ""),
    ("[0.01, 0]}\n", "[0.01, 0]}\n  latency: {scale: [5, 0]}\n"),
)


def test_a_good_file_is_summed_up(job, capsys):
    assert main(["space", "check", job(*LOCAL)]) == 0
    out = capsys.readouterr().out
    assert "train 10, search 5, holdout 5" in out
    assert "The space file is correct." in out


def test_a_good_file_is_summed_up_as_json(job, capsys):
    assert main(["space", "check", job(*LOCAL), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["summary"]["models"] == "local/smollm2-135m"


def test_checking_writes_nothing(job):
    path = job(*LOCAL)
    before = sorted(Path().iterdir())
    assert main(["space", "check", path]) == 0
    assert sorted(Path().iterdir()) == before


def test_a_bad_file_is_one_message_and_exit_code_2(job, capsys):
    assert main(["space", "check", job(("trials: 20", "trails: 20"))]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: job.yaml:46: search.trails: unknown key. Did you mean 'trials'?\n"


def test_problems_are_json_on_request(job, capsys):
    assert main(["space", "check", job(("trials: 20", "trails: 20"), ("usd: 5", "usd: -5")), "--json"]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "ok": False,
        "problems": [
            {
                "where": "job.yaml",
                "line": 45,
                "key": "budget.usd",
                "message": "budget.usd: got -5, expected a number above 0 or null.",
            },
            {
                "where": "job.yaml",
                "line": 46,
                "key": "search.trails",
                "message": "search.trails: unknown key. Did you mean 'trials'?",
            },
        ],
    }


def test_problems_of_data_are_json_too(job, capsys):
    path = job(*LOCAL)
    Path("tickets.jsonl").unlink()
    assert main(["space", "check", path, "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["where"] == "job.yaml"
    assert problem["key"] == "dataset.path" and problem["line"] is not None
    assert "tickets.jsonl" in problem["message"]


def test_a_missing_file_and_a_missing_text_are_reported_before_the_search_is_imported(job, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "offramp.job.resolve", None)  # importing it would raise
    assert main(["space", "check", "no.yaml"]) == 2
    assert main(["space", "check", job(("short: Sort the message.", "short: {file: no.txt}"))]) == 2
    assert "job.yaml:29: instructions.short.file: there is no such file: got 'no.txt'" in capsys.readouterr().err


def test_the_schema_is_printed_as_it_ships(capsys):
    assert main(["space", "schema"]) == 0
    assert capsys.readouterr().out == schema_text()
