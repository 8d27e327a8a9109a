"""Candidates with equal requests are one also where the results of the first come from another study."""

from own_programs import transport, write_own
from search_jobs import answered_by, run_job

SETS_IT = """\
import dspy


class Sorter(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("message -> label")

    def forward(self, message):
        return self.sort(message=message, config={"temperature": 0.7})
"""


def test_candidates_with_equal_requests_are_one_also_after_a_start_from_another_study(tmp_path, monkeypatch):
    wire = transport()
    answered_by(monkeypatch, wire)
    models = [{"name": "small", "route": "openai/small", "api_base": "http://127.0.0.1:9/v1",
               "supports": ["temperature", "max_tokens"], "price": {"input_usd": 1.0, "output_usd": 2.0}}]  # fmt: skip
    changes = {
        "models": models,
        "instructions": None,
        "params": {"temperature": {"choices": [0.0, 0.5]}, "max_tokens": 64},
    }
    grid = {"sampler": "grid", "trials": 8, "concurrency": 2}
    old = run_job(write_own(tmp_path, {"program.py": SETS_IT}, search=grid, **changes), tmp_path)
    assert len(old.report.members) == 1 and old.report.members[0].sent
    again = write_own(tmp_path, {"program.py": SETS_IT}, search={**grid, "seed": 9}, **changes)
    for _ in range(2):
        new = run_job(again, tmp_path, from_study=old.report.study)
        assert [m.candidate for m in new.report.members] == [m.candidate for m in old.report.members]
        assert new.report.members[0].sent == old.report.members[0].sent
