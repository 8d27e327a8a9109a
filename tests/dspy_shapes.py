"""What the tests of shapes of DSPy programs share: a shape, its space file, and a server whose models are right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy
import pytest
import yaml

import offramp
from offramp.cli.main import main
from offramp.program.module import import_module_factory, predictors_of
from offramp.testing.server import ScriptedServer, ServerReply, ServerRequest

LABELS = ("billing", "shipping", "returns")
CLEAR = "Clear. Name the team that takes the case."
HEAD = """
import dspy

TEAMS = ["billing", "shipping", "returns"]
"""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A program and what is known of it.

    Attributes:
        source: of `own.py`, after HEAD; its program is `Own`.
        task: more keys of `task`.
        changes: more keys of the space file.
        files: other files beside it.
        per_run: requests of one run of the candidate's model, where it is always the same number.
        hot: the temperature that the program sets by itself: to search another is refused.
        column: of the rows, for an input that is not a text.
    """

    source: str
    task: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    per_run: int | None = 1
    hot: float | None = None
    column: Any = None


def single(forward: str, more: str = "", signature: str = '"question -> answer"', kind: str = "Predict") -> str:
    """A module of one predictor."""
    return f"""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.{kind}({signature})
{more}
    def forward(self, question):
{forward}
"""


def asked_fields(body: Mapping[str, Any]) -> list[str]:
    """The outputs that a request asks for."""
    last = body["messages"][-1]["content"]
    text = last if isinstance(last, str) else "\n".join(part.get("text", "") for part in last)
    if "Respond with a JSON object" in text:
        return re.findall(r"`(\w+)`", text.rpartition("Respond with a JSON object")[2])
    found = re.findall(r"\[\[ ## (\w+) ## \]\]", text.rpartition("Respond with")[2])
    return [name for name in found if name != "completed"]


def value_of(name: str, text: str) -> Any:
    """What the model says for an output: right where it should be."""
    number = int(re.findall(r"case (\d{3})", text)[-1])
    label = LABELS[number % 3]
    looked = "observation_0" in text or '"role": "tool"' in text or text.count("tool_call_results") > 1
    tool = "finish" if looked else "ask_expert" if "ask_expert" in text else "look_up"
    if "(1) broken" in text:  # the first of two tools, which fails
        tool = "finish" if "observation_1" in text else "look_up" if looked else "broken"
    return {
        "answer": label,
        "kind": "easy" if number % 2 else "hard",
        "query": f"case {number:03}",
        "ticket": {"team": label, "people": [{"name": "Ada"}]},
        "tags": ["a", "b"],
        "note": None,
        "next_tool_name": tool,
        "next_tool_args": {} if tool == "finish" else {"number": number},
        "outputs": {"tool_calls": [{"name": "look_up", "args": {"number": number}}]},
        "code": "```python\nSUBMIT(answer=llm_query(question).rpartition('It is ')[2].rstrip('.'))\n```",
        "generated_code": "```python\n1 + 1\n```",
        "good": True,
        "tool_calls": {"tool_calls": [{"name": "submit", "args": {"answer": label}} if looked else {"name": "look_up", "args": {"number": number}}]},
        "advice": {},
    }.get(name, "so")  # fmt: skip


def reply(body: dict[str, Any]) -> ServerReply:
    text = "\n".join(str(message["content"]) for message in body["messages"])
    values = {name: value_of(name, text) for name in asked_fields(body)}
    said = json.dumps(values)
    if "Respond with a JSON object" not in str(body["messages"][-1]["content"]):
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        said = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in texts.items())
        said += "\n\n[[ ## completed ## ]]"
    written = 2 if CLEAR in text else 5  # the clear instruction is the cheaper one
    return ServerReply(text=said, usage={"prompt_tokens": 10, "completion_tokens": written})


def said(body: dict[str, Any]) -> ServerReply:
    """What the model says, also where another model or the program writes the request."""
    text = "\n".join(str(message["content"]) for message in body["messages"])
    if not (found := re.findall(r"case (\d{3})", text)):  # what another model said is read
        return ServerReply(text=f"[[ ## answer ## ]]\n{text.rpartition('It is ')[2].partition('.')[0]}")
    label = LABELS[int(found[-1]) % 3]
    given = reply(body)
    values = {
        "orders": json.dumps([{"lines": [{"sku": "a", "amount": 2, "tags": ["x"]}], "team": label, "note": None}]),
        "totals": json.dumps({"a": 2}),
    }
    out = given.text
    for name, value in values.items():
        out = out.replace(f"[[ ## {name} ## ]]\nso", f"[[ ## {name} ## ]]\n{value}")
    last = str(body["messages"][-1]["content"])
    if "<answer>" in last:
        out = f"<answer>\n{label}\n</answer>"
    elif "[[ ##" not in last and "JSON object" not in last:
        out = f"It is {label}."
    return ServerReply(text=out, usage=given.usage)


def called(body: dict[str, Any]) -> ServerReply:
    """The call of a tool that the request has by the vendor's own interface."""
    text = json.dumps([body.get("system"), body["messages"]])
    number, written = int(re.findall(r"case (\d{3})", text)[-1]), 2 if CLEAR in text else 5
    if body["model"].startswith("claude"):
        call: dict[str, Any] = {"type": "tool_use", "id": "c1", "name": "look_up", "input": {"number": number}}
        answer = {"id": "m", "type": "message", "role": "assistant", "model": body["model"], "stop_reason": "tool_use"}
        usage = {"input_tokens": 10, "output_tokens": written}
        return ServerReply(body=json.dumps({**answer, "content": [call], "usage": usage}).encode())
    call = {"name": "look_up", "arguments": json.dumps({"number": number})}
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": call}]}
    usage = {"prompt_tokens": 10, "completion_tokens": written}
    return ServerReply(message=message, finish_reason="tool_calls", usage=usage)


def in_dialect(body: dict[str, Any]) -> ServerReply:
    """The answer as the model's vendor writes it."""
    if body.get("tools"):
        return called(body)
    if not body["model"].startswith("claude"):
        return said(body)
    parts = [*body["system"], *(part for message in body["messages"] for part in message["content"])]
    found = said({**body, "messages": [{"role": "user", "content": part["text"]} for part in parts if "text" in part]})
    usage = {"input_tokens": 10, "output_tokens": found.usage["completion_tokens"]} if found.usage else None
    answer = {"id": "m", "type": "message", "role": "assistant", "model": body["model"], "stop_reason": "end_turn"}
    return ServerReply(
        body=json.dumps({**answer, "content": [{"type": "text", "text": found.text}], "usage": usage}).encode()
    )


@pytest.fixture(scope="module", name="server")
def shapes_server() -> Iterator[ScriptedServer]:
    with ScriptedServer(in_dialect) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server.requests.clear()
    monkeypatch.setenv("OPENAI_API_BASE", server.url)  # a call that escapes arrives there as well
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "sk-none")
    monkeypatch.chdir(tmp_path)
    yield
    dspy.configure(lm=None, rm=None, adapter=None)


def write(folder: Path, server: ScriptedServer, shape: Shape) -> Path:
    """The space file of a shape: instruction and temperature are searched."""
    (folder / "own.py").write_text(HEAD + shape.source.replace("{base}", server.url))
    for name, text in shape.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    rows = [
        {"id": f"e{i:03}", "question": f"case {i:03}: whose?", "answer": LABELS[i % 3], **(shape.column or {})}
        for i in range(10)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = [
        {"name": name, "route": f"openai/{name}", "api_base": server.url, "price": {"input_usd": usd, "output_usd": usd},
         "searched": name == "small", "supports": ["temperature", "max_tokens", "n"]}
        for name, usd in (("small", 1.0), ("large", 10.0))
    ]  # fmt: skip
    space = {
        "schema_version": 1, "name": "shapes", "task": {"module": "own.py:Own", "inputs": ["question"], "outputs": ["answer"], **shape.task},
        "dataset": {"path": "rows.jsonl", "id": "id"}, "splits": {"train": 2, "search": 4, "holdout": 4},
        "metric": {"kind": "exact", "field": "answer"}, "incumbent": {"model": "small"}, "models": models,
        "objectives": {"quality": {"weight": 0.7}, "cost": {"weight": 0.3, "scale": "incumbent"}, "latency": None},
        "params": {"max_tokens": {"choices": [40, 80]}} if shape.hot else {"temperature": {"choices": [0.0, 0.5]}}, "search": {"sampler": "grid", "trials": 4, "concurrency": 2}, **shape.changes,
    }  # fmt: skip
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(space, sort_keys=False))
    return path


def instructed(folder: Path, path: Path) -> str:
    """Lets the instruction of the first predictor be searched, and says which that is."""
    name = next(iter(predictors_of(import_module_factory("own.py:Own", folder, "test")())))
    space = yaml.safe_load(path.read_text())
    variants = {"own": None, "clear": CLEAR}
    space["instructions"] = variants if name == "main" else {name: variants}
    path.write_text(yaml.safe_dump(space, sort_keys=False))
    return name


def labels_hold(params: Mapping[str, Any], requests: list[ServerRequest], shape: Shape) -> None:
    """What a candidate is called is what was sent."""
    bodies = [request.body for request in requests if request.body["model"] == params["model"]]
    assert bodies
    searched = "max_tokens" if shape.hot else "temperature"
    assert {body.get(searched) for body in bodies} == {params[searched]}, params
    if shape.hot:
        assert shape.hot in {body.get("temperature") for body in bodies}
    clear = any(CLEAR in json.dumps(body) for body in bodies)
    assert clear == ("clear" in params.values()), params


def through_the_cycle(
    shape: Shape, path: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str], **more: Any
) -> None:
    """Checks, searches, promotes, loads and checks again. `more` is what an app gives beside the question."""
    searched = "instructions" in yaml.safe_load(path.read_text())
    assert main(["space", "check", str(path)]) == 0, capsys.readouterr().err
    assert not server.requests
    study = offramp.optimize(path)
    assert study.error is None, study.error
    assert len(server.requests) == study.report.money.calls > 0
    best = study.report.recommended
    assert best is not None and best.quality == 1.0, study.report
    assert not searched or "clear" in best.params.values(), study.report
    assert main(["pareto", "latest"]) == 0
    assert main(["promote", "latest", "--force", "--why", "cheaper", "--by", "ada"]) == 0

    server.requests.clear()
    module = import_module_factory("own.py:Own", path.parent, "test")
    base = server.root if best.params["model"].startswith("claude") else server.url
    program = offramp.load("shapes", module=module, api_base=base)
    given = {name: value for name, value in {**(shape.column or {}), **more}.items() if value is not None}
    for number in range(2):
        assert program(question=f"case {number:03}: whose?", **given).answer == LABELS[number]
    if shape.per_run is not None:
        assert len([r for r in server.requests if r.body["model"] == best.params["model"]]) == 2 * shape.per_run
    labels_hold(best.params, server.requests, shape)

    server.requests.clear()
    capsys.readouterr()
    assert main(["check", "shapes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calls"] == len(server.requests) > 0
    labels_hold(best.params, server.requests, shape)
