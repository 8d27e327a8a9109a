"""The shapes of programs that DSPy users write, from `space check` to a promoted feature in an app and its check.

For each, what the server was sent is what the study counted, and the labels of what is promoted say what is sent. A shape
that offramp cannot run is refused by `space check` with what to do, before anything is sent.
"""

from __future__ import annotations

import json
from pathlib import Path

import dspy
import pytest
import yaml

import offramp
from dspy_shapes import LABELS, Shape, fresh, in_dialect, instructed, shapes_server, single, through_the_cycle, write  # noqa: F401 (fixtures)
from offramp.cli.main import main
from offramp.testing.server import ScriptedServer


def saved_state() -> str:
    """What an optimiser of DSPy saves: an instruction and a demo."""
    module = dspy.ChainOfThought("question -> answer")
    module.predict.signature = module.predict.signature.with_instructions("Read the case twice.")
    module.predict.demos = [{"question": "case 009: whose?", "reasoning": "so", "answer": "billing"}]
    return json.dumps({"sort.predict": module.predict.dump_state(), "metadata": {"dependency_versions": {}}})


STATE = saved_state()
SHAPES: dict[str, Shape] = {
    "a predictor": Shape(source='def Own():\n    return dspy.Predict("question -> answer")\n'),
    "a chain of thought": Shape(source='def Own():\n    return dspy.ChainOfThought("question -> answer")\n'),
    "a module of one predictor": Shape(source=single("        return self.sort(question=question)\n")),
    "multi-hop with a function": Shape(
        source="""
CORPUS = [f"case {i:03} belongs to {TEAMS[i % 3]}" for i in range(60)]

def search(query, k=2):
    words = set(query.split())
    return sorted(CORPUS, key=lambda text: -len(words & set(text.split())))[:k]

class Own(dspy.Module):
    def __init__(self, hops=2):
        super().__init__()
        self.hops = hops
        self.query = dspy.ChainOfThought("context: list[str], question -> query")
        self.answer = dspy.ChainOfThought("context: list[str], question -> answer")

    def forward(self, question):
        context = []
        for _ in range(self.hops):
            context += [p for p in search(self.query(context=context, question=question).query) if p not in context]
        return dspy.Prediction(context=context, answer=self.answer(context=context, question=question).answer)
""",
        per_run=3,
    ),
    "retrieval with an embedder of one's own": Shape(
        source="""
import numpy as np

def embed(texts):
    return np.array([[text.count(c) + 1.0 for c in "0123456789"] for text in texts], dtype=np.float32)

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        corpus = [f"case {i:03} belongs to {TEAMS[i % 3]}" for i in range(30)]
        self.search = dspy.retrievers.Embeddings(embedder=dspy.Embedder(embed), corpus=corpus, k=3)
        self.respond = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question):
        return self.respond(context=self.search(question).passages, question=question)
"""
    ),
    "50,000 documents in self": Shape(
        source=single(
            "        return self.sort(context=self.documents[int(question.split()[1][:3])], question=question)\n",
            '        self.documents = [f"document {i}" for i in range(50_000)]\n',
            '"context, question -> answer"',
        )
    ),
    "a router to two predictors": Shape(
        source="""
from typing import Literal

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.route = dspy.Predict(dspy.Signature(
            "question -> kind: Literal['easy', 'hard']", custom_types={"Literal": Literal}))
        self.easy = dspy.Predict("question -> answer")
        self.hard = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        kind = self.route(question=question).kind
        return (self.easy if kind == "easy" else self.hard)(question=question)
""",
        per_run=2,
    ),
    "typed outputs": Shape(
        source='''
from typing import Literal, Optional
import pydantic

class Person(pydantic.BaseModel):
    name: str
    age: int | None = None

class Ticket(pydantic.BaseModel):
    team: Literal["billing", "shipping", "returns"]
    people: list[Person] = []

class Sort(dspy.Signature):
    """Read a case."""
    question: str = dspy.InputField()
    ticket: Ticket = dspy.OutputField()
    tags: list[str] = dspy.OutputField()
    note: Optional[str] = dspy.OutputField(desc="or null")
    answer: Literal["billing", "shipping", "returns"] = dspy.OutputField()

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict(Sort)

    def forward(self, question):
        pred = self.sort(question=question)
        assert pred.ticket.people[0].name == "Ada" and pred.tags == ["a", "b"] and pred.note is None
        return pred
''',
        task={"outputs": ["answer", "ticket", "tags", "note"]},
    ),
    "a conversation": Shape(
        source="""
class Chat(dspy.Signature):
    question: str = dspy.InputField()
    history: dspy.History = dspy.InputField()
    answer: str = dspy.OutputField()

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.talk = dspy.Predict(Chat)

    def forward(self, question):
        history = dspy.History(messages=[])
        for turn in ("case 001: and this?", question):
            out = self.talk(question=turn, history=history)
            history.messages.append({"question": turn, **out})
        return out
""",
        per_run=2,
    ),
    "a conversation from the dataset": Shape(
        source=single("        raise AssertionError\n", "", '"history: dspy.History, question -> answer"').replace(
            "def forward(self, question):\n        raise AssertionError",
            "def forward(self, history, question):\n"
            "        assert isinstance(history, dspy.History)\n        return self.sort(history=history, question=question)",
        ),
        task={"inputs": ["history", "question"]},
        column={"history": {"messages": [{"question": "case 002: before?", "answer": "returns"}]}},
    ),
    "best of n": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        def one_word(args, pred):
            return 1.0 if len(pred.answer.split()) == 1 else 0.0
        self.best = dspy.BestOfN(module=dspy.ChainOfThought("question -> answer"), N=3, reward_fn=one_word, threshold=1.1)

    def forward(self, question):
        return self.best(question=question)
""",
        per_run=3,
        hot=1.0,
    ),
    "refine": Shape(
        source="""
def nobody(args, pred):
    return 0.5

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.refine = dspy.Refine(module=dspy.ChainOfThought("question -> answer"), N=2, reward_fn=nobody, threshold=1.0)

    def forward(self, question):
        return self.refine(question=question)
""",
        per_run=None,
        hot=1.0,
    ),
    "a comparison of several chains": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.think = dspy.ChainOfThought("question -> answer", n=3, temperature=0.7)
        self.compare = dspy.MultiChainComparison("question -> answer", M=3)

    def forward(self, question):
        drafts = self.think(question=question).completions
        return self.compare(drafts, question=question)
""",
        per_run=4,
        hot=0.7,
    ),
    "a majority vote": Shape(
        source=single(
            "        return dspy.majority(self.sort(question=question, config={'n': 3, 'temperature': 0.8}))\n"
        ),
        per_run=3,
        hot=0.8,
    ),
    "an agent": Shape(
        source='''
def look_up(number: int) -> str:
    """Which team had the case of that number."""
    return TEAMS[number % 3]

def today() -> str:
    """The date."""
    return "2026-01-01"

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[look_up, today], max_iters=4)

    def forward(self, question):
        return self.agent(question=question)
''',
        per_run=3,
    ),
    "DSPy's second agent": Shape(
        source='''
def look_up(number: int) -> str:
    """Which team had the case of that number."""
    return TEAMS[number % 3]

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReActV2("question -> answer", tools=[look_up], max_iters=4)

    def forward(self, question):
        return self.agent(question=question)
''',
        per_run=2,
    ),
    "a retry after an error": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question -> answer")
        self.again = dspy.Predict("question, error -> answer")

    def forward(self, question):
        pred = self.sort(question=question)
        try:
            if int(question.split()[1][:3]) % 2:
                raise ValueError("too long: say it in one word")
            return pred
        except ValueError as error:
            return self.again(question=question, error=str(error))
""",
        per_run=None,
    ),
    "dspy.Parallel": Shape(
        source=single(
            "        votes = dspy.Parallel(num_threads=2, disable_progress_bar=True)(\n"
            "            [(self.sort, dspy.Example(question=question, part=str(i)).with_inputs('question', 'part')) for i in range(3)])\n"
            "        return dspy.Prediction(answer=votes[0].answer)\n",
            signature='"question, part -> answer"',
        ),
        per_run=3,
    ),
    "batch": Shape(
        source=single(
            "        rows = [dspy.Example(question=question, part=str(i)).with_inputs('question', 'part') for i in range(3)]\n"
            "        return dspy.Prediction(answer=self.sort.batch(rows, num_threads=2, disable_progress_bar=True)[0].answer)\n",
            signature='"question, part -> answer"',
        ),
        per_run=3,
    ),
    "threads of its own": Shape(
        source="from concurrent.futures import ThreadPoolExecutor\n"
        + single(
            "        with ThreadPoolExecutor(3) as pool:\n"
            "            votes = list(pool.map(lambda i: self.sort(question=question, part=str(i)), range(3)))\n"
            "        return dspy.Prediction(answer=votes[0].answer)\n",
            signature='"question, part -> answer"',
        ),
        per_run=3,
    ),
    "asyncio.gather": Shape(
        source="""
import asyncio

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.ChainOfThought("question, part -> answer")

    async def aforward(self, question):
        votes = await asyncio.gather(*[self.sort.acall(question=question, part=str(i)) for i in range(3)])
        return dspy.Prediction(answer=votes[-1].answer)
""",
        per_run=3,
    ),
    "an adapter of its own": Shape(
        source=single(
            "        with dspy.context(adapter=dspy.JSONAdapter()):\n            return self.sort(question=question)\n"
        ),
    ),
    "a lock and a client": Shape(
        source="import threading\nimport sqlite3\n"
        + single(
            "        with self.lock:\n            self.client.execute('select 1').fetchone()\n"
            "        return self.sort(question=question)\n",
            "        self.lock = threading.Lock()\n"
            "        self.client = sqlite3.connect(':memory:', check_same_thread=False)\n",
        )
    ),
    "a saved state": Shape(
        source="""
from pathlib import Path

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.ChainOfThought("question -> answer")
        self.load(Path(__file__).parent / "state.json")

    def forward(self, question):
        return self.sort(question=question)
""",
        files={"state.json": STATE},
    ),
    "settings and history": Shape(
        source=single(
            "        pred = self.sort(question=question)\n"
            "        assert dspy.settings.lm is not None and dspy.settings.adapter is not None\n"
            "        dspy.inspect_history(n=1)\n"
            "        with dspy.settings.context(trace=[]):\n            pass\n"
            "        return pred\n"
        ),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_program_is_searched_promoted_loaded_and_checked(
    name: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = SHAPES[name]
    path = write(tmp_path, server, shape)
    instructed(tmp_path, path)
    through_the_cycle(shape, path, server, capsys)


@pytest.mark.parametrize("name", ["best of n", "a comparison of several chains"])
def test_a_temperature_that_the_program_sets_by_itself_is_not_searched(
    name: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, server, SHAPES[name])
    space = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**space, "params": {"temperature": {"choices": [0.0, 0.5]}}}))
    assert main(["space", "check", str(path)]) == 2
    assert "params.temperature" in capsys.readouterr().err and not server.requests


@pytest.mark.parametrize("route", ["openai/gpt-4.1", "anthropic/claude-sonnet-4-5"])
@pytest.mark.parametrize(
    "asked", ["self.sort(question=question, config={'n': 3, 'temperature': 0.8})", "self.three(question=question)"]
)
def test_several_completions_are_asked_for_one_by_one_priced_and_reused(route: str, asked: str, tmp_path: Path) -> None:
    source = single(
        f"        return dspy.majority({asked})\n",
        '        self.three = dspy.Predict("question -> answer", n=3, temperature=0.8)\n',
    )
    with ScriptedServer(in_dialect) as server:
        path = write(tmp_path, server, Shape(source=source, hot=0.8))
        space = yaml.safe_load(path.read_text())
        base = server.url if route.startswith("openai") else server.root
        model = {"name": "small", "route": route, "api_base": base, "price": {"input_usd": 1.0, "output_usd": 1.0}}
        path.write_text(yaml.safe_dump({**space, "models": [model], "search": {"trials": 1, "concurrency": 2}}))
        study = offramp.optimize(path)
        best = study.report.recommended
        assert study.error is None and best is not None and best.quality == 1.0
        assert len(server.requests) == study.report.money.calls > 0
        assert not any("n" in request.body for request in server.requests)
        assert {request.body["temperature"] for request in server.requests} == {0.8}
        assert best.search.cost_usd == pytest.approx(3 * 15 / 1e6), "each answer at the price of a request"
        sent = len(server.requests)
        assert offramp.optimize(path).report.money.calls == sent == len(server.requests)
