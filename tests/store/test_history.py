"""What the requests of a study took, read as they come."""

from dataclasses import replace

import pytest

from offramp.records import Purpose, Usage
from offramp.store.history import StudyEffort
from offramp.store.ledger import CallAttempt, CallStatus, Ledger

OK = CallAttempt(
    request_hash="h", study="s", purpose=Purpose.JUDGE, model="m", provider="openai", status=CallStatus.OK,
    usage=Usage(input_tokens=100, output_tokens=20), started_at="2030-01-01T00:00:00+00:00", reply_text="yes",
)  # fmt: skip


def test_a_study_without_a_request_took_nothing(store):
    assert StudyEffort(store, "s").so_far() == {}


def test_a_question_counts_once_however_often_it_was_asked(store):
    ledger, effort = Ledger(store, "s"), StudyEffort(store, "s")
    ledger.record(replace(OK, status=CallStatus.RATE_LIMITED, usage=Usage()))
    ledger.record(replace(OK, attempt=2))
    ledger.record(replace(OK, replicate=1))
    ledger.record(replace(OK, status=CallStatus.REFUSED))
    found = effort.so_far()[Purpose.JUDGE]
    assert (found.questions, found.attempts) == (2, 4)
    assert found.usage == {"m": Usage(input_tokens=300, output_tokens=60)}


def test_what_comes_later_is_added_and_other_studies_are_not(store):
    ledger, effort = Ledger(store, "s"), StudyEffort(store, "s")
    Ledger(store, "t").record(replace(OK, study="t"))
    ledger.record(OK)
    effort.so_far()
    ledger.record(replace(OK, model="n", usage=Usage(compute_s=1.5)))
    ledger.record(replace(OK, purpose=Purpose.PROGRAM))
    effort.so_far()
    found = effort.so_far()
    assert {purpose: e.attempts for purpose, e in found.items()} == {Purpose.JUDGE: 2, Purpose.PROGRAM: 1}
    assert found[Purpose.JUDGE].usage["n"].compute_s == pytest.approx(1.5)
    assert found == StudyEffort(store, "s").so_far()
