"""A metric gets what a module of the user's own gives, of the type that it gives: as in `dspy.Evaluate`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
import yaml

import offramp
from offramp.cli.main import main
from offramp.testing.server import ScriptedServer, ServerReply

SOURCE = '''
import enum
from datetime import date, timedelta
import dspy
import pydantic

class Team(enum.Enum):
    billing = "billing"
    shipping = "shipping"

class Line(pydantic.BaseModel):
    sku: str
    amount: int

class Order(pydantic.BaseModel):
    lines: list[Line]
    def total(self):
        return sum(line.amount for line in self.lines)

class Read(dspy.Signature):
    """Read the message."""
    question: str = dspy.InputField()
    team: Team = dspy.OutputField()
    due: date = dspy.OutputField()
    order: Order = dspy.OutputField()
    tags: set[str] = dspy.OutputField()

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.read = dspy.Predict(Read)

    def forward(self, question):
        return self.read(question=question)

def right(function):
    return lambda example, pred, trace=None: bool(function(example, pred))

enum_equal = right(lambda e, p: p.team == Team(e.team))
enum_value = right(lambda e, p: p.team.value == e.team)
enum_text = right(lambda e, p: p.team == e.team)
day = right(lambda e, p: p.due.isoformat() == e.due and p.due - date.fromisoformat(e.due) == timedelta(0))
model = right(lambda e, p: p.order == Order.model_validate(e.order))
dumped = right(lambda e, p: p.order.model_dump() == e.order)
method = right(lambda e, p: p.order.total() == sum(line["amount"] for line in e.order["lines"]))
items = right(lambda e, p: [line.sku for line in p.order.lines] == [line["sku"] for line in e.order["lines"]])
instance = right(lambda e, p: isinstance(p.order, Order) and isinstance(p["team"], Team) and isinstance(p.tags, set))
completions = right(lambda e, p: p.completions[0].team == Team(e.team))
'''
NAMES = re.findall(r"^(\w+) = right", SOURCE, re.MULTILINE)


def answer(body: dict[str, object]) -> ServerReply:
    messages = body["messages"]
    assert isinstance(messages, list)
    number = int(re.findall(r"case (\d+)", messages[-1]["content"])[-1])
    row = gold(number)
    fields = {"team": row["team"], "due": row["due"], "order": json.dumps(row["order"]), "tags": '["a"]'}
    text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())
    return ServerReply(text=f"{text}\n\n[[ ## completed ## ]]", usage={"prompt_tokens": 10, "completion_tokens": 5})


def gold(number: int) -> dict[str, object]:
    lines = [{"sku": f"s{number}", "amount": number}, {"sku": "x", "amount": 1}]
    return {
        "team": ("billing", "shipping")[number % 2], "due": f"2026-04-{number + 1:02}", "order": {"lines": lines},
        "tags": ["a"],
    }  # fmt: skip


@pytest.fixture(scope="module", name="server")
def typed_server() -> Iterator[ScriptedServer]:
    with ScriptedServer(answer) as server:
        yield server


@pytest.fixture(name="space")
def typed_space(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(SOURCE)
    rows = [{"id": str(n), "question": f"case {n}", **gold(n)} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    space = {
        "schema_version": 1, "name": "typed",
        "task": {"module": "own.py:Own", "inputs": ["question"], "outputs": ["team", "due", "order", "tags"]},
        "dataset": {"path": "rows.jsonl", "id": "id"}, "splits": {"train": 2, "search": 5, "holdout": 5},
        "models": [{"name": "small", "route": "openai/small", "api_base": server.url, "price": {"input_usd": 1, "output_usd": 1}}],
        "objectives": {"cost": None, "latency": None}, "search": {"trials": 1},
    }  # fmt: skip
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    return tmp_path / "space.yaml"


@pytest.mark.parametrize("file", ["own.py", "metrics.py"])
@pytest.mark.parametrize("name", NAMES)
def test_a_metric_over_typed_outputs_scores_as_in_dspy_evaluate(
    name: str, file: str, space: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (space.parent / "metrics.py").write_text(f"from own import {name}\n")
    written = yaml.safe_load(space.read_text()) | {"metric": {"kind": "python", "path": f"{file}:{name}"}}
    space.write_text(yaml.safe_dump(written))
    assert main(["space", "check", str(space), "--trust"]) == 0, capsys.readouterr().err
    (member,) = offramp.optimize(space).report.members
    own: dict[str, Any] = {"__name__": "typed_own"}
    exec(compile(SOURCE, "own.py", "exec", dont_inherit=True), own)
    program, rows = own["Own"](), [{"id": str(n), "question": f"case {n}", **gold(n)} for n in range(12)]
    with dspy.context(lm=dspy.LM("openai/small", api_base=server.url, api_key="none", cache=False)):
        plain = {own[name](dspy.Example(**row), program(question=row["question"])) for row in rows}
    assert plain == {name != "enum_text"}
    assert member.quality == float(plain.pop())
