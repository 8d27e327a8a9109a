"""The tools of a module are named before a search, those with effects apart; unknown names are refused."""

import pytest

from offramp.errors import SpaceError
from offramp.job.checks import check_job
from offramp.job.job_warnings import job_warnings
from offramp.job.resolve import resolve_job
from offramp.space.load import load_space

SPACE = """
schema_version: 1
name: agents
task: {{module: "own.py:Agent", inputs: [question], outputs: [answer]{tools}}}
dataset: {{path: rows.csv}}
metric: {{kind: exact, field: answer}}
models: [openai/gpt-4.1-mini]
objectives: {{cost: null, latency: null}}
"""
OWN = """
import dspy

def search(word: str) -> str:
    return word

def send_mail(text: str) -> str:
    return "sent"

class Agent(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[search, send_mail])

    def forward(self, question):
        return self.agent(question=question)
"""


@pytest.fixture
def job(tmp_path):
    def job(tools=""):
        (tmp_path / "own.py").write_text(OWN)
        (tmp_path / "rows.csv").write_text("question,answer\n" + "\n".join(f"q{i},{i}" for i in range(24)) + "\n")
        path = tmp_path / "agents.yaml"
        path.write_text(SPACE.format(tools=f", tools: {tools}" if tools else ""))
        return resolve_job(load_space(path))

    return job


def test_tools_are_named_and_those_with_effects_apart(job):
    told = " ".join(job_warnings(job("{send_mail: {effects: true}}")))
    assert "task.tools: send_mail runs for every row and candidate" in told and "results of search are recorded" in told
    assert "results of search, send_mail are recorded" in " ".join(job_warnings(job()))


@pytest.mark.parametrize("name", ["send_mails", "finish"])
def test_a_name_that_no_tool_has_is_refused_with_those_that_there_are(job, name):
    with pytest.raises(SpaceError, match=rf"task.tools: got '{name}', expected one of search, send_mail"):
        check_job(job(f"{{{name}: {{effects: true}}}}"))


def test_tools_that_are_named_without_effects_change_the_name_of_the_study_and_none_named_does_not(job):
    assert job().hash(0) != job("{search: {effects: true}}").hash(0)
