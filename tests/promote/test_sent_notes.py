"""A check says when code or a library sends something else than what was measured, and nothing while it does not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dspy
import pytest

import offramp
from offramp.cli.main import main
from offramp.testing.server import ScriptedServer, ServerReply

OWN = """
import os
import dspy

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.gist = dspy.ChainOfThought("question -> gist")
        self.sort = dspy.Predict("gist -> answer")

    def forward(self, question):
        gist = self.gist(question=question).gist
        config = {"temperature": float(os.environ["HEAT"])} if "HEAT" in os.environ else {}
        return self.sort(gist=gist, config=config)
"""
SPACE = """
schema_version: 1
name: notes
task: {task}
dataset: {{path: rows.jsonl, id: id}}
splits: {{train: 2, search: 3, holdout: 3}}
metric: {{kind: exact, field: answer}}
incumbent: {{model: small}}
models: [{{name: small, route: openai/small, api_base: "{url}", price: {{input_usd: 1.0, output_usd: 1.0}}}}]
params: {{temperature: 0.0}}
search: {{trials: 1}}
"""
TASKS = {
    "own": '{module: "own.py:Own", inputs: [question], outputs: [answer]}',
    "signature": "{signature: question -> answer}\ninstructions: {plain: Answer.}\nprogram: {format: chat}",
}


def answer(body: dict[str, Any]) -> ServerReply:
    names = [n for n in ("reasoning", "gist", "answer") if f"`[[ ## {n} ## ]]`" in str(body["messages"][-1])]
    text = "\n\n".join(f"[[ ## {name} ## ]]\nx" for name in names) + "\n\n[[ ## completed ## ]]"
    return ServerReply(text=text)


def checked(capsys: pytest.CaptureFixture[str], options: list[str]) -> list[str]:
    capsys.readouterr()
    main(["check", "notes", "--json", *options])
    return list(json.loads(capsys.readouterr().out).get("notes", []))


@pytest.mark.parametrize("kind", TASKS)
def test_a_check_notes_what_is_sent_otherwise(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    rows = [{"id": str(i), "question": f"row {i}", "answer": "x"} for i in range(8)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with ScriptedServer(answer) as server:
        (tmp_path / "space.yaml").write_text(SPACE.format(url=server.url, task=TASKS[kind]))
        assert offramp.optimize(tmp_path / "space.yaml").error is None
        assert main(["promote", "latest", "--force", "--why", "it runs", "--by", "ada"]) == 0
        assert checked(capsys, []) == [], "nothing has changed"

        if kind == "own":
            monkeypatch.setitem(os.environ, "HEAT", "0.9")
            notes = checked(capsys, [])
            assert "temperature is not sent as it was: 0.9 by sort, 0.0 by gist.predict now, as stated when" in notes[
                0
            ] or ("temperature is not sent as it was: 0.0 by gist.predict, 0.9 by sort now, as stated when" in notes[0])
            assert "system message or parameters of sort are not those of the promotion" in notes[1]
            monkeypatch.delitem(os.environ, "HEAT")

        written = dspy.ChatAdapter.format_task_description
        said = {"own": "gist.predict, sort", "signature": "main"}[kind]
        monkeypatch.setattr(dspy.ChatAdapter, "format_task_description", lambda *a: f"{written(*a)} Be brief.")
        (note,) = checked(capsys, [])
        assert f"system message or parameters of {said} are not those of the promotion (DSPy {dspy.__version__}" in note
