"""The way of the README from one's own data to an app, a check and a rollback: its commands as they are, pasted."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import main

ROOT = Path(__file__).parents[2]
TASKS = ROOT.parent / "shared" / "tasks"
README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_DATA = README.partition("## Your own data")[2].partition("\n## ")[0]


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    return [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A data set that nobody here wrote, as its rows are in a file."""

    file: str
    input: str
    outputs: tuple[str, ...]
    rows: Callable[[], Iterator[dict[str, Any]]]

    def write(self, folder: Path) -> list[dict[str, Any]]:
        rows = list(self.rows())
        with (folder / self.file).open("w", newline="", encoding="utf-8") as out:
            if self.file.endswith(".csv"):
                table = csv.DictWriter(out, list(rows[0]), delimiter=";")
                table.writeheader()
                table.writerows(rows)
            else:
                out.writelines(json.dumps(row) + "\n" for row in rows)
        return rows


def task_rows(name: str, split: Iterable[str], each: int) -> Iterator[dict[str, Any]]:
    with (TASKS / name).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for part in split:
        yield from islice((row for row in rows if row["split"] == part), each)


def reviews() -> Iterator[dict[str, Any]]:
    """Amazon reviews with the mean sentiment that people gave them: C.J. Hutto, VADER, MIT licence (a selection)."""
    with (ROOT / "tests" / "fixtures" / "reviews.csv").open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter=";")


DATA = {
    "labels": Data(file="snips.jsonl", input="input", outputs=("label",),
                   rows=lambda: task_rows("snips_slots.jsonl", ("train", "test"), 30)),
    "several answers": Data(file="facility.jsonl", input="input", outputs=("categories", "sentiment", "urgency"),
                            rows=lambda: task_rows("facility_support.jsonl", ("train", "dev", "test"), 16)),
    "a number, and semicolons": Data(file="reviews.csv", input="review", outputs=("rating",), rows=reviews),
}  # fmt: skip


def answering(data: Data, rows: list[dict[str, Any]]) -> Callable[[Mapping[str, Any]], ServerReply]:
    """A model that knows the answers where it is told their form, and most of them where it is not."""
    by_text = {row[data.input]: row for row in rows}
    texts = sorted(by_text, key=len, reverse=True)

    def reply(body: Mapping[str, Any]) -> ServerReply:
        asked = body["messages"][-1]["content"]
        asked = asked if isinstance(asked, str) else asked[0]["text"]
        at, text = next((i, text) for i, text in enumerate(texts) if text in asked)
        known = "nothing else" in json.dumps(body["messages"]) or at % 3
        found = {name: by_text[text][name] for name in data.outputs} if known else dict(rows[at % 7])
        found = {name: found[name] for name in data.outputs}
        return ServerReply(text=json.dumps(found) if len(found) > 1 else str(next(iter(found.values()))))

    return reply


def pasted(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a line of a page as a shell would."""
    words = shlex.split(command, comments=True)
    if words[0] == "export":
        monkeypatch.setenv(*words[1].split("=", 1))
        return
    assert words[0] == "offramp", command
    assert main(words[1:]) == 0, command


@pytest.mark.parametrize("kind", DATA)
def test_the_commands_of_the_readme_lead_from_data_to_an_app_a_check_and_a_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    data = DATA[kind]
    if data.file.endswith(".jsonl") and not TASKS.is_dir():
        pytest.skip("the task sets are not part of the project")
    monkeypatch.chdir(tmp_path)
    rows, stem = data.write(tmp_path), data.file.partition(".")[0]
    own = OWN_DATA.replace("tickets.csv", data.file).replace("tickets", stem)
    typed = commands(own)
    assert [line.split()[1] for line in typed if line.startswith("offramp")] == [
        "init", "space", "optimize", "optimize", "pareto", "report", "promote", "promote", "check", "rollback",
    ]  # fmt: skip
    with ScriptedServer(answering(data, rows)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for line in typed[:-2]:
            pasted(line, monkeypatch)
        assert len(list(Path("results").glob(f"{stem}-*.html"))) == 1
        app = blocks(own, "python")[0].replace("ticket=", f"{data.input}=").replace(".team", f".{data.outputs[0]}")
        text = str(rows[-1][data.input])
        capsys.readouterr()
        exec(app.replace('"I was charged twice this month."', repr(text)))
        assert capsys.readouterr().out.strip() == str(rows[-1][data.outputs[0]])
        for line in typed[-2:]:
            pasted(line, monkeypatch)
    assert main(["history", stem, "--json"]) == 0
    told = capsys.readouterr().out
    moves = json.loads(told[told.rindex("\n[") :])
    assert [move["action"] for move in moves] == ["promote", "promote", "rollback"]


def sorting(body: Mapping[str, Any]) -> ServerReply:
    """A model that knows the teams where it is told them, and two of three where it is not."""
    text, asked = json.dumps(body["messages"]), body["messages"][-1]["content"]
    words = {"billing": ("charged", "Invoice", "refund", "plan"), "technical": ("app", "pair", "Error", "Model")}
    found = next((team for team, said in words.items() if any(word in asked for word in said)), "shipping")
    known = "technical" in text or found != "technical"
    return ServerReply(text=found if known else "billing")


def test_every_command_of_the_tutorial_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name, text in re.findall(r"```python\n# (\S+)\n(.*?)```", page, re.DOTALL):
        Path(name).write_text(text)
    typed = commands(page)
    assert {line.split()[1] for line in typed if line.startswith("offramp")} >= {
        "init", "space", "optimize", "pareto", "report", "promote", "check", "watch", "rollback", "history",
    }  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    with ScriptedServer(sorting) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for line in typed:
            program, *rest = line.split()
            if program == "pip":
                continue
            print(f"$ {line}", flush=True)
            if program == "pytest":
                done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *rest],
                                      capture_output=True, text=True, check=False)  # fmt: skip
                assert done.returncode == 0, done.stdout + done.stderr
                print(done.stdout)
            elif program == "python":
                runpy.run_path(rest[0])
            else:
                pasted(line, monkeypatch)
    told = capfd.readouterr().out
    assert "$ python app.py\nshipping\n" in told and "2 passed" in told
    for shown in blocks(page, "text"):
        if shown.startswith("candidate "):
            continue  # who is recommended depends on how fast the answers came
        lines = [stable(line) for line in shown.splitlines() if stable(line)]
        assert [line for line in lines if line not in {stable(line) for line in told.splitlines()}] == []


def stable(line: str) -> str:
    """A line of output without what differs from run to run: identifiers, times and money."""
    return " ".join(re.sub(r"[0-9a-f]{8,}|[\d.,]*\d|[$-]", "", line).split())


def test_the_python_metric_of_the_readme_scores_its_space_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    teams = ("billing", "technical", "sales")
    Path("tickets.csv").write_text("ticket,team\n" + "".join(f"{n} {teams[n % 3]},{teams[n % 3]}\n" for n in range(60)))
    name, metric = re.findall(r"```python\n# (\S+)\n(.*?)```", OWN_DATA, re.DOTALL)[0]
    Path(name).write_text(metric)
    stated = re.search(r"`(metric: \{kind: python.*?\})`", OWN_DATA)
    assert stated is not None
    text = re.sub(r"^metric: .*$", lambda _: stated[1], blocks(OWN_DATA, "yaml")[0], flags=re.M)
    Path("tickets.yaml").write_text(text)
    assert main(["space", "check", "tickets.yaml", "--json"]) == 0
    assert "same_team" in json.loads(capsys.readouterr().out)["summary"]["metric"]
