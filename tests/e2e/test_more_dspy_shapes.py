"""More programs as people write them, each through a short cycle: checked, searched, promoted and loaded."""

from __future__ import annotations

import json
from pathlib import Path

import dspy
import pytest
import yaml

import offramp
from dspy_shapes import LABELS, Shape, fresh, instructed, shapes_server, single, write  # noqa: F401 (fixtures)
from offramp.cli.main import main
from offramp.program.module import import_module_factory
from offramp.testing.server import ScriptedServer

SHAPES: dict[str, Shape] = {
    "the value of the only output": Shape(source=single("        return self.sort(question=question).answer\n")),
    "a dict": Shape(source=single("        return {'answer': self.sort(question=question).answer}\n")),
    "a pydantic object": Shape(
        source="import pydantic\n\nclass Out(pydantic.BaseModel):\n    answer: str\n    contexts: list[str] = []\n\n"
        + single("        return Out(answer=self.sort(question=question).answer)\n")
    ),
    "a dataclass": Shape(
        source="import dataclasses\n\n@dataclasses.dataclass\nclass Out:\n    answer: str\n    contexts: tuple = ()\n\n"
        + single("        return Out(answer=self.sort(question=question).answer)\n")
    ),
    "dspy.configure in forward": Shape(
        source="DONE = []\n\ndef ready():\n    if not DONE:\n        dspy.configure(lm=dspy.LM('openai/small', temperature=0.2))\n"
        "        DONE.append(1)\n\n" + single("        ready()\n        return self.sort(question=question)\n")
    ),
    "dspy.configure in the constructor": Shape(
        source=single(
            "        return self.sort(question=question)\n", "        dspy.configure(lm=dspy.LM('openai/small'))\n"
        )
    ),
    "a retriever of DSPy's settings": Shape(
        source="""
class Search:
    def __call__(self, query, k=3, **more):
        return [dspy.Example(long_text=f"case belongs to {team}") for team in TEAMS][:k]

dspy.configure(rm=Search())

class Own(dspy.Module):
    def __init__(self, num_passages=2):
        super().__init__()
        self.retrieve = dspy.Retrieve(k=num_passages)
        self.generate_answer = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question):
        context = self.retrieve(question).passages
        return dspy.Prediction(context=context, answer=self.generate_answer(context=context, question=question).answer)
"""
    ),
    "keywords": Shape(
        source=single("        raise AssertionError\n").replace(
            "def forward(self, question):\n        raise AssertionError",
            "def forward(self, **given):\n        return self.sort(**given)",
        )
    ),
    "asyncify in aforward": Shape(
        source=single("        raise AssertionError\n", signature='"question, part -> answer"')
        .replace(
            "    def forward(self, question):\n        raise AssertionError\n",
            "    async def aforward(self, question):\n"
            "        ask = dspy.asyncify(self.sort)\n"
            "        return (await asyncio.gather(*[ask(question=question, part=str(i)) for i in range(2)]))[0]\n",
        )
        .replace("class Own", "import asyncio\n\nclass Own"),
        per_run=2,
    ),
    "callbacks": Shape(
        source="""
from dspy.utils.callback import BaseCallback

class Log(BaseCallback):
    seen = []

    def on_lm_end(self, call_id, outputs, exception):
        self.seen.append(outputs)

"""
        + single(
            "        with dspy.context(callbacks=[Log()]):\n            before = len(Log.seen)\n"
            "            pred = self.sort(question=question)\n            assert len(Log.seen) > before\n            return pred\n"
        )
    ),
    "an adapter class of its own": Shape(
        source="""
class Terse(dspy.ChatAdapter):
    def format(self, signature, demos, inputs):
        messages = super().format(signature, demos, inputs)
        messages[0]["content"] += " Be terse."
        return messages

"""
        + single("        with dspy.context(adapter=Terse()):\n            return self.sort(question=question)\n")
    ),
    "an Enum": Shape(
        source="""
import enum

class Team(enum.Enum):
    A = "billing"
    B = "shipping"
    C = "returns"

class Sort(dspy.Signature):
    question: str = dspy.InputField()
    answer: Team = dspy.OutputField()

"""
        + single(
            "        pred = self.sort(question=question)\n        assert isinstance(pred.answer, Team)\n        return pred\n",
            signature="Sort",
        )
    ),
    "a stream with listeners": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question -> answer")

    async def aforward(self, question):
        listener = dspy.streaming.StreamListener(signature_field_name="answer")
        parts = [part async for part in dspy.streamify(self.sort, stream_listeners=[listener])(question=question)]
        return parts[-1]
"""
    ),
    "two models": Shape(
        source="""
import offramp

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question -> answer")
        self.check = dspy.Predict("question, answer -> verdict")
        self.big = dspy.LM("openai/large", cache=True, temperature=0.3)

    def forward(self, question):
        pred = self.sort(question=question)
        with dspy.settings.context(lm=self.big):
            self.check(question=question, answer=pred.answer)
        with dspy.context(lm=offramp.lm("large")):
            self.check(question=question, answer=pred.answer)
        return pred
""",
        per_run=3,
    ),
    "copies": Shape(
        source="import copy\n"
        + single(
            "        self.sort.deepcopy()(question=question)\n        copy.deepcopy(self.sort)(question=question)\n"
            "        return self.sort.reset_copy()(question=question)\n"
        ),
        per_run=3,
    ),
    "predictors in containers and on the spot": Shape(
        source="""
class Own(dspy.Module):
    def __init__(self):
        self.steps = [dspy.Predict("question -> gist"), dspy.ChainOfThought("question, gist -> answer")]
        self.named = {"note": dspy.Predict("question -> note")}

    def forward(self, question):
        self.named["note"](question=question)
        gist = dspy.Predict("question, gist -> gist2")(question=question, gist=self.steps[0](question=question).gist)
        return self.steps[1](question=question, gist=gist.gist2)
""",
        per_run=4,
    ),
    "a relative import": Shape(
        source="""
from .parts.rules import SORT

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict(SORT)

    def forward(self, question):
        from .parts.more import same

        return same(self.sort(question=question))
""",
        task={"module": "app.own:Own"},
        files={
            "app/__init__.py": "",
            "app/parts/__init__.py": "",
            "app/parts/rules.py": "SORT = 'question -> answer'\n",
            "app/parts/more.py": "def same(value):\n    return value\n",
        },
    ),
    "a program saved whole, loaded by its own code": Shape(
        source="""
from pathlib import Path

class Inner(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.sort(question=question)

SAVED = Path(__file__).parent / "saved"
if not SAVED.exists():
    Inner().save(SAVED, save_program=True)

def Own():
    return dspy.load(SAVED, allow_pickle=True)
"""
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_program_is_searched_promoted_and_loaded(name: str, server: ScriptedServer, tmp_path: Path) -> None:
    shape = SHAPES[name]
    path = write(tmp_path, server, shape)
    if "module" in shape.task:
        (tmp_path / "own.py").rename(tmp_path / "app" / "own.py")
    space = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**space, "search": {"trials": 1, "concurrency": 2}}, sort_keys=False))
    study = offramp.optimize(path)
    assert study.error is None, study.error
    best = study.report.recommended
    assert best is not None and best.quality == 1.0 and len(server.requests) == study.report.money.calls > 0
    assert main(["promote", "latest", "--force", "--why", "it runs", "--by", "ada"]) == 0

    server.requests.clear()
    module = str(space["task"]["module"])
    program = offramp.load("shapes", module=import_module_factory(module, tmp_path, "test"), api_base=server.url)
    answer = program(question="case 001: whose?").answer
    assert getattr(answer, "value", answer) == LABELS[1]
    assert len(server.requests) == shape.per_run


def test_a_module_that_needs_arguments_is_refused_with_what_to_do(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = single("        return self.sort(question=question)\n").replace(
        "__init__(self)", "__init__(self, retriever)", 1
    )
    path = write(tmp_path, server, Shape(source=source))
    assert main(["space", "check", str(path)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "'retriever'" in said and "Name a function without arguments that makes it" in said


REFUSED = {
    "another input": (
        "forward(self, question)",
        "forward(self, query)",
        "missing a required argument: 'query' of forward",
    ),
    "one more input": (
        "forward(self, question)",
        "forward(self, question, user)",
        "missing a required argument: 'user'",
    ),
    "no input": ("forward(self, question)", "forward(self)", "unexpected keyword argument 'question' of forward(self)"),
    "a predictor of before": ("dspy.Predict", "dspy.TypedPredictor", "Use dspy.Predict in place of TypedPredictor"),
    "a client of before": ("class Own", "LM = dspy.OpenAI()\n\nclass Own", "Use dspy.LM in place of OpenAI"),
    "a module of before": ("class Own", "import dspy.primitives.assertions\n\nclass Own", "for another DSPy than the"),
    "a name of before": (
        "class Own",
        "from dspy import Suggest\n\nclass Own",
        "Use dspy.Refine or dspy.BestOfN in place of",
    ),
    "a generator": (
        "return self.sort",
        "yield self.sort",
        "own.py:12: `forward` yields, and a run needs one whole answer",
    ),
    "an asynchronous generator": (
        "def forward(self, question):\n        return self",
        "async def aforward(self, question):\n        yield self",
        "own.py:12: `aforward` yields, and a run needs one whole answer",
    ),
    "nothing": (
        "return self.sort",
        "self.sort",
        "own.py:11: `forward` returns nothing. Return dspy.Prediction(answer=...)",
    ),
    "a list": (
        "return self.sort(question='x')",
        "return [self.sort(question='x')]",
        "own.py:12: `forward` returns a list",
    ),
    "a tuple": ("return self.sort(question='x')", "return 'x', 0.5", "own.py:12: `forward` returns a tuple"),
    "another output": (
        "return self.sort(question='x')",
        "return dspy.Prediction(anwser='x')",
        "returns anwser, and the task wants answer",
    ),
    "another key": (
        "return self.sort(question='x')",
        "return {'label': 'x', 'p': 1}",
        "returns label, p, and the task wants",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_run_is_refused_with_what_to_do(
    kind: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, expected = REFUSED[kind]
    path = write(
        tmp_path, server, Shape(source=single("        return self.sort(question='x')\n").replace(old, new, 1))
    )
    assert main(["space", "check", str(path)]) == 2
    assert expected in " ".join(capsys.readouterr().err.split())


RETURNS = [
    "return dspy.Prediction(**{'answer': 'x'})", "return dict(answer='x')", "return {**{'answer': 'x'}}", "return made()",
    "raise NotImplementedError", "if question:\n            return {}\n        return self.sort(question='x')",
    "if question:\n            return\n        return self.sort(question='x')", "return dspy.Prediction(self.sort(question='x'))",
    "def inner():\n            yield 1\n        return self.sort(question='x')", "return (self.sort(question='x'))",
    "return (lambda: [1])() or self.sort(question='x')", "return 'x'", "return None or self.sort(question='x')",
]  # fmt: skip


@pytest.mark.parametrize("returns", RETURNS)
def test_what_may_be_right_is_not_refused(returns: str, server: ScriptedServer, tmp_path: Path) -> None:
    source = single(f"        {returns}\n")
    assert main(["space", "check", str(write(tmp_path, server, Shape(source=source)))]) == 0


STATES = {
    "without metadata": ({"sort": {}}, "saved by an older DSPy, whose files have no metadata. Load it with `self.load_state"),
    "of another program": ({"metadata": {"dependency_versions": {}}, "other": {}}, "The saved state has no 'sort'"),
    "without a signature": ({"metadata": {"dependency_versions": {}}, "sort": {"demos": []}}, "The saved state has no 'signature'"),
    "before 2.6": ({"metadata": {"dependency_versions": {}}, "sort": {"signature": {"instructions": "x", "fields": [{"prefix": "a", "description": "b"}] * 2}, "lm": None, "extended_signature": {}}}, "no longer supported in DSPy 2.6+"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("at", ["made", "imported"])
def test_a_state_that_this_dspy_does_not_load_is_refused_with_what_to_do(
    kind: str, at: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, said = STATES[kind]
    load = 'load(__file__.replace("own.py", "state.json"))'
    source = single("        return self.sort(question=question)\n", f"        self.{load}\n" if at == "made" else "")
    source += f"\nOwn().{load}\n" if at == "imported" else ""
    path = write(tmp_path, server, Shape(source=source, files={"state.json": json.dumps(state)}))
    assert main(["space", "check", str(path)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("named", ["saved", "saved/program.pkl", "state.json"])
def test_a_saved_program_is_not_a_module(
    named: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, server, Shape(source="", task={"module": named}))
    dspy.Predict("question -> answer").save(tmp_path / "saved", save_program=True)
    assert main(["space", "check", str(path)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "program.save('state.json')" in said and not server.requests, said


def test_an_instruction_that_is_not_sent_is_not_the_label(server: ScriptedServer, tmp_path: Path) -> None:
    source = single(
        "        gist = self.gist(question=question).gist\n"
        "        return self.sort(question=question, gist=gist, signature=dspy.Signature('question, gist -> answer', 'Mine.'))\n",
        '        self.gist = dspy.Predict("question -> gist")\n', '"question, gist -> answer"',
    )  # fmt: skip
    path = write(tmp_path, server, Shape(source=source))
    assert instructed(tmp_path, path) == "sort"
    study = offramp.optimize(path)
    (clear, *_) = [member for member in study.report.members if member.params["instruction.sort"] == "clear"]
    assert clear.sent["instruction.sort"] == {"sort": [None]} and clear.shown["instruction.sort"] == "not sent"
