"""Answers of megabytes: scored as a whole, kept cut, and never taken for whole afterwards."""

import hashlib
import json
import tracemalloc

import pytest
import sqlalchemy as sa

from offramp.records import CallReply, Purpose, Result, ResultState, Split, Usage
from offramp.store.engine import open_store
from offramp.store.ledger import CallAttempt, CallStatus, Ledger
from offramp.store.long_texts import MOST_CHARS, cut_result, cut_text, cut_texts, is_cut
from offramp.store.results import ResultStore
from offramp.store.tables import calls
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, run_job, write_space

LONG = "again and again, " * 60_000 + "the end"
SIGNATURE = {"signature": {"inputs": {"message": None}, "outputs": {"label": None}}}


@pytest.fixture
def store(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/offramp.db") as store:
        yield store


def attempt(**changes):
    base = {
        "request_hash": "h", "study": "s", "purpose": Purpose.PROGRAM, "model": "m", "provider": "openai",
        "status": CallStatus.OK, "started_at": "2026-01-01", "usage": Usage(output_tokens=7),
    }  # fmt: skip
    return CallAttempt(**{**base, **changes})


def result(**changes):
    base = {
        "candidate": "c",
        "example": "e",
        "state": ResultState.SCORED,
        "score": 1.0,
        "cost_usd": 0.0,
        "latency_s": 0.1,
    }
    return Result(**{**base, **changes})


@pytest.mark.parametrize("text", ["x" * 2000, "ü" * 1001, "\ud83d" * 1500, "line\n" * 900, "\0" * 1001])
def test_a_long_text_keeps_its_beginning_its_length_and_its_hash(text):
    kept = cut_text(text, 1000)
    sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    assert kept == f"{text[:1000]}\n[cut by offramp: {len(text)} characters, sha256 {sha256}]"


@pytest.mark.parametrize(("shape", "copies"), [(str, 0.5), (lambda text: {"text": text, "tool_calls": []}, 2.5)])
def test_cutting_a_long_answer_makes_few_copies_of_it(store, shape, copies):
    """Each step copied all of it: to scrub, to hash, and to hash again for the ledger."""
    answer, ledger = shape("word " * 2_000_000), Ledger(store, "s")
    tracemalloc.start()
    try:
        ledger.record(attempt(reply_text=answer))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < copies * 10_000_000


@pytest.mark.parametrize("value", ["", "x" * 1000, None, 5, ["a", {"b": "c" * 1000}], {"n": [1.5, None]}])
def test_what_fits_is_the_same_object(value):
    assert cut_texts(value, 1000) is value
    whole = result(outputs={"label": value}, reason="short")
    assert cut_result(whole, 1100) is whole and not is_cut(whole)


@pytest.mark.parametrize("value", ["x" * 1001, ["word"] * 500, {"a": "b" * 2000}, [[1, 2, 3]] * 300])
def test_a_long_output_of_any_type_is_cut_and_known_to_be(value):
    cut = cut_result(result(outputs={"label": value, "short": "kept"}, reason="r" * 1001), 1000)
    assert (
        is_cut(cut) and cut.outputs["short"] == "kept" and len(cut.outputs["label"]) < 1200 and len(cut.reason) < 1200
    )
    assert cut_result(cut, 1200) is cut


@pytest.mark.parametrize("kept", [LONG, {"text": LONG, "tool_calls": [{"id": "1", "name": "f", "arguments": "{}"}]}])
def test_a_cut_answer_is_not_replayed_and_a_later_whole_one_is(store, kept, caplog):
    ledger = Ledger(store, "s", True, 1000)
    ledger.record(attempt(reply_text=kept, request_json={"messages": [{"content": LONG}], "params": {"seed": 1}}))
    ledger.record(attempt(reply_text=kept))
    assert caplog.text.count("was cut in the storage") == 1
    with store.reading() as conn:
        row = conn.execute(sa.select(calls)).first()
    assert row.reply_text["cut"]["chars"] >= len(LONG) and len(row.reply_text["cut"]["sha256"]) == 64
    assert len(json.dumps(row.reply_text)) < 2000 and len(json.dumps(row.request_json)) < 2000
    assert row.request_json["params"] == {"seed": 1} and row.output_tokens == 7
    assert ledger.find("h") is None and ledger.knows("h")
    ledger.record(attempt(reply_text="short"))
    assert ledger.find("h").text == "short"


@pytest.mark.parametrize("text", ["{", '{"cut": 1}', '{"cut":1}', "cut", "x" * 1000])
def test_an_answer_that_looks_like_a_cut_one_is_replayed(store, text):
    ledger = Ledger(store, "s", True, 1000)
    ledger.record(attempt(reply_text=text))
    assert ledger.find("h").text == text


def test_a_job_scores_the_whole_answer_and_keeps_little_of_it(tmp_path, monkeypatch):
    sent = []

    def reply(request):
        sent.append(request.hash)
        usage = Usage(input_tokens=10, output_tokens=10)
        return CallReply(text=LONG, finish_reason="stop", usage=usage, latency_s=0.1)

    answered_by(monkeypatch, FunctionTransport(reply))
    space = write_space(
        tmp_path / "job", task=SIGNATURE, metric={"kind": "contains", "field": "label", "values": ["the end"]},
        splits={"train": 2, "search": 3, "holdout": 2}, search={"sampler": "random", "trials": 2},
    )  # fmt: skip
    done = run_job(space, tmp_path)
    assert {m.search.quality for m in done.report.members} == {1.0}
    assert sum(path.stat().st_size for path in tmp_path.glob("offramp.db*")) < len(sent) * 3 * MOST_CHARS
    with open_store(f"sqlite:///{tmp_path}/offramp.db") as store:
        found = ResultStore(store).all(done.report.study, Split.SEARCH)
    kept = [r for results in found.values() for r in results.values()]
    assert all(is_cut(r) and r.score == 1.0 for r in kept)
    before = len(sent)
    run_job(space, tmp_path)
    assert len(sent) == before  # results are whole in what counts: the same study runs nothing again
