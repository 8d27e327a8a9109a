"""Models of the user's own module that are visible before a run: those that could not be counted are refused at check."""

import dspy
import pytest

from offramp.errors import SpaceError
from offramp.job.resolve import resolve_job
from offramp.search.estimate import job_summary
from offramp.space.load import load_space
from offramp.testing.server import ScriptedServer, ServerReply

HEAD = """
import asyncio
import dspy
import litellm
import offramp
import openai
from dspy.utils.dummies import DummyLM

BIG = dspy.LM("openai/gpt-4.1")
OTHER = dspy.LM("openai/gpt-4o")
lm = dspy.LM("openai/gpt-4o")
dspy.configure(lm=lm)
EMBED = dspy.Embedder("openai/text-embedding-3-small")

class Custom(dspy.BaseLM):
    def forward(self, prompt=None, messages=None, **kwargs):
        raise AssertionError

class Retriever:
    def __init__(self, embedder):
        self.embedder = embedder

def ask(text):
    return OTHER(text)[0]

CLIENT = openai.OpenAI(api_key="x")

def post(text):
    return openai.chat.completions.create(messages=[text])

class Base(dspy.Module):
    def __init__(self):
        super().__init__()
        self.reply = dspy.Predict("ticket -> team")
        self.lm = None
        self.more()

    def more(self):
        pass

    def forward(self, ticket):
        return self.reply(ticket=ticket)
"""
SPACE = """
schema_version: 1
name: routing
task: {module: "own.py:Own", inputs: [ticket], outputs: [team]}
dataset: {path: tickets.csv}
metric: {kind: exact, field: team}
incumbent: {model: openai/gpt-4.1-mini}
models: [openai/gpt-4.1-mini, {name: openai/gpt-4.1, searched: false},
  {name: thinks, route: openai/gpt-5, searched: false}]
"""


def attribute(value: str) -> str:
    return f"class Own(Base):\n    def more(self):\n        {value}\n"


def in_forward(line: str) -> str:
    return (
        f"class Own(Base):\n    def forward(self, ticket):\n        {line}\n        return self.reply(ticket=ticket)\n"
    )


@pytest.fixture
def check(tmp_path):
    def check(source):
        rows = [f"ticket {i} about {i * 7},{('billing', 'technical')[i % 2]}" for i in range(24)]
        (tmp_path / "tickets.csv").write_text("ticket,team\n" + "\n".join(rows) + "\n")
        (tmp_path / "own.py").write_text(HEAD + source)
        (tmp_path / "routing.yaml").write_text(SPACE)
        return resolve_job(load_space(tmp_path / "routing.yaml"))

    yield check
    dspy.configure(lm=None)


REFUSED = {
    "a predictor's": (attribute("self.reply.lm = OTHER"), "self.reply.lm: the program calls openai/gpt-4o"),
    "set_lm": (attribute("self.set_lm(OTHER)"), "self.reply.lm"),
    "an attribute": (attribute("self.big = OTHER"), "self.big"),
    "in a list": (attribute("self.all = [BIG, OTHER]"), "self.all[1]"),
    "in a dict": (attribute("self.all = {'a': BIG, 'b': OTHER}"), "self.all['b']"),
    "of a part": (attribute("self.part = Base(); self.part.big = OTHER"), "self.part.big"),
    "a name that nothing has": (attribute("self.big = offramp.lm('bigg')"), "offramp.lm('bigg')"),
    "a class of one's own": (attribute("self.big = Custom('openai/gpt-4.1')"), "self.big: the program calls a Custom"),
    "a dummy": (attribute("self.big = DummyLM([{'team': 'a'}])"), "a DummyLM"),
    "a global in forward": (in_forward("OTHER(ticket)"), "OTHER: the program calls openai/gpt-4o"),
    "a global in a context": (in_forward("with dspy.context(lm=OTHER): pass"), "OTHER"),
    "a global in a closure": (in_forward("(lambda: OTHER(ticket))()"), "OTHER"),
    "a global that a function calls": (in_forward("ask(ticket)"), "OTHER"),
    "another address": (attribute("self.big = dspy.LM('openai/gpt-4.1', api_base='http://x/v1')"), "at http://x/v1"),
    "a parameter that it rejects": (
        attribute("self.big = offramp.lm('thinks', temperature=0.2)"),
        "self.big: it is made with temperature=0.2, which",
    ),
    "a global with one": (
        "BIG.kwargs['temperature'] = 0.2; THINKS = offramp.lm('thinks', top_p=0.5)\n" + in_forward("THINKS(ticket)"),
        "THINKS: it is made with top_p=0.5",
    ),
    "litellm": (in_forward("litellm.completion(model='openai/gpt-4o', messages=[])"), "asks a model by litellm"),
    "litellm awaited": (
        in_forward("asyncio.run(litellm.acompletion(model='x', messages=[]))"),
        "asks a model by litellm",
    ),
    "a function of litellm": (in_forward("from litellm import completion; completion('x')"), "asks a model by litellm"),
    "a client": (in_forward("CLIENT.chat.completions.create(model='gpt-4o', messages=[])"), "asks a model by openai"),
    "a client made on the spot": (in_forward("openai.OpenAI().responses.create(input='')"), "asks a model by openai"),
    "a client of its own": (
        attribute("self.client = openai.OpenAI(api_key='x')")
        + "    def forward(self, ticket):\n        return self.ask(ticket)\n\n"
        "    def ask(self, ticket):\n        return self.client.chat.completions.create(messages=[])\n",
        "own.py:50: the program asks a model by openai",
    ),
    "a client in a function": (in_forward("post(ticket)"), "own.py:29: the program asks a model by openai"),
    "a client in a with": (
        in_forward("with openai.OpenAI() as c: c.chat.completions.create()"),
        "asks a model by openai",
    ),
    "an embedder": (attribute("self.embed = EMBED"), "text-embedding-3-small for embeddings"),
    "an embedder of a retriever": (attribute("self.search = Retriever(EMBED)"), "self.search.embedder"),
    "an embedder in forward": (in_forward("EMBED([ticket])"), "EMBED"),
}


@pytest.mark.parametrize("shape", REFUSED)
def test_a_model_that_could_not_be_counted_is_refused_at_check_with_its_place(check, shape):
    source, words = REFUSED[shape]
    with pytest.raises(SpaceError, match=r"task\.module") as refused:
        check(source)
    assert words in str(refused.value) and "routing.yaml" in str(refused.value)


@pytest.mark.parametrize(
    "source",
    [
        attribute("pass"),
        attribute("self.big = BIG"),
        attribute("self.big = offramp.lm('openai/gpt-4.1')"),
        attribute("self.reply.lm = BIG"),
        attribute("self.big = offramp.lm('thinks', temperature=1, n=3)"),
        attribute("self.embed = dspy.Embedder(lambda texts: texts)"),
        in_forward("BIG(ticket)"),
        in_forward("self.lm, dspy.settings.lm"),
        in_forward("CLIENT.moderations.create(input=ticket)"),
        in_forward("CLIENT.vector_stores.search('v', query=ticket)"),
        in_forward("self.completions = litellm.token_counter(text=ticket)"),
        attribute("self.client = CLIENT")
        + "    def baseline(self):\n        return CLIENT.chat.completions.create()\n",
    ],
)
def test_declared_models_and_what_a_file_only_configures_pass(check, source):
    assert set(check(source).models) == {"openai/gpt-4.1-mini", "openai/gpt-4.1", "thinks"}


CALLED_WHILE_MADE = {
    "at import": 'BIG("hello")\n' + attribute("pass"),
    "in the constructor": attribute("BIG('hello')"),
    "by a predictor": attribute("self.reply(ticket='x')"),
    "embeddings at import": "VECTORS = EMBED(['a', 'b'])\n" + attribute("pass"),
    "embeddings in the constructor": attribute("self.vectors = EMBED(['a', 'b'])"),
}


@pytest.mark.parametrize("shape", CALLED_WHILE_MADE)
def test_a_call_while_the_module_is_imported_or_made_is_refused_before_it_is_sent(check, shape, monkeypatch):
    with ScriptedServer([ServerReply()]) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
        with pytest.raises(
            SpaceError, match=r"own\.py:\d+: .*(while the module is imported or made|Embed with a function of your own)"
        ):
            check(CALLED_WHILE_MADE[shape])
        assert server.requests == []


def test_a_script_that_asks_under_main_passes(check):
    assert check(attribute("pass") + "if __name__ == '__main__':\n    BIG('hello')\n").factory is not None


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            attribute("self.reply.lm = BIG"),
            "reply runs on openai/gpt-4.1, as the module sets; `models` and `params` reach no",
        ),
        (
            attribute("self.other = dspy.Predict('ticket -> team'); self.other.lm = BIG"),
            "other runs on openai/gpt-4.1, as the module sets; `models` and `params` do not reach it.",
        ),
        (attribute("self.big = BIG"), None),
        (attribute("pass"), None),
    ],
)
def test_a_predictor_that_the_candidates_model_does_not_reach_is_named_before_the_search(check, source, told):
    warnings = [
        text
        for name, text in job_summary(check(source))
        if name == "warning" and " runs on " in text and ": models: " not in text
    ]
    assert warnings == [] if told is None else warnings[0].startswith(told)
