"""The programs of docs/own-programs.md run as they are on the page: check, optimize, promote, load."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import offramp
from offramp.cli.main import main
from offramp.program.module import import_module_factory
from offramp.testing.server import ScriptedServer, ServerReply

PAGE = Path(__file__).parents[1] / "docs" / "own-programs.md"
HOURS = {"Basel": 8, "Bern": 7, "Geneva": 9, "Lugano": 10, "Zug": 6}
THINGS = ["desk", "phone", "garage", "post room", "canteen", "workshop"]


def chat(**fields: str) -> ServerReply:
    text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())
    return ServerReply(text=f"{text}\n\n[[ ## completed ## ]]")


def native(name: str, args: dict[str, str]) -> ServerReply:
    call = {"id": "t1", "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return ServerReply(message=message, finish_reason="tool_calls")


def answer(body: dict[str, Any]) -> ServerReply:
    """Right natively, guessing where tools are in text; short on `large` or when told; knows nothing without demos."""
    messages = body["messages"]
    text, system = json.dumps(messages), messages[0]["content"]
    thing, city = re.findall(r"When does the ([\w ]+) in (\w+) open\?", text)[-1]
    hour = str(HOURS[city] + THINGS.index(thing))
    if "tools" in body:
        known = f"The {thing} in {city} opens at {hour}" in text
        return native("submit", {"answer": hour}) if known else native("opening_hour", {"thing": thing, "city": city})
    if "tool_calls" in system:
        calls = {"tool_calls": [{"name": "submit", "args": {"answer": "9"}}]}
        return chat(next_thought="a guess", tool_calls=json.dumps(calls))
    if "query" in system:
        return chat(query=f"{thing} {city} opens")
    if "context" in system:
        bare = body["model"] == "large" or "number alone" in text
        return chat(answer=hour if bare else f"It opens at {hour}.")
    return chat(answer=hour if any(message["role"] == "assistant" for message in messages) else "unknown")


def files_of_the_page() -> dict[str, str]:
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == len(re.findall(r"```(?:python|yaml)\n", PAGE.read_text())), "each block names its file"
    return dict(blocks)


@pytest.mark.parametrize(
    ("name", "module", "recommended"),
    [
        ("rag", "Rag", {"model": "small", "instruction.answer": "bare"}),
        ("agent", "Agent", {"tools": "native"}),
        ("saved", "Answer", {"instruction.answer": "own"}),
    ],
)
def test_a_program_of_the_page_is_checked_searched_promoted_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, recommended: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    with ScriptedServer(answer) as server:
        for file, text in files_of_the_page().items():
            (tmp_path / file).write_text(text.replace("http://127.0.0.1:8000/v1", server.url))
        for script in ("data.py", *(["compile.py"] if name == "saved" else [])):
            runpy.run_path(str(tmp_path / script))
        sys.modules.pop("saved", None)
        assert main(["space", "check", f"{name}.yaml"]) == 0 and not server.requests
        study = offramp.optimize(tmp_path / f"{name}.yaml", results=tmp_path / "results")
        assert len(server.requests) == study.report.money.calls
        best = study.report.recommended
        assert best is not None and best.quality == 1.0
        assert {key: best.params.get(key) for key in recommended} == recommended
        assert main(["promote", "latest"]) == 0
        made = import_module_factory(f"{name}.py:{module}", base=tmp_path, where="test")
        program = offramp.load(name, module=made, api_base=server.url)
        assert str(program(question="When does the garage in Zug open?").answer) == "8"
