"""Whole jobs in processes that are killed with SIGKILL between two commits, then run again.

Each job is forked from this process, so that a run takes a second. What the next run may not do is told by the
database as the kill left it: no request whose answer is there is sent again.
"""

import json
import multiprocessing
import sqlite3
from contextlib import closing

import optuna  # noqa: F401 - loaded before the fork, once for all jobs
import pytest

from offramp.study import lookup
from search_jobs import essence, job_that_dies, trials_of, write_space

FORK = multiprocessing.get_context("fork")
NEVER = 10**9
NANO = 10**9
CONCURRENCY = 2


class Jobs:
    """Runs of one space in one results folder. `more`: arguments of `job_that_dies`."""

    def __init__(self, folder, space, **more):
        self.more = more
        self.folder, self.space, self.log, self.out = folder, space, folder / "sent.log", folder / "out.json"
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, commits=NEVER, sends=0, **more):
        """One run; True where it came to its end and was not killed before."""
        args = (self.space, self.folder, self.log, commits, self.out)
        job = FORK.Process(target=job_that_dies, args=args, kwargs={"sends": sends, **self.more, **more})
        job.start()
        job.join()
        assert job.exitcode in (0, -9), f"the job ended with {job.exitcode}"
        return job.exitcode == 0

    @property
    def storage(self):
        return f"sqlite:///{self.folder / 'offramp.db'}"

    @property
    def result(self):
        return json.loads(self.out.read_text())

    def sent(self):
        return self.log.read_text().split() if self.log.exists() else []

    def read(self, query):
        """Rows of the database; none where the job was killed before it had the table."""
        path = self.folder / "offramp.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as conn:
            try:
                return conn.execute(query).fetchall()
            except sqlite3.OperationalError:
                return []

    def answered(self):
        return {row[0] for row in self.read("SELECT request_hash FROM offramp_calls WHERE status = 'ok'")}


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    return write_space(tmp_path_factory.mktemp("job"), splits={"train": 4, "search": 6, "holdout": 4},
                       search={"sampler": "tpe", "trials": 7, "concurrency": CONCURRENCY})  # fmt: skip


@pytest.fixture(scope="module")
def whole(space, tmp_path_factory):
    """The run that nobody kills."""
    jobs = Jobs(tmp_path_factory.mktemp("whole"), space)
    assert jobs.run()
    return jobs


def same_study(jobs, whole):
    assert essence(jobs.result) == essence(whole.result)
    name = whole.result["study"]
    assert trials_of(jobs.storage, name) == trials_of(whole.storage, name)
    report = lookup.pareto(name, storage=jobs.storage).to_json()
    assert (report["front"], report["recommended"]) == (whole.result["front"], whole.result["recommended"])


def books_balance(jobs, kills, in_flight=CONCURRENCY):
    """Every answer is booked once; what no answer is known of is booked as assumed; nothing stays reserved."""
    answers = "SELECT request_hash, COUNT(*) FROM offramp_calls WHERE status = 'ok' GROUP BY request_hash"
    assert {count for _, count in jobs.read(answers)} == {1}
    [(spent, assumed, reserved, calls)] = jobs.read(
        "SELECT spent_nano, assumed_nano, reserved_nano, calls FROM offramp_purses"
    )
    assert reserved == 0
    assert jobs.read("SELECT COUNT(*) FROM offramp_reservations") == [(0,)]
    assert len(jobs.sent()) <= calls <= len(jobs.sent()) + in_flight * kills
    return spent / NANO, assumed / NANO


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9])
def test_a_job_killed_at_any_commit_ends_with_the_same_study_and_pays_for_no_answer_twice(
    tmp_path, space, whole, share
):
    jobs = Jobs(tmp_path, space)
    assert not jobs.run(commits=1 + int(share * (whole.result["commits"] - 1)))
    before, had = len(jobs.sent()), jobs.answered()
    assert jobs.run()
    again = jobs.sent()[before:]
    assert not had & set(again)
    assert len(set(again)) == len(again)
    same_study(jobs, whole)
    spent, assumed = books_balance(jobs, kills=1)
    assert spent - assumed == pytest.approx(whole.result["spent_usd"], abs=1e-9)


def test_a_job_killed_again_and_again_gets_to_its_end(tmp_path, space, whole):
    jobs, kills = Jobs(tmp_path, space), 0
    while True:
        before, had = len(jobs.sent()), jobs.answered()
        ended = jobs.run(commits=30 + 7 * (kills % 3))
        assert not had & set(jobs.sent()[before:])
        if ended:
            break
        kills += 1
        assert kills < 60, "the job does not get on"
    assert kills >= 3
    same_study(jobs, whole)
    spent, assumed = books_balance(jobs, kills)
    assert spent - assumed == pytest.approx(whole.result["spent_usd"], abs=1e-9)


def test_a_killed_job_can_be_looked_at_and_says_what_it_has(tmp_path, space, whole):
    jobs = Jobs(tmp_path, space)
    assert not jobs.run(commits=int(0.6 * whole.result["commits"]))
    [row] = lookup.studies(storage=jobs.storage)
    assert row.name == whole.result["study"]
    report = lookup.pareto("latest", storage=jobs.storage)
    assert 0 < report.trials < whole.result["trials"]


def test_requests_in_flight_at_the_kill_are_booked_as_spent_in_full(tmp_path, space, whole):
    jobs = Jobs(tmp_path, space)
    assert not jobs.run(sends=20)
    reserved = sum(nano for (nano,) in jobs.read("SELECT nano FROM offramp_reservations")) / NANO
    assert reserved > 0
    assert jobs.run()
    spent, assumed = books_balance(jobs, kills=1)
    assert assumed == pytest.approx(reserved)
    assert jobs.result["study_money"]["assumed_usd"] == pytest.approx(reserved)
    assert jobs.result["study_money"]["spent_usd"] == pytest.approx(spent)


# --------------------------------------------------------------------------------------------- many in flight

IN_FLIGHT = 64
WAVES = "SELECT number, content FROM offramp_waves ORDER BY number"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A job that races a whole space, some candidates of which could be stopped by those that are complete later."""
    return write_space(
        tmp_path_factory.mktemp("crowded"), count=60, splits={"train": 6, "search": 40, "holdout": 14},
        search={"trials": 50, "concurrency": IN_FLIGHT},
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(crowded, tmp_path_factory):
    """The run that nobody kills."""
    jobs = Jobs(tmp_path_factory.mktemp("undisturbed"), crowded, order=0)
    assert jobs.run()
    return jobs


@pytest.mark.parametrize("sends", [(101,), (50, 30, 1)])
def test_a_job_killed_with_many_in_flight_ends_with_the_same_study_and_asks_again_only_for_what_was_in_flight(
    tmp_path, crowded, undisturbed, sends
):
    jobs, lost = Jobs(tmp_path, crowded), 0
    for order, more in enumerate((*sends, NEVER), start=1):
        before, had = len(jobs.sent()), jobs.answered()
        assert jobs.run(sends=before + more, order=order) == (more == NEVER)
        again = jobs.sent()[before:]
        assert not had & set(again) and len(set(again)) == len(again)
        lost += len(set(again) - jobs.answered())
    assert 0 < lost <= IN_FLIGHT * len(sends)
    assert len(jobs.sent()) == len(undisturbed.sent()) + lost
    assert sorted(set(jobs.sent())) == sorted(undisturbed.sent())
    same_study(jobs, undisturbed)
    assert jobs.read(WAVES) == undisturbed.read(WAVES)
    books_balance(jobs, len(sends), IN_FLIGHT)


@pytest.mark.parametrize("ends", [3, 7, 12])
def test_a_job_killed_between_the_ends_of_two_candidates_stops_nobody_that_it_would_not_have_stopped(
    tmp_path, crowded, undisturbed, ends
):
    jobs = Jobs(tmp_path, crowded)
    assert not jobs.run(ends=ends, order=1)
    assert jobs.run(order=2)
    same_study(jobs, undisturbed)
    assert jobs.read(WAVES) == undisturbed.read(WAVES)
