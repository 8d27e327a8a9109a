"""Batches whose submission got no reply, beside others of the same size under the same key: none is sent twice."""

import asyncio
import datetime as dt
import json
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from support_batches import ROUTES, ask_for, model_of

from offramp.calls.failures import InfrastructureError
from offramp.store import tables
from offramp.store.budget import Budget
from offramp.testing.batches import ScriptedBatch

EACH = (10 * 0.5 + 5 * 5.0) / 1e6
NEVER = 10**9
RESULT = (200, json.dumps({"type": "message"}).encode())


pytestmark = pytest.mark.usefixtures("batch_key")


@pytest.fixture
def send(opened, server):
    """Replies or errors to requests of these texts; until `until()` holds, then the process is gone, as if killed."""

    def send(dialect, *texts, until=None):
        caller = opened()

        async def go():
            tasks = [asyncio.ensure_future(caller.send(one)) for one in ask_for(model_of(server, dialect), *texts)]
            while until is not None and not until():
                await asyncio.sleep(0.001)
            if until is not None:
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
            replies = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
            await caller.aclose()
            return replies

        return asyncio.run(go())

    return send


@pytest.fixture
def killed(store, batches, send):
    """Sends requests and is killed before the reply to their submission, which `arrived` at the provider, or not."""

    def killed(dialect, *texts, arrived=True):
        batches.looks, before = NEVER, len(batches.batches)
        send(dialect, *texts, until=lambda: len(batches.batches) > before and batches.batches[-1].looks < NEVER)
        with store.transaction() as conn:
            conn.execute(tables.batch_lines.update().values(remote=None))
        batches.batches[-1].looks, batches.looks = 4, 1
        if not arrived:
            batches.batches.pop()

    return killed


def another(name, count, looks, *, minutes=0):
    """A batch of another job, made so many minutes ago."""
    lines = [(f"{name}-{i}", {}) for i in range(count)]
    made = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
    return ScriptedBatch(f"of-{name}", lines, looks, {}, made, {line: RESULT for line, _ in lines})


def ours(batches):
    return [body for batch in batches.batches if batch.id.startswith("batch-") for _, body in batch.lines]


def paid_once(store, batches, count):
    """Each of so many requests was sent once, and booked at its price."""
    assert len(ours(batches)) == len({json.dumps(body) for body in ours(batches)}) == count
    found = Budget(store, "p").state()
    assert found.spent_usd == pytest.approx(count * EACH, abs=1e-12)
    assert (found.calls, found.reserved_usd, found.assumed_usd) == (count, 0, 0)


def texts_of(replies):
    return [getattr(reply, "text", reply) for reply in replies]


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("dialect", ROUTES)
def test_a_batch_is_told_from_booked_ones_of_its_size(store, batches, send, killed, dialect, arrived):
    send(dialect, "a", "b")
    send(dialect, "c", "d")
    killed(dialect, "e", "f", arrived=arrived)
    assert texts_of(send(dialect, "e", "f")) == ["echo e", "echo f"]
    paid_once(store, batches, 6)


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("looks", [[0], [3], [0, 0], [0, 9], [9, 2, 30]])
@pytest.mark.parametrize("later", [True, False])
def test_a_batch_is_told_from_those_of_other_jobs_even_where_it_has_to_wait_for_them(
    store, batches, send, killed, arrived, looks, later
):
    others = [another(f"other{i}", 2, one) for i, one in enumerate(looks)]
    batches.batches.extend([] if later else others)
    killed("anthropic", "a", "b", arrived=arrived)
    batches.batches.extend(others if later else [])
    assert texts_of(send("anthropic", "a", "b")) == ["echo a", "echo b"]
    paid_once(store, batches, 2)


@pytest.mark.parametrize("status", [500, 504, 200])
@pytest.mark.parametrize("looks", [[], [0], [7], [0, 3]])
def test_a_failure_in_place_of_the_name_of_a_batch_that_was_taken_sends_nothing_twice(
    store, batches, send, status, looks
):
    send("anthropic", "a", "b")
    batches.batches.extend(another(f"other{i}", 2, one) for i, one in enumerate(looks))

    def garble(method, path, was, body):
        return (status, b"{}") if method == "POST" and path.endswith("/batches") else (was, body)

    batches.garble = garble
    assert texts_of(send("anthropic", "c", "d")) == ["echo c", "echo d"]
    paid_once(store, batches, 4)


@pytest.mark.parametrize(("size", "looks"), [(3, NEVER), (1, NEVER)])
def test_nobody_waits_for_a_batch_that_cannot_be_it(store, batches, send, killed, size, looks):
    killed("anthropic", "a", "b", arrived=False)
    batches.batches.append(another("size", size, looks))
    batches.batches.insert(0, another("old", 2, looks, minutes=300))
    assert texts_of(send("anthropic", "a", "b")) == ["echo a", "echo b"]
    paid_once(store, batches, 2)


def test_a_batch_whose_lines_the_provider_no_longer_has_is_booked_as_a_bound(store, batches, send, killed):
    killed("anthropic", "a", "b")
    batches.batches[0].answers.clear()
    assert texts_of(send("anthropic", "a", "b")) == ["echo a", "echo b"]
    assert Budget(store, "p").state().assumed_usd > 0


def paged(batches, size, asked):
    """Makes the list of batches come in pages; the query of each request for one is added to `asked`."""

    def garble(method, path, status, body):
        if method != "GET" or not path.endswith("/batches"):
            return status, body
        query = parse_qs(urlsplit(batches.seen[-1][1]).query)
        asked.append(query)
        listed = json.loads(body)["data"]
        for one in listed:
            made = next(batch.created for batch in batches.batches if batch.id == one["id"])
            one["created_at"] = made.isoformat() if "created_at" in one else int(made.timestamp())
        after = [*query.get("after", []), *query.get("after_id", [])]
        start = next((i + 1 for i, one in enumerate(listed) if [one["id"]] == after), 0)
        page = listed[start : start + size]
        return 200, json.dumps({"data": page, "has_more": start + size < len(listed)}).encode()

    batches.garble = garble


@pytest.mark.parametrize("before", [1, 2, 5])
@pytest.mark.parametrize("dialect", ROUTES)
def test_a_batch_is_found_on_any_page_and_none_before_it_was_written_is_read(
    store, batches, send, killed, dialect, before
):
    batches.batches.extend(another(f"old{i}", 2, 0, minutes=300) for i in range(50))
    killed(dialect, "a", "b")
    batches.batches[-1].looks = 0
    batches.batches.extend(another(f"new{i}", 2, 0) for i in range(2 * before))
    asked = []
    paged(batches, 2, asked)
    assert texts_of(send(dialect, "a", "b")) == ["echo a", "echo b"]
    paid_once(store, batches, 2)
    assert len(asked) == before + 1
    assert all(len(one.get("api-version", [])) == (dialect == "azure") for one in asked)
    killed(dialect, "c", "d", arrived=False)
    asked.clear()
    send(dialect, "c", "d")
    assert len(asked) == before + 2, "older ones are left alone"


@pytest.mark.parametrize("listed", [b"{}", b'{"data": null}', b"", b"[]"])
@pytest.mark.parametrize("dialect", ROUTES)
def test_a_list_that_is_none_does_not_mean_that_a_batch_never_left(store, batches, send, killed, dialect, listed):
    killed(dialect, "a", "b")
    batches.garble = lambda method, path, status, body: (
        (200, listed) if method == "GET" and path.endswith("/batches") else (status, body)
    )
    assert all(isinstance(reply, InfrastructureError) for reply in send(dialect, "a", "b"))
    with store.reading() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(tables.batch_lines)) == 2
    batches.garble = lambda method, path, status, body: (status, body)
    assert texts_of(send(dialect, "a", "b")) == ["echo a", "echo b"]
    paid_once(store, batches, 2)


def test_a_list_that_begins_again_on_each_page_ends(batches, send, killed):
    killed("anthropic", "a", "b", arrived=False)
    batches.batches.append(another("other", 3, 0))

    def garble(method, path, status, body):
        if method == "GET" and path.endswith("/batches"):
            return 200, json.dumps({**json.loads(body), "has_more": True}).encode()
        return status, body

    batches.garble = garble
    assert all(isinstance(reply, InfrastructureError) for reply in send("anthropic", "a", "b"))
    assert not ours(batches)


def test_one_failure_while_it_waits_for_others_is_no_answer(store, batches, send, killed):
    killed("anthropic", "a", "b")
    batches.batches.append(another("other", 2, 6))
    lists = []

    def garble(method, path, status, body):
        if method == "GET" and path.endswith("/batches"):
            lists.append(path)
            return (503, b"{}") if len(lists) % 2 else (status, body)
        return status, body

    batches.garble = garble
    assert texts_of(send("anthropic", "a", "b")) == ["echo a", "echo b"]
    assert len(lists) > 2
    paid_once(store, batches, 2)
