"""A running job reads its study once: what it decides on, and what it shows, is in memory, and is what the storage says."""

from dataclasses import replace

import pytest
import sqlalchemy as sa
from proposing import Landscape
from proposing import space as proposing_space

from offramp.store.engine import open_store
from offramp.study.queries.study_rows import read_report
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

PART_OF_A_CALL = (
    "from offramp_calls where offramp_calls.request_hash",  # the ledger is asked for each request
    "select offramp_purses.surplus",  # money is reserved for each request
)
OPTUNA = ("from studies", "from trial", "from study_", "from version_info", "from alembic_version")
"""Optuna's own storage looks at its tables whenever a trial is written to it."""


class Reads:
    """Observes a job; notes what the storage was asked between two looks at it.

    Attributes:
        found: the SELECTs from the end of the first trial (which fixes the scales, once for a study) to the last
            snapshot, those of a call and of Optuna left out.
    """

    def __init__(self):
        self.found, self._since, self.looks = [], None, 0

    def __call__(self, progress):
        self.looks += 1
        self.found += self._since or []
        self._since = [] if progress.trials else None

    def note(self, conn, cursor, statement, *rest):
        text = " ".join(statement.lower().split())
        known = any(part in text for part in (*PART_OF_A_CALL, *OPTUNA))
        if self._since is not None and text.startswith("select") and not known:
            self._since.append(statement)


@pytest.fixture
def reads():
    reads = Reads()
    sa.event.listen(sa.Engine, "before_cursor_execute", reads.note)
    yield reads
    sa.event.remove(sa.Engine, "before_cursor_execute", reads.note)


CONSTRAINED = {"regressions": {"max": 0.4, "confidence": 0.9}, "quality_min": 0.1}
JUDGED = {"usd": 5.0, "calls": 5000, "minutes": 500.0}
RACED = {
    "count": 80, "splits": {"train": 6, "search": 60, "holdout": 14}, "search": {"sampler": "random", "trials": 9, "concurrency": 2, "race": {}},
    "incumbent": {"model": "large", "instruction": "clear"}, "constraints": CONSTRAINED, "verify": {"front": True, "probe": 2},
}  # fmt: skip


@pytest.mark.parametrize("limits", [{}, JUDGED])
def test_the_loop_of_a_job_reads_nothing_from_the_storage(tmp_path, monkeypatch, reads, limits):
    """The report was read anew after every trial, and every block read its results."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    result = run_job(write_space(tmp_path, **RACED), tmp_path, observer=reads, **limits)
    assert result.report.stopped and len(result.report.front) > 1, "the job races, and has a front to evaluate"
    assert reads.looks > 100
    assert reads.found == []


def test_a_job_that_resumes_reads_before_its_loop_alone(tmp_path, monkeypatch, reads):
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space = write_space(tmp_path, **RACED)
    run_job(space, tmp_path, trials=4)
    result = run_job(space, tmp_path, observer=reads, **JUDGED)
    assert result.report.trials == 9 and reads.found == []


def test_rounds_of_proposals_read_nothing_either(tmp_path, monkeypatch, reads):
    answered_by(monkeypatch, FunctionTransport(Landscape(lambda kind, request: "Best. Sort it.")))
    result = run_job(proposing_space(tmp_path), tmp_path, observer=reads)
    assert result.report.proposals and reads.found == []


@pytest.mark.parametrize("trials", [3, 6, 9])
def test_the_report_of_a_running_job_is_what_the_storage_says(tmp_path, monkeypatch, trials):
    """Runs to some trials, then on: the report in memory and the one from the storage are one."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space = write_space(tmp_path, **RACED)
    run_job(space, tmp_path, trials=trials)
    result = run_job(space, tmp_path, trials=9)
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}", write_probe=False) as store:
        stored = read_report(store, result.report.study)
    assert replace(result.report, money=None) == stored
