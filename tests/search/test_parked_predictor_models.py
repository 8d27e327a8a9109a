"""A retired model that only some candidates ask, for one predictor: those are parked, the others go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from offramp.search import api
from offramp.search.outcome import NoModelLeft
from offramp.testing.server import ScriptedServer, ServerReply

OWN = """
import dspy, offramp

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.gist = dspy.Predict("question -> gist")
        self.sort = dspy.Predict("gist -> answer")
        {more}

    def forward(self, question):
        return self.sort(gist=self.gist(question=question).gist)
"""
SPACE = """
schema_version: 1
name: parked
task: {{module: "own.py:Own", inputs: [question], outputs: [answer]}}
dataset: {{path: rows.jsonl, id: id}}
splits: {{train: 2, search: 3, holdout: 3}}
metric: {{kind: exact, field: answer}}
incumbent: {{model: small}}
models:
  - {{name: small, route: openai/small, api_base: "{url}", price: {{input_usd: 1.0, output_usd: 1.0}}}}
  - {{name: big, route: openai/big, api_base: "{url}", price: {{input_usd: 9.0, output_usd: 9.0}}, searched: false}}
  - {{name: mid, route: openai/mid, api_base: "{url}", price: {{input_usd: 3.0, output_usd: 3.0}}, searched: false}}
program: {{models: {{sort: {models}}}}}
search: {{sampler: grid, trials: 6, concurrency: 2}}
"""


def answer(body: dict[str, Any]) -> ServerReply:
    if body["model"] == "big":
        return ServerReply(status=404, text="Model big has been retired.", code="model_gone")
    text = "\n\n".join(f"[[ ## {name} ## ]]\nx" for name in ("gist", "answer") if f"`[[ ## {name} ## ]]`" in str(body))
    return ServerReply(text=f"{text}\n\n[[ ## completed ## ]]")


def run(tmp_path: Path, server: ScriptedServer, more: str, models: str) -> Any:
    (tmp_path / "own.py").write_text(OWN.format(more=more))
    rows = [{"id": str(i), "question": f"row {i}", "answer": "x"} for i in range(8)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "space.yaml").write_text(SPACE.format(url=server.url, models=models))
    return api.optimize(tmp_path / "space.yaml", results=tmp_path / "results")


@pytest.mark.parametrize(
    ("more", "models", "used_by", "left"),
    [
        ("pass", "[own, big]", ("big",), {"own"}),
        ("pass", "[big, own, mid]", ("big",), {"own", "mid"}),
        ("self.sort.lm = offramp.lm('big')", "[mid, own, small]", ("own",), {"mid", "small"}),
    ],
)
def test_candidates_with_a_retired_model_for_one_predictor_are_parked(
    tmp_path: Path, more: str, models: str, used_by: tuple[str, ...], left: set[str]
) -> None:
    with ScriptedServer(answer) as server:
        study = run(tmp_path, server, more, models)
        assert len([request for request in server.requests if request.body["model"] == "big"]) <= 2
    assert study.error is None, study.error
    (parked,) = study.report.parked_models
    assert (parked.model, parked.retired, dict(parked.used_by)) == ("big", True, {"model.sort": used_by})
    assert parked.incumbent == ("own" in used_by)
    assert {member.params["model.sort"] for member in study.report.front} <= left
    assert study.report.recommended is not None and study.report.recommended.holdout.n == 3
    if not parked.incumbent:
        assert {member.params["model.sort"] for member in study.report.members} == left


@pytest.mark.parametrize(
    ("more", "models", "error"),
    [
        ("self.gist.lm = offramp.lm('big')", "[own, mid]", "retired"),
        ("self.big = offramp.lm('big'); self.gist.lm = self.big; self.sort.lm = self.big", "[own, mid]", "retired"),
        ("self.sort.lm = offramp.lm('big')", "[own, big]", "none of the searched models"),
    ],
)
def test_a_retired_model_that_all_candidates_ask_ends_the_job_by_its_name(
    tmp_path: Path, more: str, models: str, error: str
) -> None:
    with ScriptedServer(answer) as server:
        study = run(tmp_path, server, more, models)
        assert len(server.requests) <= 6, "nothing more is spent"
    assert error in str(study.error) and "big" in str(study.error)
    assert isinstance(study.error, NoModelLeft) == error.startswith("none")
