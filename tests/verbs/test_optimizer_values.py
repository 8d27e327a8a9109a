"""`offramp.Optimizer` over examples whose values JSON does not have: a metric gets them as `dspy.Evaluate` gives them."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import dspy
import pytest
from pydantic import BaseModel

import offramp
from offramp.testing.server import ScriptedServer, ServerReply


class Team(enum.Enum):
    BILLING = "billing"
    SHIPPING = "shipping"


class Line(BaseModel):
    sku: str


@dataclasses.dataclass
class Place:
    shelf: int


class Read(dspy.Signature):
    """Read the message."""

    question: str = dspy.InputField()
    due: date = dspy.InputField()
    team: Team = dspy.OutputField()
    day: int = dspy.OutputField()


class Own(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = dspy.Predict(Read)

    def forward(self, question: str, due: date) -> dspy.Prediction:
        assert isinstance(due, date)
        return self.read(question=question, due=due)


def metric(example: dspy.Example, pred: dspy.Prediction, trace: object = None) -> bool:
    whole = (example.price, example.tags, example.line, example.place)
    assert [type(value) for value in whole] == [Decimal, set, Line, Place], whole
    return bool(pred.team == example.team and pred.day == example.due.day)


class AsObject:
    """A metric that is an object."""

    def __call__(self, example: dspy.Example, pred: dspy.Prediction, trace: object = None) -> bool:
        return metric(example, pred, trace)


class Awaited(AsObject):
    """A metric that is awaited."""

    async def __call__(self, example: dspy.Example, pred: dspy.Prediction, trace: object = None) -> bool:  # type: ignore[override]
        return metric(example, pred, trace)


class AsModule(dspy.Module):
    """A metric that is a module of DSPy."""

    def forward(self, example: dspy.Example, pred: dspy.Prediction, trace: object) -> bool:
        return metric(example, pred, trace)


METRICS = {
    "function": metric, "partial": functools.partial(metric, trace=None), "object": AsObject(), "awaited": Awaited(),
    "method": AsObject().__call__, "module": AsModule(),
}  # fmt: skip


def answer(body: dict[str, object]) -> ServerReply:
    messages = body["messages"]
    assert isinstance(messages, list)
    day = int(re.findall(r"2026-04-(\d+)", messages[-1]["content"])[-1])
    text = (
        f"[[ ## team ## ]]\n{'billing' if day % 2 else 'shipping'}\n\n[[ ## day ## ]]\n{day}\n\n[[ ## completed ## ]]"
    )
    return ServerReply(text=text, usage={"prompt_tokens": 10, "completion_tokens": 5})


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_gets_dates_enums_and_objects_as_the_examples_have_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        dspy.Example(
            question=f"case {n}", due=date(2026, 4, n), team=Team.BILLING if n % 2 else Team.SHIPPING, day=n,
            price=Decimal("1.10"), tags={"b", "a"}, line=Line(sku="s"), place=Place(shelf=n),
        ).with_inputs("question", "due")
        for n in range(1, 19)
    ]  # fmt: skip
    with ScriptedServer(answer) as server, dspy.context(lm=dspy.LM("openai/m", api_base=server.url, api_key="none")):
        optimizer = offramp.Optimizer(
            metric=METRICS[kind], objectives={"latency": None, "cost": None}, rounds=0, demos=(), trials=1
        )
        compiled = optimizer.compile(Own(), trainset=rows[:4], valset=rows[4:11], testset=rows[11:])
        assert compiled(question="case 3", due=date(2026, 4, 3)).team is Team.BILLING
    (member,) = compiled.study.members
    assert (member.quality, member.holdout.quality) == (1.0, 1.0)


@pytest.mark.parametrize("as_object", [False, True])
def test_parameters_that_dspy_refuses_for_a_reasoning_model_are_sent_as_they_were_searched(
    as_object: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    rows = [dspy.Example(question=f"case 2026-04-{n:02}", day=n).with_inputs("question") for n in range(1, 19)]
    with ScriptedServer(answer) as server:
        model: object = {"name": "o3-mini", "route": "openai/o3-mini", "api_base": server.url}
        if as_object:
            model = dspy.LM("openai/o3-mini", api_base=server.url, api_key="none", cache=False)
        optimizer = offramp.Optimizer(
            metric=lambda example, pred, trace=None: example.day == pred.day, models=[model], rounds=0, demos=(),
            params={"max_tokens": 300}, objectives={"latency": None, "cost": None}, trials=1,
        )  # fmt: skip
        compiled = optimizer.compile(dspy.Predict("question -> day: int"), trainset=rows[:4], valset=rows[4:])
        server.requests.clear()
        assert compiled(question=f"{uuid4()} case 2026-04-03").day == 3  # DSPy's cache on disk does not have it
        (sent,) = [request.body for request in server.requests]
    assert sent.get("max_completion_tokens", sent.get("max_tokens")) == 300
