"""Which adapter the user's own module runs on, and which it cannot."""

import importlib.util
import shutil

import pytest

from offramp.errors import SpaceError
from offramp.job.resolve import resolve_job
from offramp.space.load import load_space

MODULE = """
import dspy

class Talks(dspy.Module):
    def __init__(self):
        super().__init__()
        self.reply = dspy.Predict("history: dspy.History, ticket -> team")

    def forward(self, ticket):
        return self.reply(history=dspy.History(messages=[]), ticket=ticket)

class Codes(dspy.Module):
    def __init__(self):
        super().__init__()
        self.reply = dspy.ProgramOfThought("ticket -> team")

    def forward(self, ticket):
        return self.reply(ticket=ticket)

class Sorts(dspy.Module):
    def __init__(self):
        super().__init__()
        self.reply = dspy.Predict("ticket -> team")

    def forward(self, ticket):
        return self.reply(ticket=ticket)
"""
SPACE = """
schema_version: 1
name: routing
task: {{{task}}}
dataset: {{path: tickets.csv}}
metric: {{kind: exact, field: team}}
incumbent: {{model: openai/gpt-4.1-mini{incumbent}}}
models: [openai/gpt-4.1-mini]
instructions: {{{predictor}: {{today: Route it.}}}}
program: {{{program}}}
"""


@pytest.fixture
def job(tmp_path):
    def job(task, *, program="", incumbent="", predictor="reply"):
        rows = [f"ticket {i} about {i * 7},{('billing', 'technical')[i % 2]}" for i in range(24)]
        (tmp_path / "tickets.csv").write_text("ticket,team\n" + "\n".join(rows) + "\n")
        (tmp_path / "own.py").write_text(MODULE)
        if not task.startswith("signature"):
            task = f'module: "own.py:{task}", inputs: [ticket], outputs: [team]'
        text = SPACE.format(task=task, program=program, incumbent=incumbent, predictor=predictor)
        path = tmp_path / "routing.yaml"
        path.write_text(text)
        return resolve_job(load_space(path))

    return job


def adapters(job):
    return next(param.choices for param in job.search_params if param.name == "format")


def test_a_module_runs_in_the_chat_format_and_a_signature_in_the_plain_one(job):
    own = job("Sorts")
    assert adapters(own) == ("chat",) and own.incumbent.adapter == "chat"
    signature = job('signature: "ticket -> team"', predictor="main")
    assert adapters(signature) == ("plain",) and signature.incumbent.adapter == "plain"


def test_an_open_format_is_the_same_study_as_the_stated_default(job):
    assert job("Sorts").hash(0) == job("Sorts", program="format: chat").hash(0)
    assert job("Sorts").hash(0) != job("Sorts", program="format: plain").hash(0)


def test_a_format_that_cannot_show_a_field_is_refused(job):
    for program, key in (("format: plain", "program.format"), ("format: [chat, plain]", "program.format")):
        with pytest.raises(SpaceError, match=rf"{key}: 'plain' cannot show reply.history \(History\)"):
            job("Talks", program=program)
    with pytest.raises(SpaceError, match=r"incumbent.format: 'plain' cannot show .* Use chat, or json."):
        job("Talks", incumbent=", format: plain")
    assert adapters(job("Talks", program="format: [chat, json]")) == ("chat", "json")


@pytest.mark.skipif(bool(shutil.which("deno") or importlib.util.find_spec("deno")), reason="Deno is here")
def test_code_in_a_sandbox_that_is_not_here_is_refused_before_anything_is_spent(job):
    with pytest.raises(SpaceError, match=r"task.module: reply runs Python code .*Deno.*dspy\[deno\]"):
        job("Codes", predictor="reply.code_generate.predict")
