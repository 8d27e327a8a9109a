"""Agents with two tools, from a space file to an app: native calls in two dialects, in text on any model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import offramp
from local_models import command, pulled
from offramp.cli.main import main
from offramp.testing.server import ScriptedServer, ServerReply

OWN = '''
import dspy

PEOPLE = {"Bern": "134000", "Basel": "177000", "Zug": "31000"}

def population(city: str) -> str:
    """How many people live there."""
    return PEOPLE.get(city, "unknown")

def capital(country: str) -> str:
    """Its capital."""
    return {"Switzerland": "Bern"}.get(country, "unknown")

class Facts(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReActV2("question -> answer", tools=[population, capital], max_iters=4)

    def forward(self, question):
        return self.agent(question=question)

class InText(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[population, capital], max_iters=4)

    def forward(self, question):
        return self.agent(question=question)
'''
PEOPLE = {"Bern": "134000", "Basel": "177000", "Zug": "31000"}
QWEN = "local/qwen2.5-coder-0.5b"
SMALL = f"params: {{max_tokens: 100, temperature: 0.0, seed: 0}}\nincumbent: {{model: {QWEN}, format: json, constrained: true}}\n"
ROUTES = {"openai": "openai/gpt-4.1", "anthropic": "anthropic/claude-sonnet-5-5"}


def city_in(text: str) -> str:
    return next(city for city in PEOPLE if f"people live in {city}?" in text)


def said(body: dict[str, Any], text: str | None, name: str = "", args: dict[str, Any] | None = None) -> ServerReply:
    """A text, or a native call, in the dialect of the model's vendor."""
    if body["model"].startswith("claude"):
        part = {"type": "text", "text": text} if text else {"type": "tool_use", "id": "t1", "name": name, "input": args}
        reply = {"id": "m", "type": "message", "role": "assistant", "model": body["model"], "content": [part]}
        ended = {"stop_reason": "end_turn" if text else "tool_use", "usage": {"input_tokens": 200, "output_tokens": 20}}
        return ServerReply(body=json.dumps({**reply, **ended}).encode())
    usage = {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220}
    if text:
        return ServerReply(text=text, usage=usage)
    call = {"id": "t1", "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return ServerReply(message=message, finish_reason="tool_calls", usage=usage)


def answer(body: dict[str, Any]) -> ServerReply:
    """Asks for the population with a native call, then gives what the tool said; without tools it makes it up."""
    text = json.dumps(body["messages"]) + json.dumps(body.get("system", ""))
    city = city_in(text)
    if "tools" not in body:
        calls = json.dumps({"tool_calls": [{"name": "submit", "args": {"answer": "none"}}]})
        return said(body, f"[[ ## next_thought ## ]]\nx\n\n[[ ## tool_calls ## ]]\n{calls}\n\n[[ ## completed ## ]]")
    names = {tool.get("name") or tool["function"]["name"] for tool in body["tools"]}
    assert names == {"population", "capital", "submit"}
    known = PEOPLE[city] in text
    return said(body, None, *(("submit", {"answer": PEOPLE[city]}) if known else ("population", {"city": city})))


def job(
    folder: Path, models: str, *, module: str = "Facts", tools: str = "tools: [text, native]", more: str = ""
) -> Path:
    rows = [
        f"{i},q{i}: how many people live in {city}?,{PEOPLE[city]}" for i in range(24) for city in [list(PEOPLE)[i % 3]]
    ]
    (folder / "facts.csv").write_text("id,question,answer\n" + "\n".join(rows) + "\n")
    (folder / "own.py").write_text(OWN)
    path = folder / "facts.yaml"
    path.write_text(
        f"schema_version: 1\nname: facts\ntask: {{module: 'own.py:{module}', inputs: [question], outputs: [answer]}}\n"
        "dataset: {path: facts.csv, id: id}\nsplits: {train: 2, search: 12, holdout: 10}\n"
        f"metric: {{kind: exact, field: answer}}\nmodels: {models}\nprogram: {{{tools}}}\n"
        f"search: {{trials: 2, sampler: random, concurrency: 2}}\nobjectives: {{cost: null, latency: null}}\n{more}"
    )
    return path


def served(server: ScriptedServer, dialect: str) -> tuple[str, str]:
    """The `models` of a space file, and the address for an app."""
    base = server.url if dialect == "openai" else server.url.removesuffix("/v1")
    price = "price: {input_usd: 1.0, output_usd: 2.0}, retirement_date: '2099-01-01'"
    return f"[{{name: clever, route: {ROUTES[dialect]}, api_base: '{base}', {price}}}]", base


@pytest.mark.parametrize("dialect", list(ROUTES))
def test_native_calls_are_searched_over_promoted_loaded_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with ScriptedServer(answer) as server:
        models, base = served(server, dialect)
        path = job(tmp_path, models, more="incumbent: {model: clever, tools: text}\n")
        study = offramp.optimize(path, results=tmp_path / "results")
        assert len(server.requests) == study.report.money.calls
        best = study.report.recommended
        assert best is not None and best.quality == 1.0 and best.params["tools"] == "native"
        assert study.report.incumbent is not None and study.report.incumbent.quality == 0.0
        assert best.search.cost_usd == pytest.approx(2 * (200 * 1.0 + 20 * 2.0) / 1e6)

        sent = len(server.requests)
        again = offramp.optimize(path, results=tmp_path / "results")
        assert len(server.requests) == sent, "the ledger has the calls of tools"
        assert again.report.recommended == best

        assert main(["promote", "latest"]) == 0
        scope: dict[str, Any] = {}
        exec(compile(OWN, "own.py", "exec"), scope)
        program = offramp.load("facts", module=scope["Facts"], api_base=base)
        assert program(question="how many people live in Zug?").answer == "31000"
        assert "tools" in server.requests[-1].body
        assert main(["check", "facts", "--space", str(path)]) == 0


@pytest.mark.parametrize(
    ("module", "tools", "models", "said"),
    [
        ("InText", "tools: native", None, "'native' has no effect"),
        ("Facts", "tools: [text, native]", "[local/smollm2-135m]", "local/smollm2-135m has no native tools"),
        ("Facts", "tools: [native, native]", None, "duplicate value"),
    ],
)
def test_native_tools_that_could_not_be_called_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], module: str, tools: str, models: str | None, said: str
) -> None:
    with ScriptedServer(answer) as server:
        path = job(tmp_path, models or served(server, "openai")[0], module=module, tools=tools)
        assert main(["space", "check", str(path)]) == 2
        assert said in " ".join(capsys.readouterr().err.split()) and not server.requests


def react(body: dict[str, Any]) -> ServerReply:
    """What dspy.ReAct asks in text: the tool first, then the end of it, then the answer."""
    system, last = body["messages"][0]["content"], body["messages"][-1]["content"]
    city = city_in(last)
    if "next_tool_name" not in system:
        return ServerReply(
            text=f"[[ ## reasoning ## ]]\nseen\n\n[[ ## answer ## ]]\n{PEOPLE[city]}\n\n[[ ## completed ## ]]"
        )
    assert "Answer in digits." in system and "How many people live there." in system and "Its capital." in system
    name, args = ("finish", {}) if PEOPLE[city] in last else ("population", {"city": city})
    return ServerReply(
        text=f"[[ ## next_thought ## ]]\nx\n\n[[ ## next_tool_name ## ]]\n{name}\n\n"
        f"[[ ## next_tool_args ## ]]\n{json.dumps(args)}\n\n[[ ## completed ## ]]"
    )


def test_an_agent_in_text_keeps_its_tools_under_a_searched_instruction(tmp_path: Path) -> None:
    with ScriptedServer(react) as server:
        more = "instructions: {agent.react: {digits: Answer in digits.}}\n"
        path = job(tmp_path, served(server, "openai")[0], module="InText", tools="format: chat", more=more)
        study = offramp.optimize(path, results=tmp_path / "results")
        best = study.report.recommended
        assert best is not None and best.quality == 1.0
        assert len(server.requests) == study.report.money.calls
        kinds = Counter("next_tool_name" in r.body["messages"][0]["content"] for r in server.requests)
        assert kinds[True] == 2 * kinds[False], "two turns of the agent and one answer, for each example"


@pytest.mark.local_model
def test_an_agent_in_text_on_an_embedded_model_is_searched_promoted_loaded_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model of this size answers is wrong, but it is an answer: the grammar holds it to the agent's fields."""
    pulled(monkeypatch, QWEN)
    monkeypatch.chdir(tmp_path)
    path = job(tmp_path, f"[{QWEN}]", module="InText", tools="format: json, constrained: true", more=SMALL)
    short = OWN.replace(
        'dspy.ReAct("question -> answer"',
        'dspy.ReAct(dspy.Signature("question -> answer: int", "Look it up. Keep each thought to three words.")',
    ).replace("max_iters=4", "max_iters=1")
    (tmp_path / "own.py").write_text(short)
    path.write_text(path.read_text().replace("search: 12, holdout: 10", "search: 2, holdout: 2"))
    command("space", "check", path)
    told = json.loads(command("optimize", path, "--json"))
    best = told["recommended"]
    assert best["params"] | {"format": "json", "constrained": True} == best["params"]
    assert told["calls"] == 8 and best["n_unreadable"] == 0, "one turn and one answer, four times"

    done = json.loads(command("promote", "--force", "--why", "a test", "--json"))
    assert done["promotion"]["evidence"]["requests_matched"] == 2
    scope: dict[str, Any] = {}
    exec(compile(short, "own.py", "exec"), scope)
    given = offramp.load("facts", module=scope["InText"])(question="q0: how many people live in Bern?")
    assert isinstance(given.answer, int)
    assert given.trajectory["tool_name_0"] in ("population", "capital", "finish")
    checked = json.loads(command("check", "facts", "--space", path, "--cache", "--json"))
    assert checked["holds"] and checked["n"] == 2 and checked["calls"] == 0
