"""Many tasks write together: each has its own result, none has it before it is stored, and nobody fails for another."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from offramp.errors import JobError
from offramp.records import Purpose, Result, ResultState, Split, Usage
from offramp.store.budget import Budget, BudgetExceeded, Settlement
from offramp.store.engine import open_store
from offramp.store.ledger import CallAttempt, CallStatus, Ledger
from offramp.store.results import ResultStore
from offramp.store.tables import calls

OK = CallAttempt(
    request_hash="h", study="s", purpose=Purpose.PROGRAM, model="m", provider="p", status=CallStatus.OK,
    usage=Usage(input_tokens=1, output_tokens=1), started_at="2026-01-01", reply_text="yes",
)  # fmt: skip


def gathered(*jobs):
    async def go():
        return await asyncio.gather(*(job() for job in jobs), return_exceptions=True)

    return asyncio.run(go())


def test_reservations_made_together_keep_the_cap_and_the_first_come_first(store):
    budget = Budget(store, "p", cap_usd=1.0)
    made = gathered(*(lambda usd=usd: store.groups.do(budget.reserve_many, (usd, 1)) for usd in (0.5, 0.4, 0.3, 0.1)))
    assert [isinstance(one, BudgetExceeded) for one in made] == [False, False, True, False]
    assert budget.state() == budget.seen
    assert (round(budget.state().reserved_usd, 9), budget.state().reserved_calls) == (1.0, 3)


@pytest.mark.parametrize("cap", [0, 3, 40])
def test_a_cap_of_calls_holds_for_forty_at_once(store, cap):
    budget = Budget(store, "p", cap_calls=cap)
    made = gathered(*(lambda: store.groups.do(budget.reserve_many, (0.01, 1)) for _ in range(40)))
    assert sum(not isinstance(one, Exception) for one in made) == cap
    assert budget.state().reserved_calls == cap


def test_bills_booked_together_are_the_sum_of_each_alone(store):
    one, other = Budget(store, "one", cap_usd=1.0), Budget(store, "other", cap_usd=1.0)
    bills = [(0.1, False), (0.25, True), (None, False), (0.0, False), (0.02, False)]
    held = [one.reserve(0.1) for _ in bills]
    done = [Settlement(h, usd, assumed) for h, (usd, assumed) in zip(held, bills, strict=True)]
    told = gathered(*(lambda one_done=each: store.groups.do(one.settle_many, one_done) for each in done))
    for usd, assumed in bills:
        reserved = other.reserve(0.1 if other.state().surplus == 1.0 else 0.04)
        other.release(reserved) if usd is None else other.settle(reserved, usd, assumed=assumed)
    assert told == [True] * 5
    assert replace(one.state(), surplus=0) == replace(other.state(), surplus=0)
    assert one.state().surplus == 2.5 and one.state() == one.seen


def test_one_reservation_settled_twice_at_once_is_booked_once(store):
    budget = Budget(store, "p")
    held = budget.reserve(0.1)
    told = gathered(*(lambda: store.groups.do(budget.settle_many, Settlement(held, 0.1)) for _ in range(3)))
    assert sorted(told) == [False, False, True]
    assert (budget.state().calls, budget.state().spent_usd) == (1, 0.1)


def test_a_result_is_there_once_another_connection_can_read_it(store):
    results, seen = ResultStore(store), []

    async def keep(n):
        result = Result(
            candidate=f"c{n % 3}", example=f"e{n}", state=ResultState.SCORED, score=1.0, cost_usd=0.0, latency_s=0.1
        )
        await store.groups.do(results.put_many, ("s", Split.SEARCH, result))
        seen.append(f"e{n}" in results.get("s", Split.SEARCH, f"c{n % 3}"))

    gathered(*(lambda n=n: keep(n) for n in range(30)))
    assert seen == [True] * 30


def test_answers_and_refusals_are_found_together_each_its_own(store):
    ledger = Ledger(store, "s")
    for number, status in enumerate((CallStatus.REFUSED, CallStatus.OK, CallStatus.OK, CallStatus.TIMED_OUT)):
        ledger.record(replace(OK, request_hash="both", status=status, reply_text=f"{number}"))
    ledger.record(replace(OK, request_hash="refused", status=CallStatus.REFUSED, reply_text=None))
    ledger.record(replace(OK, request_hash="free", status=CallStatus.REFUSED, usage=Usage(), reply_text=None))
    asked = ("both", "refused", "free", "never", "both")
    found = gathered(*(lambda h=h: store.groups.do(ledger.find_many, h, reads=True) for h in asked))
    assert [getattr(one, "text", getattr(one, "status", None)) for one in found] == [
        "1", CallStatus.REFUSED, None, None, "1"
    ]  # fmt: skip
    assert found[0] == ledger.find("both") and found[1] == ledger.find_refusal("refused")


@pytest.mark.parametrize("bad", range(5))
def test_a_job_that_cannot_be_written_takes_no_other_with_it(store, bad):
    def add(conn, rows):
        conn.execute(calls.insert(), rows)
        return [lambda: "added"] * len(rows)

    ledger = Ledger(store, "s")
    rows = [ledger._row(replace(OK, request_hash=f"h{n}")) for n in range(5)]
    rows[bad] = {**rows[bad], "study": None}
    told = gathered(*(lambda row=row: store.groups.do(add, row) for row in rows))
    assert [isinstance(one, sa.exc.IntegrityError) for one in told] == [n == bad for n in range(5)]
    assert [ledger.find(f"h{n}") is None for n in range(5)] == [n == bad for n in range(5)]


def test_a_storage_that_fails_fails_each_job_once(store):
    tried = []

    def lost(conn, arguments):
        tried.append(len(arguments))
        raise JobError("the storage was lost")

    told = gathered(*(lambda: store.groups.do(lost, None) for _ in range(6)))
    assert [str(one) for one in told] == ["the storage was lost"] * 6
    assert sum(tried) == 6


def test_event_loops_after_one_another_and_threads_share_the_writer(store):
    budget = Budget(store, "p")

    def use():
        gathered(*(lambda: store.groups.do(budget.reserve_many, (0.0, 1)) for _ in range(5)))

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    use()
    assert budget.state().reserved_calls == 20


def test_what_was_handed_over_is_written_before_the_storage_closes(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"

    async def go():
        with open_store(url) as store:
            budget = Budget(store, "p")
            tasks = [asyncio.ensure_future(store.groups.do(budget.reserve_many, (0.0, 1))) for _ in range(5)]
            await asyncio.sleep(0)
        return tasks

    asyncio.run(go())
    with open_store(url) as store:
        assert Budget(store, "p").state().reserved_calls == 5


KILLED = """
import asyncio, sys
from offramp.store.engine import open_store
from offramp.store.budget import Budget

async def go(store):
    budget = Budget(store, "p")
    async def one():
        while True:
            made = await store.groups.do(budget.reserve_many, (0.0, 1))
            sys.stdout.write(made.id + "\\n"); sys.stdout.flush()
    await asyncio.gather(*(one() for _ in range(16)))

with open_store(sys.argv[1]) as store:
    asyncio.run(go(store))
"""


def test_what_was_reported_survives_kill_9(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    child = subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True)
    told = [child.stdout.readline().strip() for _ in range(200)]
    os.kill(child.pid, signal.SIGKILL)
    told += [line.strip() for line in child.stdout if line.endswith("\n")]
    child.wait()
    with open_store(url) as store, store.reading() as conn:
        kept = set(conn.scalars(sa.text("select id from offramp_reservations")))
    assert set(told) <= kept
