"""The one composition: what it opens it closes, whoever else works on the study keeps what is theirs, and Ctrl-C stops it."""

import asyncio
import os
import signal
import time

import pytest
import sqlalchemy as sa

from offramp.errors import JobError, MetricError
from offramp.job.clock import Clock, Interrupted, TimeIsUp, Timing
from offramp.job.resolve import resolve_job
from offramp.job.session import Caps, open_session
from offramp.records import Split
from offramp.search import api
from offramp.space.load import load_space
from offramp.store.budget import Budget, read_budget
from offramp.store.engine import open_store
from offramp.store.owners import current_owner
from offramp.store.studies import StudyStore
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, at_once, reply_to, run_job, write_space

STUDY = "landscape-1"


class Closing(FunctionTransport):
    """The landscape; notes that it was closed."""

    closed = False

    async def aclose(self):
        self.closed = True


class Hanging(FunctionTransport):
    """Never answers; notes each request that was cut off."""

    def __init__(self):
        super().__init__(reply_to)
        self.cut_off = 0

    async def send(self, request, attempt=1):
        self.requests.append(request)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cut_off += 1
            raise


class Interrupting(FunctionTransport):
    """The landscape; sends this process Ctrl-C with each of the given requests."""

    def __init__(self, *at):
        super().__init__(reply_to)
        self.at = at

    async def send(self, request, attempt=1):
        reply = await super().send(request, attempt)
        if len(self.requests) in self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return reply


@pytest.fixture
def job(tmp_path):
    return resolve_job(load_space(write_space(tmp_path)))


@pytest.fixture
def store(tmp_path):
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        yield store


def opened(job, store, transport, clock=None, **changes):
    return open_session(
        job, store=store, study=STUDY, clock=clock or Clock(timing=Timing(sleep=at_once)), transport=transport,
        **{"caps": Caps(budget=STUDY), "concurrency": 2, **changes},
    )  # fmt: skip


def free(store):
    """Whether nobody holds the study's lease."""
    studies = StudyStore(store)
    studies.release(studies.acquire_lease(STUDY, current_owner()))
    return True


async def evaluate(session, job):
    return await session.evaluator.evaluate(job.incumbent, job.task.splits.search, split=Split.SEARCH)


@pytest.mark.parametrize("error", [None, JobError("no"), KeyError("bug")])
def test_on_every_way_out_the_transport_the_lease_and_the_signals_are_given_back(job, store, error):
    transport = Closing(reply_to)
    before = signal.getsignal(signal.SIGTERM)

    async def run():
        async with opened(job, store, transport) as session:
            assert (await evaluate(session, job)).n == 10
            assert session.stats().calls == 10 and session.spent_usd() > 0
            with pytest.raises(JobError, match="is being run by"):
                free(store)
            if error is not None:
                raise error

    if error is None:
        asyncio.run(run())
    else:
        with pytest.raises(type(error)):
            asyncio.run(run())
    assert transport.closed and free(store)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_signal_to_a_child_that_a_program_forks_ends_the_child_and_not_the_run(job, store):
    async def run():
        async with opened(job, store, FunctionTransport(reply_to)) as session:
            there, here = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(here, b"x")
                time.sleep(5)  # noqa: ASYNC251 (the child)
                os._exit(0)
            os.read(there, 1)
            os.kill(child, signal.SIGTERM)  # as a pool of processes does when it is left
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            return status, (await evaluate(session, job)).n

    assert asyncio.run(run()) == (signal.SIGTERM, 10)


def test_what_cannot_be_run_as_written_is_a_failed_job_once_a_model_was_asked(job, store):
    transport = FunctionTransport(reply_to)

    async def run(asks):
        async with opened(job, store, transport) as session:
            if asks:
                await evaluate(session, job)
            raise MetricError("m.py: score: it raised KeyError")

    with pytest.raises(MetricError) as before:
        asyncio.run(run(asks=False))
    assert before.value.exit_code == 2 and transport.requests == []
    for sent in (10, 10):  # the second time the ledger answers
        with pytest.raises(JobError, match=r"m\.py: score: it raised KeyError") as after:
            asyncio.run(run(asks=True))
        assert after.value.exit_code == 1 and len(transport.requests) == sent
        assert isinstance(after.value.__cause__, MetricError)


def test_who_finds_the_study_taken_leaves_the_budget_as_it_is(job, store):
    lease = StudyStore(store).acquire_lease(STUDY, current_owner())
    Budget(store, STUDY, 1.0, 7)

    async def run():
        async with opened(job, store, FunctionTransport(reply_to), caps=Caps(budget=STUDY, usd=99.0)):
            raise AssertionError("it is taken")

    with pytest.raises(JobError, match="is being run by"):
        asyncio.run(run())
    state = read_budget(store, STUDY)
    assert (state.cap_usd, state.cap_calls) == (1.0, 7)
    StudyStore(store).release(lease)


def test_extra_caps_come_on_top_of_what_was_spent_before(job, store):
    async def calls(caps):
        async with opened(job, store, FunctionTransport(reply_to), caps=caps) as session:
            await evaluate(session, job)
            return session.budget.state().cap_calls

    assert asyncio.run(calls(Caps(budget="a", calls=20, extra=True))) == 20
    assert asyncio.run(calls(Caps(budget="a", calls=20, extra=True))) == 30


def test_a_session_without_caps_answers_from_the_ledger_and_writes_nothing(job, store, tmp_path, monkeypatch):
    answered_by(monkeypatch, FunctionTransport(reply_to))
    study = run_job(write_space(tmp_path), tmp_path).report.study
    written = []

    def note(conn, cursor, statement, *rest):
        if not statement.lstrip().upper().startswith(("SELECT", "BEGIN", "PRAGMA")):
            written.append(statement)

    async def run():
        with open_store(f"sqlite:///{tmp_path / 'offramp.db'}", write_probe=False) as looking:
            sa.event.listen(sa.Engine, "before_cursor_execute", note)
            try:
                async with open_session(job, store=looking, study=study) as session:
                    program = await session.evaluator.program(job.incumbent)
                    kept = await program.run(job.task.splits.search[0])
                    unknown = await program.run(job.task.splits.train[0])
                    assert kept.outputs is not None and unknown.outputs is None
                    assert (session.recorded.asked, session.recorded.unknown) == (2, 1)
                    with pytest.raises(JobError):
                        session.caller  # noqa: B018
            finally:
                sa.event.remove(sa.Engine, "before_cursor_execute", note)

    asyncio.run(run())
    assert written == []


def test_the_first_interruption_lets_what_is_in_flight_come_back(job, store):
    transport = Interrupting(3)

    async def run():
        async with opened(job, store, transport, concurrency=1) as session:
            await evaluate(session, job)

    with pytest.raises(Interrupted, match="to continue"):
        asyncio.run(run())
    assert len(transport.requests) == 3 and free(store)


def test_the_second_interruption_cuts_off_what_is_in_flight(job, store):
    transport = Hanging()
    clock = Clock(timing=Timing(sleep=at_once))

    async def run():
        async with opened(job, store, transport, clock, concurrency=1) as session:
            evaluating = asyncio.ensure_future(evaluate(session, job))
            while not transport.requests:
                await asyncio.sleep(0)
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            await evaluating

    with pytest.raises(Interrupted, match="stopped at once"):
        asyncio.run(run())
    assert transport.cut_off == 1 and free(store)


def test_a_request_that_hangs_is_cut_off_when_the_time_is_up(job, store):
    transport = Hanging()
    clock = Clock(minutes=1e-3, timing=Timing(now=lambda: 0.0, sleep=at_once, grace_s=0.01))

    async def run():
        async with opened(job, store, transport, clock) as session:
            await evaluate(session, job)

    with pytest.raises(TimeIsUp):
        asyncio.run(run())
    assert transport.cut_off == len(transport.requests) and free(store)


def test_a_verification_does_not_outlast_its_minutes_by_a_request_that_hangs(tmp_path, monkeypatch):
    answered_by(monkeypatch, FunctionTransport(reply_to))
    study = run_job(write_space(tmp_path, verify={"front": False}), tmp_path).report.study
    for asked in ({"probe": 0}, {"probe": 3}):  # the rest of the front on the holdout, then timed runs alone
        transport = Hanging()
        timing = Timing(now=lambda: 0.0, sleep=at_once, grace_s=0.01)
        done = api.verify(study, results=tmp_path, minutes=1e-3, transport=transport, timing=timing, **asked)
        assert done.stopped == "minutes" and done.failed_calls <= transport.cut_off
        api.verify(study, results=tmp_path, probe=0, transport=FunctionTransport(reply_to))
