"""Promoting an agent repeats its recorded runs: its tools do not run again, and one with effects never does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from offramp.errors import UsageError
from offramp.promote import promoting
from offramp.records import CallReply, CallRequest, Usage
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, main, run_job

OWN = """
from pathlib import Path
import dspy

LOG = Path(__file__).with_name("ran.txt")

def note(line):
    with LOG.open("a") as file:
        file.write(line + "\\n")

def search(word: str) -> str:
    "Finds it."
    note("search")
    return f"found {word} {len(LOG.read_text().splitlines())}"

async def send_mail(text: str) -> str:
    "Sends it."
    note("send_mail")
    return "sent"

class Agent(dspy.Module):
    def __init__(self):
        super().__init__()
        self.tools = [dspy.Tool(search), dspy.Tool(send_mail)]
        self.first, self.last = dspy.Predict("question -> word"), dspy.Predict("question, found -> answer")

    async def aforward(self, question):
        word = (await self.first.acall(question=question)).word
        found = self.tools[0](word=word)
        {sends}
        return await self.last.acall(question=question, found=found)

class Handles(Agent):
    async def aforward(self, question):
        try:
            return await super().aforward(question)
        except Exception:
            return dspy.Prediction(answer="handled")
"""


def study(folder: Path, *, effects: str, sends: bool, module: str = "Agent", demos: str = "") -> None:
    sent = "await self.tools[1].acall(text=found)" if sends else "pass"
    (folder / "own.py").write_text(OWN.replace("{sends}", sent))
    rows = [{"id": f"e{i:02}", "question": f"question {i}", "answer": "yes"} for i in range(30)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "space.yaml").write_text(
        f"schema_version: 1\nname: agent\ntask: {{module: 'own.py:{module}', inputs: [question], outputs: [answer], "
        f"tools: {{{effects}: {{effects: true}}}}}}\n"
        "dataset: {path: rows.jsonl, id: id}\nsplits: {train: 6, search: 12, holdout: 8}\n"
        "metric: {kind: exact, field: answer}\nobjectives: {cost: null, latency: null}\n"
        "models: [{name: small, route: openai/small, api_base: 'http://127.0.0.1:9/v1', price: {input_usd: 1, "
        f"output_usd: 1}}}}]\nsearch: {{trials: 2, sampler: random}}\n{demos}"
    )
    run_job(folder / "space.yaml", folder)


def reply(request: CallRequest) -> CallReply:
    text = request.messages[-1]["content"]
    field = "answer" if "found" in text else "word"
    said = f"[[ ## {field} ## ]]\n{'yes' if field == 'answer' else 'w'}\n\n[[ ## completed ## ]]"
    return CallReply(text=said, usage=Usage(input_tokens=9, output_tokens=3), finish_reason="stop", latency_s=0.1)


@pytest.mark.parametrize(
    ("effects", "sends", "module"),
    [("send_mail", True, "Agent"), ("send_mail", True, "Handles"), ("send_mail", False, "Agent")],
)
def test_no_tool_runs_again_and_the_requests_of_every_run_are_matched(
    tmp_path, monkeypatch, effects, sends, module
) -> None:
    answered_by(monkeypatch, FunctionTransport(reply))
    study(tmp_path, effects=effects, sends=sends, module=module)
    ran = (tmp_path / "ran.txt").read_text()
    assert ran.count("search") == 1, "all ask for the same word"
    assert (ran.count("send_mail") >= 20) == sends
    done = promoting.promote("latest", results=tmp_path, promotions=tmp_path / "promotions", by="ada")
    assert (tmp_path / "ran.txt").read_text() == ran
    assert done.promotion.evidence.requests_matched == 8 and done.promotion.evidence.gate.refused == ()


def test_demos_that_would_run_a_tool_with_effects_again_are_refused(tmp_path, monkeypatch) -> None:
    answered_by(monkeypatch, FunctionTransport(reply))
    study(tmp_path, effects="send_mail", sends=True, demos="demos: {kind: bootstrapped, count: 1}\n")
    ran = (tmp_path / "ran.txt").read_text()
    with pytest.raises(UsageError, match=r"send_mail has effects.*other demos"):
        promoting.promote("latest", results=tmp_path, promotions=tmp_path / "promotions", by="ada")
    assert (tmp_path / "ran.txt").read_text() == ran


def test_compare_shows_the_steps_of_both_runs_without_a_call_and_runs_no_tool(tmp_path, monkeypatch, capsys) -> None:
    def by_temperature(request: CallRequest) -> CallReply:
        said = reply(request)
        wrong = request.params.get("temperature") and "found" in request.messages[-1]["content"]
        return replace(said, text=said.text.replace("yes", "<b>no</b>")) if wrong else said

    answered_by(monkeypatch, FunctionTransport(by_temperature))
    more = "params: {temperature: {choices: [0.0, 0.5]}}\nincumbent: {model: small, params: {temperature: 0.5}}\n"
    study(tmp_path, effects="send_mail", sends=False, demos=more)
    ran = (tmp_path / "ran.txt").read_text()
    answered_by(monkeypatch, FunctionTransport(lambda _: pytest.fail("a call was made")))
    compare = ["compare", "latest", "--results", str(tmp_path), "--limit", "2", "--split", "search"]
    assert main([*compare, "--steps"]) == 0
    shown = capsys.readouterr().out
    for line in ("A took 3 steps", "1. model first, 9 + 3 tokens, 0.10 s", "2. tool search", "3. model last", "gave:"):
        assert line in shown
    assert "B took 3 steps" in shown and "<b>no</b>" in shown and (tmp_path / "ran.txt").read_text() == ran
    assert main([*compare, "--steps", "--json"]) == 0
    examples = json.loads(capsys.readouterr().out)["examples"]
    assert [s["kind"] for s in examples[0]["steps"]["a"]["steps"]] == ["model", "tool", "model"]
    assert sum("steps" in example for example in examples) == 2
    assert main([*compare, "--json"]) == 0 and "steps" not in json.loads(capsys.readouterr().out)["examples"][0]


def test_steps_beyond_a_tool_with_effects_are_said_to_be_unknown(tmp_path, monkeypatch, capsys) -> None:
    def by_temperature(request: CallRequest) -> CallReply:
        said = reply(request)
        wrong = request.params.get("temperature") and "found" in request.messages[-1]["content"]
        return replace(said, text=said.text.replace("yes", "no")) if wrong else said

    answered_by(monkeypatch, FunctionTransport(by_temperature))
    more = "params: {temperature: {choices: [0.0, 0.5]}}\nincumbent: {model: small, params: {temperature: 0.5}}\n"
    study(tmp_path, effects="send_mail", sends=True, demos=more)
    ran = (tmp_path / "ran.txt").read_text()
    assert main(["compare", "latest", "--results", str(tmp_path), "--limit", "1", "--split", "search", "--steps"]) == 0
    assert "send_mail has effects" in capsys.readouterr().out and (tmp_path / "ran.txt").read_text() == ran
