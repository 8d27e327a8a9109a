"""`space check` finds what a run would find, with file and line; `space show` prints what would be sent."""

from __future__ import annotations

import csv
import datetime
import importlib.util
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml

from offramp.cli.main import main
from offramp.models.retirement.dates import utc_today

LABELS = ("billing", "shipping", "returns")
MODEL = {"name": "small", "route": "openai/small", "price": {"input_usd": 1.0, "output_usd": 2.0}}


def rows(count: int = 24, **changes: Any) -> list[dict[str, Any]]:
    """Examples; `changes` replace values of some rows: `_3={"label": None}`."""
    found: list[dict[str, Any]] = [{"message": f"message {i}", "label": LABELS[i % 3]} for i in range(count)]
    for name, values in changes.items():
        found[int(name[1:])] |= values
    return found


def write(data: list[dict[str, Any]] | bytes, *, name: str = "rows.csv", **changes: Any) -> str:
    if isinstance(data, bytes):
        Path(name).write_bytes(data)
    elif name.endswith("jsonl"):
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in data))
    else:
        with Path(name).open("w", newline="") as out:
            writer = csv.DictWriter(out, list(data[0]))
            writer.writeheader()
            writer.writerows(data)
    space = {
        "schema_version": 1, "name": "job",
        "task": {"signature": {"inputs": {"message": None}, "outputs": {"label": {"type": "enum", "values": [*LABELS]}}}},
        "dataset": {"path": name}, "metric": {"kind": "exact", "field": "label"},
        "splits": {"train": 0.3, "search": 0.4, "holdout": 0.3}, "incumbent": {"model": "small"}, "models": [MODEL],
        "instructions": {"short": "Sort it.", "long": "Sort the message by its topic."}, **changes,
    }  # fmt: skip
    Path("job.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    return "job.yaml"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "x")


@pytest.mark.parametrize(
    ("days", "says"),
    [(-400, "retired on"), (0, "retired on"), (1, "retires in 1 day, on"), (90, "retires in 90 days, on"), (91, None)],
)
def test_a_searched_model_that_could_not_be_promoted_is_named(capsys: Any, days: int, says: str | None) -> None:
    write(rows())
    day = utc_today() + datetime.timedelta(days=days)
    notice = {"model": "small", "retires": day, "successors": ["openai/large"]}
    Path("lifecycle.yaml").write_text(yaml.safe_dump({"schema_version": 1, "retirements": [notice]}))
    told = [text for text in warnings(capsys) if "retire" in text]
    if says is None:
        assert told == []
        return
    assert len(told) == 1 and f"models: small {says} {day}: `offramp promote` refuses" in told[0]
    assert told[0].startswith("job.yaml:") and "Name another, such as openai/large" in told[0]
    assert ("--within 0" in told[0]) == (days > 0)


@pytest.mark.parametrize("base", [None, "http://127.0.0.1:9/v1"])
def test_a_server_of_your_own_has_no_date_of_the_vendor_that_its_model_is_named_after(
    capsys: Any, base: str | None
) -> None:
    """Whoever answers there decides when it stops; behind a router it is the vendor."""
    write(rows(), models=[MODEL, {**MODEL, "name": "other", "route": "openrouter/vendor/old", "api_base": base}])
    notice = {"model": "vendor/old", "retires": utc_today()}
    Path("lifecycle.yaml").write_text(yaml.safe_dump({"schema_version": 1, "retirements": [notice]}))
    told = [text for text in warnings(capsys) if "retired on" in text]
    assert len(told) == (1 if base is None else 0)


def warnings(capsys: Any) -> list[str]:
    assert main(["space", "check", "job.yaml", "--json"]) == 0
    return list(json.loads(capsys.readouterr().out)["warnings"])


def without(number: int, column: str) -> list[dict[str, Any]]:
    data = rows()
    del data[number][column]
    return data


OPTIONAL = {"signature": {"inputs": {"message": None},
                          "outputs": {"label": {"type": "enum", "values": [*LABELS], "optional": True}}}}  # fmt: skip
TEXT = {"signature": "message -> label"}


@pytest.mark.parametrize(
    ("data", "changes", "says"),
    [
        (rows(_7=rows()[3]), {}, "rows.csv:9: 1 duplicate row: line 9 repeats line 5. Drop"),
        (rows(_7=rows()[3], _9=rows()[3]), {"name": "rows.jsonl"}, "rows.jsonl:8: 2 duplicate rows: line 8 repeats line 4; line 10"),
        (rows(_7={"message": "message 3", "label": "returns"}), {}, "rows.csv:5: 1 pair of equal inputs with different answers: line 5 and line 9 (label: 'billing' and 'returns')"),
        (rows(_7={"message": "MESSAGE  3!", "label": "returns"}), {}, "equal inputs with different answers: line 5 and line 9"),
        (rows(_2={"message": "two\nlines"}, _7=rows()[3]), {}, "rows.csv:10: 1 duplicate row: line 10 repeats line 6"),
        (rows(_3={"label": None}, _5={"label": None}), {"name": "rows.jsonl", "task": OPTIONAL}, "rows.jsonl:4: label is empty in 2 rows: line 4; line 6"),
        (rows(_3={"label": ""}), {"task": OPTIONAL}, "rows.csv:5: label is empty in 1 row: line 5"),
        (without(3, "label"), {"name": "rows.jsonl", "metric": {"kind": "python", "path": "m.py:score"}}, "rows.jsonl:4: label is empty in 1 row: line 4. Fill in or drop those that are gaps: a metric that reads what a row lacks ends the job."),
        (rows(_3={"label": "  "}), {"task": TEXT, "metric": {"kind": "token_f1", "field": "label"}}, "label is empty in 1 row: line 5"),
        (rows(), {}, None),
    ],
)  # fmt: skip
def test_rows_that_need_a_look_are_warnings_with_file_and_line(
    capsys: Any, data: list[dict[str, Any]], changes: dict[str, Any], says: str | None
) -> None:
    write(data, **changes)
    Path("m.py").write_text("def score(example, pred):\n    return example.label == pred.label\n")
    found = warnings(capsys)
    found = [text for text in found if "nearly equal" not in text]
    assert any(says in text for text in found) if says else found == []
    assert main(["space", "check", "job.yaml"]) == 0
    assert "The space file is correct. See the " in capsys.readouterr().out or not says


@pytest.mark.parametrize(
    ("model", "says"),
    [(MODEL, "small: its key is missing: environment variable OPENAI_API_KEY is not set. Set it: export"),
     ({**MODEL, "api_key_env": "HOUSE"}, "environment variable HOUSE is not set"),
     ("local/gemma-3-270m", "its file is not on this machine. Run `offramp models pull local/gemma-3-270m`")],
)  # fmt: skip
def test_what_this_machine_lacks_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any, model: Any, says: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OFFRAMP_MODELS", str(tmp_path / "none"))
    monkeypatch.setattr("offramp.job.check_here.embedded.is_pulled", lambda name: False)
    name = model if isinstance(model, str) else model["name"]
    write(rows(), models=[model], incumbent={"model": name})
    assert any(says in text for text in warnings(capsys))


def test_embedded_models_without_llama_cpp_are_a_warning_before_the_job_and_a_refusal_by_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """`offramp init --example` and `space check` were silent, and the job ended at its first call."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    name = "local/gemma-3-270m"
    write(rows(), models=[name], incumbent={"model": name})
    says = f"{name}: llama.cpp (xllamacpp) is not installed. Run `pip install 'offramp[local]'`."
    assert any(says in text for text in warnings(capsys))
    assert main(["optimize", "job.yaml", "--results", str(tmp_path / "none")]) != 0
    assert says in capsys.readouterr().err
    assert main(["init", "--example", "support-triage"]) == 0
    assert "  pip install 'offramp[local]'\n" in capsys.readouterr().out


METRIC = "def score(example, pred):\n    {body}\n"


@pytest.mark.parametrize(
    ("body", "task", "says"),
    [
        ("return 1 / 0", None, "it raised ZeroDivisionError: division by zero (metric.py:2)"),
        ("return example.lable == pred.label", None, "has no 'lable'; it has"),
        ("return 'good'", None, "what it returned: got 'good', expected a number in [0, 1]"),
        ("return float('nan')", None, "what it returned: got nan"),
        ("return pred.label.nope()", None, "metric.py:2"),
        ("return example.answer == pred.reply", "message -> reply", "has no 'answer'; it has"),
        ("return 7", "message -> reply", "what it returned: got 7"),
    ],
)
def test_a_metric_that_fails_on_the_first_rows_is_refused(capsys: Any, body: str, task: str | None, says: str) -> None:
    Path("metric.py").write_text(METRIC.format(body=body))
    write(
        rows(), metric={"kind": "python", "path": "metric.py:score"}, **({"task": {"signature": task}} if task else {})
    )
    assert main(["space", "check", "job.yaml"]) == 2
    assert says in capsys.readouterr().err


def test_a_metric_that_only_a_made_up_answer_upsets_is_not_refused() -> None:
    Path("metric.py").write_text(METRIC.format(body="import json; return len(json.loads(pred.reply)['items']) > 0"))
    write(rows(), task={"signature": "message -> reply"}, metric={"kind": "python", "path": "metric.py:score"})
    assert main(["space", "check", "job.yaml"]) == 0


def zipped() -> bytes:
    with zipfile.ZipFile("x.zip", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return Path("x.zip").read_bytes()


TABLE = "message,label\nhello there,billing\n" * 30


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "rows.csv",
            b"PK\x03\x04 and more",
            "rows.csv: the file is an Excel workbook or another ZIP file: expected CSV in UTF-8",
        ),
        ("rows.jsonl", b"PK\x03\x04 and more", "expected JSONL in UTF-8. Rename it to .xlsx if it is one."),
        ("rows.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and more", "an old Excel workbook (.xls)"),
        ("rows.csv", TABLE.encode("utf-16"), "rows.csv:1: the file is UTF-16: expected UTF-8. Save it as UTF-8."),
        ("rows.tsv", TABLE.encode("utf-16-le"), "the file is UTF-16"),
        ("rows.csv", TABLE.encode("utf-16-be"), "the file is UTF-16"),
        ("rows.jsonl", b'{"message": "a"}\n'.decode().encode("utf-16"), "rows.jsonl:1: the file is UTF-16"),
        ("rows.csv", b"PAR1....", "a Parquet file: expected CSV in UTF-8. Rename it to .parquet."),
        ("rows.csv", b"\x1f\x8b\x08....", "compressed (gzip)"),
        ("rows.xlsx", TABLE.encode(), "the file is not an Excel workbook: expected XLSX"),
        ("rows.xls", b"x", "expected one of jsonl, ndjson, csv, tsv, parquet, xlsx. Save it as .xlsx or CSV."),
        ("rows.json", b"[]", "Write one JSON object per line."),
    ],
)
def test_data_that_is_really_something_else_is_named(capsys: Any, name: str, content: bytes, says: str) -> None:
    write(content, name=name)
    assert main(["space", "check", "job.yaml"]) == 2
    assert says in capsys.readouterr().err
    assert main(["init", "--data", name, "--no-input"]) == 2
    assert says in capsys.readouterr().err


def test_a_workbook_without_openpyxl_says_what_to_install(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openpyxl" else found(name))
    write(zipped(), name="rows.xlsx")
    assert main(["space", "check", "job.yaml"]) == 2
    assert "pip install openpyxl" in capsys.readouterr().err


def test_a_workbook_is_read_by_pandas_where_openpyxl_is_installed(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("openpyxl")
    pandas.DataFrame(rows()).to_excel("rows.xlsx", index=False)
    write(Path("rows.xlsx").read_bytes(), name="rows.xlsx")
    assert main(["space", "check", "job.yaml"]) == 0
    assert main(["init", "mine", "--data", "rows.xlsx", "--no-input"]) == 0


# ----------------------------------------------------------------------------------------------------- space show


@pytest.mark.parametrize("formats", [["plain"], ["plain", "json"], ["plain", "chat", "json"]])
def test_the_request_is_shown_in_each_format(capsys: Any, formats: list[str]) -> None:
    write(rows(), program={"format": formats}, params={"temperature": {"choices": [0.0, 0.5]}, "max_tokens": 16})
    assert main(["space", "show", "job.yaml", "--row", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["row"] == 5 and [one["title"] for one in told["requests"]] == ["incumbent", *formats]
    for one in told["requests"]:
        assert one["model"] == "openai/small" and "message 4" in one["messages"][-1]["content"]
        assert one["request_params"]["max_tokens"] == 16
    assert main(["space", "show", "job.yaml", "--row", "5"]) == 0
    shown = capsys.readouterr().out
    assert "[system]\nSort it." in shown and "message 4" in shown and '"max_tokens": 16' in shown
    assert all(f"=== {name}: small, " in shown for name in formats)


@pytest.mark.parametrize(
    ("kind", "shots"), [("random", 2), ("balanced", 2), ("nearest", 2), ("bootstrapped", 0), ("none", 0)]
)
def test_demos_are_shown_where_no_call_is_needed_to_know_them(capsys: Any, kind: str, shots: int) -> None:
    write(rows(), demos={"kind": kind, "count": 2 if kind != "none" else 0})
    assert main(["space", "show", "job.yaml", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["requests"][-1]
    assert sum(message["role"] == "assistant" for message in first["messages"]) == shots
    assert ("bootstrapped" in (first["note"] or "")) is (kind == "bootstrapped")


@pytest.mark.parametrize(("form", "said"), [({"best_of": 3}, "up to 6 requests"), ({"self_consistency": 5}, "up to 5")])
def test_the_first_of_several_requests_is_shown_as_such(capsys: Any, form: dict[str, int], said: str) -> None:
    write(rows(), program={"form": form}, params={"temperature": 0.5, "max_tokens": 16})
    assert main(["space", "show", "job.yaml", "--json"]) == 0
    for one in json.loads(capsys.readouterr().out)["requests"]:
        assert said in one["note"] and one["request_params"]["temperature"] == 0.5


@pytest.mark.parametrize("row", ["0", "-1", "25", "9999"])
def test_a_row_that_is_not_in_use_is_named(capsys: Any, row: str) -> None:
    write(rows())
    assert main(["space", "show", "job.yaml", "--row", row]) == 2
    told = capsys.readouterr().err
    assert f"--row: rows.csv has no such row in use: got {row}, expected a row in use, 1 to 24" in told
