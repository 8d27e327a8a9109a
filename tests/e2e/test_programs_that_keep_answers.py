"""Programs that keep part of their work from one run to the next are refused; those that only look so are not."""

from __future__ import annotations

from pathlib import Path

import pytest

import offramp
from dspy_shapes import Shape, fresh, shapes_server, write  # noqa: F401 (fixtures)
from offramp.errors import JobError
from offramp.testing.server import ScriptedServer

HEAD = """
import functools, json, pathlib, random, time
GISTS, FILE = {}, pathlib.Path(__file__).with_name("gists.json")

def memo(function):
    known = {}
    def wrapped(module, question):
        if question not in known:
            known[question] = function(module, question)
        return known[question]
    return wrapped

class Own(dspy.Module):
    shared = {}

    def __init__(self):
        super().__init__()
        self.gist = dspy.Predict("question -> gist")
        self.sort = dspy.Predict("question, gist -> answer")
        self.seen = {}

    def forward(self, question):
        return self.sort(question=question, gist=self.gist_of(question))

"""
KEPT = {
    "a dict of the file": """
    def gist_of(self, question):
        if question not in GISTS:
            GISTS[question] = self.gist(question=question).gist
        return GISTS[question]
""",
    "a dict of the class": """
    def gist_of(self, question):
        if question not in self.shared:
            self.shared[question] = self.gist(question=question).gist
        return self.shared[question]
""",
    "a decorator": """
    @memo
    def gist_of(self, question):
        return self.gist(question=question).gist
""",
    "a file on disk": """
    def gist_of(self, question):
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        if question not in known:
            FILE.write_text(json.dumps({**known, question: self.gist(question=question).gist}))
            return json.loads(FILE.read_text())[question]
        return known[question]
""",
    "once for all rows": """
    def gist_of(self, question):
        if "gist" not in GISTS:
            GISTS["gist"] = self.gist(question="What are case 001 and the others about?").gist
        return GISTS["gist"]
""",
}
SOUND = {
    "a dict of its own": """
    def gist_of(self, question):
        if question not in self.seen:
            self.seen[question] = self.gist(question=question).gist
        return self.seen[question]
""",
    "at random": """
    def gist_of(self, question):
        return self.gist(question=question).gist if random.random() < 0.5 else "none"
""",
    "with the time": """
    def gist_of(self, question):
        return self.gist(question=f"{question} {time.perf_counter_ns()}").gist
""",
    "by a rule": """
    def gist_of(self, question):
        return self.gist(question=question).gist if len(question) % 2 else "none"
""",
}


@pytest.mark.parametrize("name", KEPT)
def test_a_program_that_keeps_part_of_its_work_is_refused_after_its_first_run(
    name: str, server: ScriptedServer, tmp_path: Path
) -> None:
    path = write(tmp_path, server, Shape(source=HEAD + KEPT[name], changes={"search": {"concurrency": 1}}))
    with pytest.raises(JobError, match=r"did not ask again what the first one asked \(gist\): it keeps answers"):
        offramp.optimize(path)
    assert len(server.requests) == 2


@pytest.mark.parametrize("name", SOUND)
def test_a_program_that_keeps_nothing_runs_and_sends_what_is_counted(
    name: str, server: ScriptedServer, tmp_path: Path
) -> None:
    path = write(tmp_path, server, Shape(source=HEAD + SOUND[name]))
    result = offramp.optimize(path)
    assert result.error is None
    assert result.calls == len(server.requests) > 0
