"""What a module, a metric, a check or a tool prints is on stderr; stdout has what the command says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from offramp.cli.main import main
from offramp.testing.server import ScriptedServer, ServerReply

OWN = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import dspy
print("on import")

def score(example, pred, trace=None):
    print("in the metric")
    return example.answer == pred.answer

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        print("when made")
        self.sort = dspy.Predict("question -> answer")

    def forward(self, question):
        print("in forward")
        sys.stdout.write("written\\n")
        sys.stdout.writelines(["in lines\\n"])
        with ThreadPoolExecutor(1) as pool:
            pool.submit(print, "in a pool").result()
        thread = threading.Thread(target=print, args=("in a thread",))
        thread.start()
        thread.join()
        return self.sort(question=question)
"""
PRINTED = ("in forward", "written", "in lines", "in a pool", "in a thread", "when made", "on import", "in the metric")


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    rows = [{"id": f"e{i}", "question": f"case {i}", "answer": "yes"} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ScriptedServer(lambda _: ServerReply(text="[[ ## answer ## ]]\nyes")) as server:
        model = {
            "name": "small",
            "route": "openai/small",
            "api_base": server.url,
            "price": {"input_usd": 1, "output_usd": 1},
        }
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({
            "schema_version": 1, "name": "prints", "task": {"module": "own.py:Own", "inputs": ["question"], "outputs": ["answer"]},
            "dataset": {"path": "rows.jsonl", "id": "id"}, "splits": {"train": 0, "search": 2, "holdout": 2},
            "metric": {"kind": "python", "path": "own.py:score"}, "incumbent": {"model": "small"}, "models": [model],
            "search": {"trials": 1}, "objectives": {"quality": {"weight": 1.0}, "cost": None, "latency": None},
        }))  # fmt: skip
        yield path


def test_what_the_users_code_prints_leaves_json_alone(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promote = ["promote", "latest", "--pick", "incumbent", "--force", "--why", "x"]
    for command in (
        ["space", "check", str(space)],
        ["optimize", str(space), "--dry-run"],
        ["optimize", str(space)],
        promote,
        ["check", "prints"],
        ["verify", "latest", "--dry-run"],
        ["space", "show", str(space)],
    ):
        assert main([*command, "--json"] if command[:2] != ["space", "show"] else command) == 0, command
        out, err = capsys.readouterr()
        assert not [text for text in PRINTED if text in out], command
        assert [text for text in PRINTED if text in err], command
        if "show" not in command:
            json.loads(out)


def test_stdout_is_what_it_was_after_a_command_and_outside_of_the_users_code(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    before = sys.stdout
    assert main(["space", "check", str(space)]) == 0
    assert sys.stdout is before
    print("afterwards")
    assert "afterwards" in capsys.readouterr().out
