from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.records import Price, Purpose, Usage
from offramp.store.engine import open_store
from offramp.store.ledger import ESTIMATED, CallAttempt, CallStatus, Ledger, priced, typical_calls

USAGE = Usage(input_tokens=100, cached_input_tokens=40, cache_write_tokens=10, output_tokens=20, reasoning_tokens=5)
OK = CallAttempt(
    request_hash="h",
    study="s",
    purpose=Purpose.PROGRAM,
    model="m",
    provider="openai",
    status=CallStatus.OK,
    usage=USAGE,
    latency_s=0.7,
    queue_s=3.0,
    started_at="2030-01-01T00:00:00+00:00",
    request_json={"messages": []},
    reply_text="yes",
    finish_reason="stop",
    attempt=2,
)


def test_an_answer_is_found_again_with_its_own_latency_and_tokens(store):
    ledger = Ledger(store, "s")
    ledger.record(OK)
    reply = ledger.find("h")
    assert reply is not None
    assert (reply.text, reply.latency_s, reply.usage, reply.cached, reply.attempt) == ("yes", 0.7, USAGE, True, 2)
    assert reply.queue_s == 0.0


def test_an_answer_paid_for_by_another_study_answers_too_and_the_earliest_wins(store):
    Ledger(store, "a").record(replace(OK, study="a", reply_text="first"))
    Ledger(store, "b").record(replace(OK, study="b", reply_text="second"))
    found = Ledger(store, "c").find("h")
    assert found is not None and found.text == "first"


def test_a_failed_attempt_answers_nothing(store):
    ledger = Ledger(store, "s")
    ledger.record(replace(OK, status=CallStatus.TIMED_OUT, reply_text=None))
    assert ledger.find("h") is None and ledger.find("other") is None


def test_an_empty_answer_is_an_answer(store):
    ledger = Ledger(store, "s")
    ledger.record(replace(OK, reply_text=""))
    found = ledger.find("h")
    assert found is not None and found.text == ""


def test_where_texts_are_not_kept_nothing_of_them_is_in_the_database(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/x.db") as store:
        ledger = Ledger(store, "s", store_text=False)
        secret = "very-private-words"
        ledger.record(replace(OK, reply_text=secret, request_json={"messages": [secret]}, error=f"Refused: {secret}"))
        assert ledger.find("h") is None
        assert ledger.totals().calls == 1
    assert all(b"very-private" not in file.read_bytes() for file in tmp_path.iterdir())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec=None), max_size=30))
def test_any_text_a_model_may_answer_comes_back_unchanged(store, text):
    ledger = Ledger(store, "s")
    key = str(abs(hash(text)))
    ledger.record(replace(OK, request_hash=key, reply_text=text, error=text, finish_reason=text))
    found = ledger.find(key)
    assert found is not None and found.text == text


def test_a_billed_refusal_is_found_and_a_free_one_is_not(store):
    ledger = Ledger(store, "s")
    ledger.record(replace(OK, status=CallStatus.REFUSED, usage=Usage(), reply_text=None))
    assert ledger.find_refusal("h") is None
    ledger.record(replace(OK, status=CallStatus.REFUSED, reply_text=None, error="Refused: no"))
    found = ledger.find_refusal("h")
    assert found is not None and (found.error, found.usage) == ("Refused: no", USAGE)


def test_totals_count_one_study_by_model_and_purpose(store):
    ledger = Ledger(store, "s")
    for attempt in (OK, OK, replace(OK, purpose=Purpose.JUDGE), replace(OK, study="other"),
                    replace(OK, status=CallStatus.SERVER_FAILED, usage=Usage()),
                    replace(OK, status=CallStatus.REFUSED, usage=Usage())):  # fmt: skip
        ledger.record(attempt)
    totals = ledger.totals()
    assert totals.calls == 5
    assert totals.usage[("m", Purpose.PROGRAM)] == USAGE + USAGE
    assert totals.usage[("m", Purpose.JUDGE)] == USAGE


def test_an_unknown_study_has_totals_of_zero(store):
    totals = Ledger(store, "s").totals()
    assert (totals.calls, dict(totals.usage)) == (0, {})


def test_tokens_are_priced_when_read_so_a_new_price_reprices_an_old_study(store):
    ledger = Ledger(store, "s")
    ledger.record(OK)
    price = Price(input_usd=1, cached_input_usd=0.1, cache_write_usd=2, output_usd=10, reasoning_usd=20)
    expected = (100 * 1 + 40 * 0.1 + 10 * 2 + 20 * 10 + 5 * 20) / 1e6
    assert priced(ledger.totals(), {"m": price}).usd == pytest.approx(expected)
    assert priced(ledger.totals(), {"m": replace(price, output_usd=20)}).usd == pytest.approx(expected + 200 / 1e6)


def test_an_unknown_price_makes_sums_unknown_and_never_zero(store):
    ledger = Ledger(store, "s")
    ledger.record(OK)
    ledger.record(replace(OK, model="n", purpose=Purpose.JUDGE))
    totals = priced(ledger.totals(), {"m": Price(input_usd=1, output_usd=1)})
    assert totals.usd is None
    assert totals.by_model["m"] is not None and totals.by_purpose[Purpose.JUDGE] is None


def test_seconds_of_computing_are_summed_and_priced(store):
    ledger = Ledger(store, "s")
    for _ in range(2):
        ledger.record(replace(OK, usage=Usage(input_tokens=5, compute_s=1.5)))
    assert priced(ledger.totals(), {"m": Price(compute_usd_per_hour=1.2)}).usd == pytest.approx(0.001)


def test_an_attempt_joins_a_transaction_and_goes_with_it(store):
    ledger = Ledger(store, "s")
    with pytest.raises(KeyError), store.transaction() as conn:
        ledger.record_many(conn, [OK])
        raise KeyError
    assert ledger.find("h") is None


@pytest.mark.parametrize(
    ("billed", "tokens"),
    [
        (lambda size: 100 + size / 4, 350.0),  # a prompt of its own
        (lambda size: 0.6 * size, 600.0),  # another script
        (lambda size: size / 10, 100.0),
    ],
)
@pytest.mark.parametrize("sizes", [range(100, 800, 40), [400] * 9])
def test_what_a_prompt_is_billed_at_is_read_from_those_of_the_ledger(store, billed, tokens, sizes):
    for size in sizes:
        request = {"messages": [{"role": "user", "content": "x" * size}]}
        Ledger(store, "s").record(replace(OK, usage=Usage(input_tokens=round(billed(size))), request_json=request))
    prompt = typical_calls(store)["m"].prompt
    assert prompt is not None
    if len(set(sizes)) > 1 or tokens != 600:
        assert prompt.tokens(1000) == pytest.approx(tokens, rel=0.02)
    assert prompt.tokens(400) == pytest.approx(billed(400), rel=0.02)


def test_prompts_that_were_cut_or_not_kept_say_nothing_about_what_is_billed(store):
    Ledger(store, "s", store_text=False).record(OK)
    Ledger(store, "s", most_chars=50).record(
        replace(OK, request_json={"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 900}]}]})
    )
    found = typical_calls(store)["m"]
    assert found.n == 2 and found.prompt is None


def test_answers_whose_tokens_nobody_counted_are_counted_by_model(store):
    Ledger(store, "s").record(replace(OK, error=f"{ESTIMATED}: the reply named no tokens"))
    Ledger(store, "s", store_text=False).record(replace(OK, error=f"{ESTIMATED}: the reply named no tokens"))
    Ledger(store, "s").record(OK)
    Ledger(store, "s").record(replace(OK, model="other"))
    assert Ledger(store, "s").estimated_answers() == {"m": (2, 3)}
