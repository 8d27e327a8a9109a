"""What the requests of a study took, read as they come."""

from dataclasses import replace

import pytest

from offramp.records import Purpose, Usage
from offramp.store.ledger import CallAttempt, CallStatus, Ledger, StudyEffort

OK = CallAttempt(
    request_hash="h", study="s", purpose=Purpose.JUDGE, model="m", provider="openai", status=CallStatus.OK,
    usage=Usage(input_tokens=100, output_tokens=20), started_at="2030-01-01T00:00:00+00:00", reply_text="yes",
)  # fmt: skip


def test_a_study_without_a_request_took_nothing(store):
    assert StudyEffort().read(store, "s").by_purpose == {}


def test_a_question_counts_once_however_often_it_was_asked(store):
    ledger = Ledger(store, "s")
    ledger.record(replace(OK, status=CallStatus.RATE_LIMITED, usage=Usage()))
    ledger.record(replace(OK, attempt=2))
    ledger.record(replace(OK, replicate=1))
    ledger.record(replace(OK, status=CallStatus.REFUSED))
    found = StudyEffort().read(store, "s").by_purpose[Purpose.JUDGE]
    assert (found.questions, found.attempts) == (2, 4)
    assert found.usage == {"m": Usage(input_tokens=300, output_tokens=60)}


def test_what_comes_later_is_added_in_memory_as_the_ledger_has_it_and_other_studies_are_not(store):
    ledger = Ledger(store, "s")
    Ledger(store, "t").record(replace(OK, study="t"))
    ledger.record(OK)
    effort = StudyEffort().read(store, "s")
    for later in (
        replace(OK, model="n", usage=Usage(compute_s=1.5)), replace(OK, purpose=Purpose.PROGRAM, replicate=2),
        replace(OK, purpose=Purpose.PROGRAM, status=CallStatus.RATE_LIMITED, usage=Usage()),
        replace(OK, purpose=Purpose.PROGRAM),
    ):  # fmt: skip
        ledger.record(later)
        effort.add(later)
    found = effort.by_purpose
    assert {purpose: e.attempts for purpose, e in found.items()} == {Purpose.JUDGE: 2, Purpose.PROGRAM: 3}
    assert found[Purpose.JUDGE].usage["n"].compute_s == pytest.approx(1.5)
    assert found == StudyEffort().read(store, "s").by_purpose
