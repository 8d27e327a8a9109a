"""Programs that combine what the other shapes have one by one, through the whole cycle.

Each is checked, searched, promoted, loaded and checked again; a shape that cannot run is refused by `space check`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import offramp
from dspy_shapes import LABELS, Shape, fresh, shapes_server, single, write  # noqa: F401 (fixtures)
from offramp.cli.main import main
from offramp.program.module import import_module_factory
from offramp.testing.server import ScriptedServer

OLD_STATE = json.dumps(
    {
        "sort": {
            "lm": None, "traces": [], "train": [],
            "demos": [{"augmented": True, "question": "case 900: whose?", "reasoning": "by hand", "answer": "billing"}],
            "signature": {"instructions": "Old: name the team.", "fields": [
                {"prefix": "Question:", "description": "${question}"},
                {"prefix": "Reasoning: Let's think step by step in order to", "description": "${reasoning}"},
                {"prefix": "Answer:", "description": "${answer}"}]},
        }
    }
)  # fmt: skip
"""As DSPy 2.5 wrote it, without `metadata`."""

SHAPES: dict[str, Shape] = {
    "a state of an older DSPy": Shape(
        source=single(
            "        return self.sort(question=question)\n",
            '        self.sort.load_state(json.load(open(__file__.replace("own.py", "state.json")))["sort"])\n',
            signature='"question -> reasoning, answer"',
        ).replace("class Own", "import json\n\nclass Own"),
        files={"state.json": OLD_STATE},
    ),
    "lists of objects": Shape(
        source="""
from typing import Literal, Optional
import pydantic

class Line(pydantic.BaseModel):
    sku: str
    amount: float = 0.0
    tags: list[str] = []

class Order(pydantic.BaseModel):
    lines: list[Line]
    team: Literal["billing", "shipping", "returns"]
    note: Optional[str] = None

class Read(dspy.Signature):
    '''Read the order.'''
    question: str = dspy.InputField(desc="what was asked")
    orders: list[Order] = dspy.OutputField()
    totals: dict[str, float] = dspy.OutputField()

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.read = dspy.ChainOfThought(Read)

    def forward(self, question):
        pred = self.read(question=question)
        assert isinstance(pred.orders[0].lines[0], Line) and isinstance(pred.totals, dict)
        return dspy.Prediction(answer=pred.orders[0].team, orders=pred.orders, totals=pred.totals)
""",
    ),
    "a factory with arguments": Shape(
        source="""
class Sorter(dspy.Module):
    def __init__(self, signature, *, hints):
        super().__init__()
        self.hints = hints
        self.sort = dspy.Predict(signature)

    def forward(self, question):
        return self.sort(question=question, hints=self.hints)

def build(signature="question, hints: list[str] -> answer", hints=("be brief",)):
    return Sorter(signature, hints=list(hints))

import functools
Own = functools.partial(build, hints=("be brief", "be kind"))
"""
    ),
    "tools of one's own with objects as arguments": Shape(
        source='''
import pydantic

class Case(pydantic.BaseModel):
    number: int

def look_up(number: int) -> dict:
    """Which team had the case of that number."""
    return {"team": TEAMS[number % 3]}

async def later(number: int) -> str:
    """The same, later."""
    return TEAMS[number % 3]

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        tools = [dspy.Tool(look_up, name="look_up", desc="Looks a case up."), dspy.Tool(later)]
        self.agent = dspy.ReAct("question -> answer", tools=tools, max_iters=3)

    async def aforward(self, question):
        return await self.agent.acall(question=question)
''',
        per_run=3,
    ),
    "an agent with methods as tools": Shape(
        source='''
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.cases = {i: TEAMS[i % 3] for i in range(1000)}
        self.agent = dspy.ReAct("question -> answer", tools=[self.look_up], max_iters=3)

    def look_up(self, number: int) -> str:
        """Which team had the case of that number."""
        return self.cases[number]

    def forward(self, question):
        return self.agent(question=question)
''',
        per_run=3,
    ),
    "a history that grows in a run": Shape(
        source="""
class Chat(dspy.Signature):
    history: dspy.History = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.chat = dspy.Predict(Chat)

    def forward(self, question):
        history = dspy.History(messages=[])
        for turn in range(2):
            pred = self.chat(question=question, history=history)
            history = dspy.History(messages=[*history.messages, {"question": question, "answer": pred.answer}])
        return pred
""",
        per_run=2,
    ),
    "a stream inside of aforward": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.ChainOfThought("question -> answer")
        self.stream = dspy.streamify(self.sort, async_streaming=True)

    async def aforward(self, question):
        found = None
        async for part in self.stream(question=question):
            if isinstance(part, dspy.Prediction):
                found = part
        return found
"""
    ),
    "a two-step adapter": Shape(
        source=single(
            "        with dspy.context(adapter=dspy.TwoStepAdapter(extraction_model=offramp.lm('large'))):\n"
            "            return self.sort(question=question)\n"
        ).replace("class Own", "import offramp\n\nclass Own"),
    ),
    "nearest demos by its own embedder": Shape(
        source="""
import numpy as np

def embed(texts):
    return np.array([[len(t), t.count("1")] for t in texts], dtype=float)

TRAIN = [dspy.Example(question=f"case {i:03}: whose?", answer=TEAMS[i % 3]).with_inputs("question") for i in range(900, 906)]

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.near = dspy.KNN(k=2, trainset=TRAIN, vectorizer=dspy.Embedder(embed))
        self.sort = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.sort(question=question, demos=self.near(question=question))
"""
    ),
    "an ensemble": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.both = dspy.Ensemble(reduce_fn=dspy.majority).compile(
            [dspy.Predict("question -> answer"), dspy.ChainOfThought("question -> answer")])

    def forward(self, question):
        return self.both(question=question)
""",
        per_run=2,
    ),
    "usage and a tracked run": Shape(
        source=single(
            "        with dspy.track_usage() as usage:\n            pred = self.sort(question=question)\n"
            "        assert usage.get_total_tokens(), 'no usage'\n        return pred\n"
        )
    ),
    "reasoning as a type": Shape(
        source="""
class Sort(dspy.Signature):
    question: str = dspy.InputField()
    reasoning: dspy.Reasoning = dspy.OutputField()
    answer: str = dspy.OutputField()
"""
        + single("        return self.sort(question=question)\n", signature="Sort")
    ),
    "a custom type": Shape(
        source="""
class Case(dspy.Type):
    number: int

    def format(self):
        return f"case {self.number:03}"

class Sort(dspy.Signature):
    case: Case = dspy.InputField()
    answer: str = dspy.OutputField()
"""
        + single("        return self.sort(case=Case(number=int(question.split()[1][:3])))\n", signature="Sort")
    ),
    "the language model of the settings": Shape(
        source=single(
            "        out = dspy.settings.lm(messages=[{'role':'user','content': question + ' Respond with [[ ## answer ## ]]'}])[0]\n        return dspy.Prediction(answer=out.split('\\n')[1])\n"
        )
    ),
    "compiled with nearest demos": Shape(
        source="""
import numpy as np
TRAIN = [dspy.Example(question=f"case {i:03}: whose?", answer=TEAMS[i % 3]).with_inputs("question") for i in range(900, 906)]
def embed(texts):
    return np.array([[len(t), t.count("1")] for t in texts], dtype=float)
def Own():
    return dspy.KNNFewShot(k=2, trainset=TRAIN, vectorizer=dspy.Embedder(embed), max_bootstrapped_demos=0).compile(dspy.Predict("question -> answer"))
""",
        per_run=None,
    ),
    "tools that give odd objects": Shape(
        source='''
import dataclasses, datetime
@dataclasses.dataclass
class Found:
    team: str
    at: datetime.date
class Thing: pass
def look_up(number: int, verbose: bool = False, **more):
    """Which team had the case of that number."""
    return {"found": Found(TEAMS[number % 3], datetime.date(2026,1,1)), "words": {"a","b"}, "thing": Thing()}
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[look_up], max_iters=3)
    def forward(self, question):
        return self.agent(question=question)
''',
        per_run=3,
    ),
    "a tool that fails": Shape(
        source='''
def look_up(number: int):
    """Which team had the case of that number."""
    raise KeyError(number)
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[look_up], max_iters=3)
    def forward(self, question):
        return self.agent(question=question)
''',
        per_run=3,
    ),
    "a predictor that asks for log probabilities": Shape(
        source=single("        return self.sort(question=question)\n").replace(
            '"question -> answer")', '"question -> answer", logprobs=True)'
        )
    ),
    "a partial of a DSPy module": Shape(
        source="import functools\nOwn = functools.partial(dspy.ChainOfThought, 'question -> answer')\n"
    ),
    "positional arguments inside": Shape(
        source="""
class Inner(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question -> answer")
    def forward(self, q):
        return self.sort(question=q)
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()
    def forward(self, question):
        return self.inner(question)
"""
    ),
    "a module that changes itself": Shape(
        source=single(
            "        self.calls = getattr(self, 'calls', 0) + 1\n        self.seen.append(question)\n        return self.sort(question=question)\n",
            "        self.seen = []\n",
        )
    ),
    "asyncio.run in forward": Shape(
        source="import asyncio\n" + single("        return asyncio.run(self.sort.acall(question=question))\n")
    ),
    "images that the module makes": Shape(
        source="""
import base64
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
class Sort(dspy.Signature):
    question: str = dspy.InputField()
    pictures: list[dspy.Image] = dspy.InputField()
    answer: str = dspy.OutputField()
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict(Sort)
    def forward(self, question):
        return self.sort(question=question, pictures=[dspy.Image("data:image/png;base64," + base64.b64encode(PNG).decode())] * 2)
"""
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_program_is_searched_promoted_loaded_and_checked(
    name: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = SHAPES[name]
    path = write(tmp_path, server, shape)
    space = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**space, "search": {"trials": 1, "concurrency": 2}}, sort_keys=False))
    assert main(["space", "check", str(path)]) == 0, capsys.readouterr().err
    assert not server.requests
    study = offramp.optimize(path)
    assert study.error is None, study.error
    best = study.report.recommended
    assert best is not None and best.quality == 1.0, study.report
    assert len(server.requests) == study.report.money.calls > 0
    assert main(["promote", "latest", "--force", "--why", "it runs", "--by", "ada"]) == 0

    server.requests.clear()
    program = offramp.load("shapes", module=import_module_factory("own.py:Own", tmp_path, "test"), api_base=server.url)
    for number in range(2):
        assert program(question=f"case {number:03}: whose?").answer == LABELS[number]
    if shape.per_run is not None:
        assert len([r for r in server.requests if r.body["model"] == "small"]) == 2 * shape.per_run
    server.requests.clear()
    capsys.readouterr()
    assert main(["check", "shapes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calls"] == len(server.requests) > 0
