"""Programs in shapes that no other test has, as tutorials, issues and repositories of DSPy write them.

Each goes through the whole cycle, or is refused by `space check` with what to do, before anything is sent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
import yaml

import offramp
from dspy_shapes import Shape, fresh, instructed, shapes_server, single, through_the_cycle, write  # noqa: F401 (fixtures)
from offramp.cli.main import main
from offramp.errors import JobError
from offramp.testing.server import ScriptedServer

ASK = "        return self.sort(question=question)\n"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
LOOK_UP = '''
def look_up(number: int) -> str:
    """Which team had the case of that number."""
    return TEAMS[number % 3]

'''
BY_HAND = (
    LOOK_UP
    + '''
class Call(dspy.Signature):
    """Use a tool."""
    question: str = dspy.InputField()
    tools: list[dspy.Tool] = dspy.InputField()
    outputs: dspy.ToolCalls = dspy.OutputField()

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.tools = {"look_up": dspy.Tool(look_up)}
        self.call = dspy.Predict(Call)
        self.sort = dspy.Predict("question, results: list[str] -> answer")

    def forward(self, question):
        calls = self.call(question=question, tools=list(self.tools.values())).outputs.tool_calls
        results = [str(call.execute(functions=self.tools)) for call in calls]
        assert results[0] in TEAMS, results
        return self.sort(question=question, results=results)
'''
)
NATIVELY = BY_HAND.replace(
    "        calls = ",
    "        with dspy.context(adapter=dspy.ChatAdapter(use_native_function_calling=True)):\n            calls = ",
)

SHAPES: dict[str, Shape] = {
    "a step that is a function inside of the constructor": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.expert = dspy.Predict("question -> answer")
        sort = dspy.Predict("question, hint -> answer")

        def hinted(question):
            return sort(question=question, hint=self.expert(question=question).answer)

        self.sort, self.steps = sort, {"hinted": hinted}

    def forward(self, question):
        return self.steps["hinted"](question)
""",
        per_run=2,
    ),
    "a stream that is left before its end": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question -> answer")
        self.stream = dspy.streamify(self.sort)

    async def aforward(self, question):
        async for part in self.stream(question=question):
            if isinstance(part, dspy.Prediction):
                return part
"""
    ),
    "predictors in an object of a plain class": Shape(
        source="""
class Team:
    def __init__(self, sort):
        self.members = [sort]

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question -> answer")
        self.team = Team(self.sort)

    def forward(self, question):
        return self.team.members[0](question=question)
"""
    ),
    "a default that holds where a row has null": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question, language -> answer")

    def forward(self, question, language="en"):
        return self.sort(question=question, language=language.upper())
""",
        task={"inputs": {"question": None, "language": {"optional": True}}},
        column={"language": None},
    ),
    "a rule that answers some rows before a model is asked": Shape(
        source=single(
            "        number = int(question[5:8])\n        if number % 4 == 3 or number in (4, 6):\n"
            "            return dspy.Prediction(answer=TEAMS[number % 3])\n" + ASK
        )
    ),
    "a subclass of ReAct": Shape(
        source=LOOK_UP
        + """
class Own(dspy.ReAct):
    def __init__(self):
        super().__init__("question -> answer", tools=[look_up], max_iters=3)

    def forward(self, **inputs):
        out = super().forward(**inputs)
        out.steps = len([name for name in out.trajectory if name.startswith("tool_name")])
        return out
""",
        per_run=3,
    ),
    "an agent with two tools, the first of which fails": Shape(
        source=LOOK_UP
        + '''
def broken(number: int) -> str:
    """Older records."""
    raise ConnectionError("gone")

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[broken, look_up], max_iters=4)

    def forward(self, question):
        return self.agent(question=question)
''',
        per_run=4,
    ),
    "an agent that is a tool of another": Shape(
        source=LOOK_UP
        + '''
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.expert = dspy.ReAct("question -> answer", tools=[look_up], max_iters=3)
        self.lead = dspy.ReAct("question -> answer", tools=[self.ask_expert], max_iters=3)

    def ask_expert(self, number: int) -> str:
        """Ask the expert."""
        return self.expert(question=f"case {number:03}: whose?").answer

    def forward(self, question):
        return self.lead(question=question)
''',
        per_run=6,
    ),
    "tools called by hand": Shape(source=BY_HAND, per_run=2),
    "a recursive language model that asks the model from its code": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.read = dspy.RLM("question -> answer", max_iters=3, interpreter_factory=dspy.LocalInterpreter)

    def forward(self, question):
        return self.read(question=question)
""",
        per_run=2,
    ),
    "a program of thought with an interpreter of its own": Shape(
        source="""
class Sums:
    tools: dict = {}

    def start(self): ...
    def shutdown(self): ...

    def execute(self, code, variables=None):
        return str(eval(code))

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.pot = dspy.ProgramOfThought("question -> answer", interpreter_factory=Sums)

    def forward(self, question):
        return self.pot(question=question)
""",
        per_run=2,
    ),
    "a refinement of two predictors": Shape(
        source="""
class Draft(dspy.Module):
    def __init__(self):
        super().__init__()
        self.gist = dspy.Predict("question -> gist")
        self.sort = dspy.ChainOfThought("question, gist -> answer")

    def forward(self, question):
        return self.sort(question=question, gist=self.gist(question=question).gist)

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.refined = dspy.Refine(module=Draft(), N=3, reward_fn=self.reward, threshold=1.0)

    @staticmethod
    def reward(args, pred):
        return float(pred.answer in TEAMS)

    def forward(self, question):
        return self.refined(question=question)
""",
        per_run=2,
        hot=1.0,
    ),
    "different modules side by side, with a bar": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.bare = dspy.Predict("question -> answer")
        self.chain = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        rows = [(self.bare, {"question": question}), (self.chain, dspy.Example(question=question).with_inputs("question"))]
        found, failed, errors = dspy.Parallel(num_threads=2, return_failed_examples=True)(rows)
        return found[0]
""",
        per_run=2,
    ),
    "a look at the history of requests": Shape(
        source="""
import offramp

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question -> answer")
        self.big = offramp.lm("large")

    def forward(self, question):
        pred = self.sort(question=question)
        assert question in str(dspy.settings.lm.history[-1]["messages"])
        assert len(dspy.settings.lm.history) == len(self.sort.history) == len(self.history) == 1
        with dspy.context(lm=self.big):
            self.sort(question=question)
        assert self.big.history[-1]["usage"]["completion_tokens"]
        return pred
""",
    ),
    "an Example": Shape(source=single("        return dspy.Example(answer=self.sort(question=question).answer)\n")),
    "a copy of the model of the run": Shape(
        source=single(
            "        with dspy.context(lm=dspy.settings.lm.copy(temperature=0.9, rollout_id=3)):\n"
            "            return self.sort(question=question)\n"
        ),
        hot=0.9,
    ),
    "a signature that grows with each try": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self, tries=3):
        super().__init__()
        self.sort = dspy.ChainOfThought("question -> answer")
        self.tries = tries

    def forward(self, question):
        past = []
        for _ in range(self.tries):
            signature, more = self.sort.predict.signature, {}
            if past:
                signature = signature.append("past", dspy.InputField(desc="wrong ones"), type_=list[str])
                more = {"past": past}
            pred = self.sort.predict(signature=signature, question=question, **more)
            if past:
                return pred
            past.append(pred.answer)
""",
        per_run=2,
    ),
    "semaphores, clients and generators": Shape(
        source="""
import asyncio, threading, httpx

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.few, self.lock, self.local, self.ready = asyncio.Semaphore(2), threading.RLock(), threading.local(), asyncio.Event()
        self.client, self.numbers = httpx.AsyncClient(), (i for i in range(10**6))
        self.sort = dspy.ChainOfThought("question -> answer")

    async def one(self, question):
        async with self.few:
            return await self.sort.acall(question=question)

    async def aforward(self, question):
        next(self.numbers)
        return (await asyncio.gather(self.one(question), self.one(f"{question} ")))[0]
""",
        per_run=2,
    ),
    "callbacks of the process, the module and a predictor": Shape(
        source="""
from dspy.utils.callback import BaseCallback

class Log(BaseCallback):
    seen = 0

    def on_module_start(self, call_id, instance, inputs):
        self.seen += 1

    def on_lm_start(self, call_id, instance, inputs):
        assert instance.model
        self.seen += 1

LOG = Log()
dspy.configure(callbacks=[LOG])

class Own(dspy.Module):
    def __init__(self):
        super().__init__(callbacks=[LOG])
        self.sort = dspy.Predict("question -> answer", callbacks=[LOG])

    def forward(self, question):
        before = LOG.seen
        pred = self.sort(question=question)
        assert LOG.seen > before + 1
        return pred
""",
    ),
    "BAML": Shape(
        source="from dspy.adapters.baml_adapter import BAMLAdapter\n\n"
        + single("        with dspy.context(adapter=BAMLAdapter()):\n            return self.sort(question=question)\n")
    ),
    "several images in a row": Shape(
        source="""
class Sort(dspy.Signature):
    question: str = dspy.InputField()
    pictures: list[dspy.Image] = dspy.InputField()
    answer: str = dspy.OutputField()

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.ChainOfThought(Sort)

    def forward(self, question, pictures):
        assert [type(picture) for picture in pictures] == [dspy.Image] * 2
        return self.sort(question=question, pictures=pictures)
""",
        task={"inputs": {"question": None, "pictures": {"type": "image"}}},
        column={"pictures": ["a.png", "b.png"]},
    ),
    "inputs that a row may leave out": Shape(
        source="""
from typing import Optional

class Sort(dspy.Signature):
    question: str = dspy.InputField()
    note: Optional[str] = dspy.InputField()
    picture: Optional[dspy.Image] = dspy.InputField()
    answer: str = dspy.OutputField()

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict(Sort)

    def forward(self, question, note=None, picture=None):
        assert note is None and picture is None
        return self.sort(question=question, note=note, picture=picture)
""",
        task={"inputs": {"question": None, "note": {"optional": True}, "picture": {"type": "image", "optional": True}}},
        column={"note": None, "picture": None},
    ),
}
GIVEN: dict[str, dict[str, Any]] = {
    "several images in a row": {"pictures": [PNG, f"data:image/png;base64,{base64.b64encode(PNG).decode()}"]}
}
"""What an app gives in place of the column."""


@pytest.fixture(autouse=True)
def no_callbacks() -> Iterator[None]:
    yield
    dspy.configure(callbacks=[])


def written(folder: Path, server: ScriptedServer, shape: Shape) -> Path:
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(PNG)
    path = write(folder, server, shape)
    instructed(folder, path)
    return path


def changed(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}, sort_keys=False))
    return path


@pytest.mark.parametrize("name", SHAPES)
def test_a_program_is_searched_promoted_loaded_and_checked(
    name: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    through_the_cycle(SHAPES[name], written(tmp_path, server, SHAPES[name]), server, capsys, **GIVEN.get(name, {}))


@pytest.mark.parametrize("route", ["openai/gpt-4.1", "anthropic/claude-sonnet-4-5"])
def test_tools_that_a_program_hands_over_natively_are_so_in_search_app_and_check(
    route: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, server, Shape(source=NATIVELY))
    base = server.url if route.startswith("openai") else server.root
    name, price = route.rpartition("/")[2], {"input_usd": 1.0, "output_usd": 1.0}
    model = {
        "name": name,
        "route": route,
        "api_base": base,
        "price": price,
        "supports": ["tools", "temperature", "max_tokens"],
    }
    changed(path, models=[model], incumbent={"model": name})
    through_the_cycle(Shape(source=NATIVELY, per_run=2), path, server, capsys)
    assert len([request for request in server.requests if request.body.get("tools")]) == len(server.requests) / 2


WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"
PDF = b"%PDF-1.4\n%%EOF"


@pytest.mark.parametrize(
    ("kind", "content", "route"),
    [("audio", WAV, "openai/small"), ("file", PDF, "openai/small"), ("file", PDF, "anthropic/claude-sonnet-4-5")],
)
def test_recordings_and_files_are_sent_as_the_vendor_takes_them(
    kind: str, content: bytes, route: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"def Own():\n    return dspy.Predict('question, given: dspy.{kind.title()} -> answer')\n"
    task = {"inputs": {"question": None, "given": {"type": kind}}}
    shape = Shape(source=source, task=task, column={"given": "given"})
    (tmp_path / "given").write_bytes(content)
    path = written(tmp_path, server, shape)
    if route.startswith("anthropic"):
        name, price = route.rpartition("/")[2], {"input_usd": 1.0, "output_usd": 1.0}
        model = {"name": name, "route": route, "api_base": server.root, "price": price}
        changed(path, models=[model], incumbent={"model": name})
    through_the_cycle(shape, path, server, capsys, given=content)
    for request in server.requests:
        assert base64.b64encode(content).decode() in json.dumps(request.body["messages"])


METRICS = {
    "a judge in a module": """
class Judge(dspy.Module):
    def __init__(self):
        super().__init__()
        self.judge = dspy.ChainOfThought("question, gold, answer -> good: bool")

    def forward(self, example, pred, trace=None):
        return self.judge(question=example.question, gold=example.answer, answer=pred.answer).good

metric = Judge()
""",
    "a judge of its own language model": """
JUDGE = dspy.LM("openai/large", temperature=0.0, max_tokens=50)
ASKED = dspy.Predict("question, answer -> good: bool")

def metric(example, pred, trace=None):
    with dspy.context(lm=JUDGE):
        return float(ASKED(question=example.question, answer=pred.answer).good)
""",
    "feedback": """
def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
    right = gold.answer == pred.answer
    return dspy.Prediction(score=float(right), feedback="right" if right else f"expected {gold.answer}")
""",
    "what a prediction has beside its fields": """
def metric(example, pred, trace=None):
    used = pred.get_lm_usage()
    assert all(one["total_tokens"] == one["prompt_tokens"] + one["completion_tokens"] > 0 for one in used.values())
    assert len(pred.completions) == len(pred.completions.answer) == (3 if used else 1)
    return dspy.majority(pred.completions).answer == example.answer == pred.completions[0].answer
""",
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_as_dspy_has_it_is_booked_and_checked(
    name: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = 0.7 if "completions" in METRICS[name] else None
    ask = ASK if hot is None else ASK.replace(")", f', config={{"n": 3, "temperature": {hot}}})')
    shape = Shape(source=single(ask) + METRICS[name], per_run=1 if hot is None else 3, hot=hot)
    path = written(tmp_path, server, shape)
    judged = "judge" in name
    changed(path, metric={"kind": "python", "path": "own.py:metric", **({"model": "large"} if judged else {})})
    through_the_cycle(shape, path, server, capsys)
    if judged:
        assert {request.body["model"] for request in server.requests} == {"small", "large"}
        space = yaml.safe_load(path.read_text())
        changed(path, metric={name: value for name, value in space["metric"].items() if name != "model"})
        server.requests.clear()
        assert main(["space", "check", str(path)]) == 2
        assert "State the model with `model: NAME`" in capsys.readouterr().err and not server.requests


COMPILED = """
def made():
    train = [dspy.Example(question="case 001: whose?", answer="shipping").with_inputs("question")]
    return dspy.BootstrapFewShot(metric=lambda *_: True).compile(Program(), trainset=train)
Program, Own = Own, made
"""
REFUSED = {
    "a question at the end of the file": (single(ASK) + "\nprint(Own()(question='x'))\n", "own.py:12: a model is asked while"),
    "an optimiser in the constructor": (single(ASK) + COMPILED, "put it under `if __name__ == '__main__':`"),
    "a hosted embedder in the constructor": (
        single(ASK, '        self.search = dspy.retrievers.Embeddings(embedder=dspy.Embedder("openai/e"), corpus=["a"], k=1)\n'),
        "Embed with a function of your own: dspy.Embedder(function)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_asks_a_model_while_it_is_made_is_refused_with_what_to_do(
    name: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, words = REFUSED[name]
    assert main(["space", "check", str(write(tmp_path, server, Shape(source=source)))]) == 2
    assert words in " ".join(capsys.readouterr().err.split()) and not server.requests


BEFORE = {
    "a picture by its path": ("dspy.Image('a.png')", "ValueError: Unrecognized image string"),
    "a file that is not there": ("open('cases.txt').read()", "FileNotFoundError"),
    "a key of the environment": ("__import__('os').environ['NO_KEY']", "KeyError: 'NO_KEY'"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_what_a_module_raises_before_it_asks_a_model_is_said_by_the_check(
    name: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    does, words = BEFORE[name]
    path = written(tmp_path, server, Shape(source=single(f"        {does}\n{ASK}")))
    assert main(["space", "check", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "task.module: on row" in said and words in said and "(own.py:12)" in said and not server.requests


def test_a_list_of_images_needs_a_module_and_a_null_names_the_input(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, server, SHAPES["several images in a row"])
    task = {"signature": "question, pictures: Image -> answer"}
    changed(path, task=task, instructions={"plain": "Sort."})
    assert main(["space", "check", str(path)]) == 2
    assert "or a `module` whose input is list[dspy.Image]" in " ".join(capsys.readouterr().err.split())
    shape = SHAPES["inputs that a row may leave out"]
    path = written(tmp_path, server, replace(shape, task={"inputs": ["question", "note"]}))
    assert main(["space", "check", str(path)]) == 2
    assert "mark the input `optional: true`" in " ".join(capsys.readouterr().err.split())


KEPT = "ANSWERS = {}\n" + single(
    "        if question not in ANSWERS:\n            ANSWERS[question] = self.sort(question=question)\n"
    "        return ANSWERS[question]\n"
)
ANSWERED = single('        return dspy.Prediction(answer="billing")\n')


@pytest.mark.parametrize(("source", "why"), [(KEPT, "it keeps answers"), (ANSWERED, "nothing was counted")])
def test_answers_that_no_model_gave_score_nothing(
    source: str, why: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, server, Shape(source=source))
    assert main(["space", "check", str(path)]) == 0
    assert ("asks no model" in capsys.readouterr().out) == (source is ANSWERED)
    with pytest.raises(JobError, match=why):
        offramp.optimize(path)
    assert len(server.requests) == (0 if source is ANSWERED else 2)  # the first run of each of the two in flight


@pytest.mark.parametrize("edited", ["rules.py", "state.json"])
def test_an_edited_import_or_state_is_another_study(edited: str, server: ScriptedServer, tmp_path: Path) -> None:
    module = dspy.Predict("question -> answer")
    state = json.dumps({"sort": module.dump_state(), "metadata": {"dependency_versions": {}}})
    source = "from rules import same\n" + single(
        "        return same(self.sort(question=question))\n", "        self.load('state.json')\n"
    )
    files = {"rules.py": "def same(pred):\n    return pred\n", "state.json": state}
    path = changed(write(tmp_path, server, Shape(source=source, files=files)), search={"trials": 1, "concurrency": 2})
    first = offramp.optimize(path).report.study
    assert offramp.optimize(path).report.study == first
    text = (tmp_path / edited).read_text()
    (tmp_path / edited).write_text(
        text.replace("return pred", "return dspy.Prediction(answer=pred.answer)").replace(
            "def same", "import dspy\n\ndef same"
        )
        if edited == "rules.py"
        else text.replace("Given the fields", "From the fields")
    )
    assert offramp.optimize(path).report.study != first
