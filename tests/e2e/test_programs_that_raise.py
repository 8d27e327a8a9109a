"""A module that raises before it asks a model: what raised, where, and what to do, and nothing is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offramp.search import api
from offramp.testing.server import ScriptedServer, ServerReply

SPACE = """
schema_version: 1
name: raising
task: {{module: "own.py:Own", inputs: [question], outputs: [answer]}}
dataset: {{path: rows.jsonl, id: id}}
splits: {{train: 2, search: {search}, holdout: 2}}
metric: {{kind: exact, field: answer}}
models: [{{name: small, route: openai/small, api_base: "{url}", price: {{input_usd: 1.0, output_usd: 1.0}}}}]
incumbent: {{model: small}}
search: {{trials: 1}}
"""
OWN = """
import dspy

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question -> answer")
        self.prices = {}

    def forward(self, question):
        %s
        return self.sort(question=question)
"""
RAISES = {
    "ValueError": ("raise ValueError('too short: ' + question[:3])", "ValueError: too short: row (own.py:11)"),
    "a ValueError of Python's own": ("int(question)", "ValueError: invalid literal for int()"),
    "KeyError": ("self.prices['eur']", "KeyError: 'eur' (own.py:11)"),
    "AttributeError": ("self.nothing()", "no attribute 'nothing' (own.py:11)"),
    "an import": ("import no_such_package", "No module named 'no_such_package' (own.py:11)"),
    "a file": ("open('no_such_file')", "'no_such_file' (own.py:11)"),
    "a cancellation": (
        "raise __import__('asyncio').CancelledError",
        "CancelledError: the program's own code cancelled",
    ),
    "several at once": ("raise ExceptionGroup('two', [KeyError('eur'), OSError()])", "KeyError: 'eur' (own.py:11)"),
    "an exception without words": ("raise RuntimeError", "RuntimeError (own.py:11)"),
    "arguments that DSPy refuses": ("self.sort(question)", "must use keyword arguments"),
}


@pytest.mark.parametrize(("kind", "search"), [*((kind, 3) for kind in RAISES), ("ValueError", 8), ("KeyError", 8)])
def test_a_module_that_raises_before_it_asks_anything_is_named_with_its_line(
    kind: str, search: int, tmp_path: Path
) -> None:
    line, said = RAISES[kind]
    (tmp_path / "own.py").write_text(OWN % line)
    rows = [{"id": str(i), "question": f"row {i}", "answer": "x"} for i in range(search + 4)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with ScriptedServer([ServerReply()]) as server:
        (tmp_path / "space.yaml").write_text(SPACE.format(url=server.url, search=search))
        study = api.optimize(tmp_path / "space.yaml", results=tmp_path / "results")
        assert not server.requests
    error = " ".join(str(study.error).split())
    assert said.split(" (own")[0] in error and "own.py:11" in error, error
    assert "Fix" in error and "same command again" in error, error
