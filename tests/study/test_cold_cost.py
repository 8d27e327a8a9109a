"""The cost of a run with the provider's prompt cache as measured, and cold."""

import pytest

from offramp.records import Price, Result, ResultState, Usage
from offramp.store.aggregates import aggregate_of, priced_by_results
from offramp.study.wording import cold_notes

PRICE = Price(input_usd=10.0, cached_input_usd=1.0, cache_write_usd=12.5, output_usd=20.0)


def seen(usage, price=PRICE, n=4):
    results = [
        Result(candidate="c", example=f"e{i}", state=ResultState.SCORED, score=1.0, cost_usd=None, latency_s=1.0,
               usage=usage, calls=1)
        for i in range(n)
    ]  # fmt: skip
    return priced_by_results(aggregate_of(results), price, results)


def test_cached_tokens_are_priced_as_uncached_and_writes_as_billed():
    found = seen(Usage(input_tokens=100, cached_input_tokens=900, cache_write_tokens=200, output_tokens=10))
    assert found.cost_usd == pytest.approx((100 * 10 + 900 * 1 + 200 * 12.5 + 10 * 20) / 1e6)
    assert found.cost_cold_usd == pytest.approx((1000 * 10 + 200 * 12.5 + 10 * 20) / 1e6)
    (note,) = cold_notes(found)
    assert "cold cost $12.70 per 1,000 runs (2.8\u00d7 the measured $4.60)" in note and "75% of the prompt" in note


@pytest.mark.parametrize(
    ("usage", "price"),
    [
        (Usage(input_tokens=1000, output_tokens=10), PRICE),
        (Usage(input_tokens=10_000, cached_input_tokens=10, output_tokens=10), PRICE),
        (Usage(input_tokens=100, cached_input_tokens=900), Price(input_usd=10.0, output_usd=20.0)),
        (Usage(input_tokens=100, cached_input_tokens=900, compute_s=1.0), Price(compute_usd_per_hour=1.0)),
    ],
)
def test_without_a_discount_that_matters_nothing_is_said(usage, price):
    found = seen(usage, price)
    assert found.cost_cold_usd == pytest.approx(found.cost_usd, rel=0.05) and cold_notes(found) == []


def test_a_long_prompt_is_cold_at_the_price_of_its_step():
    step = Price(input_usd=20.0, cached_input_usd=2.0, output_usd=40.0)
    price = Price(input_usd=10.0, cached_input_usd=1.0, output_usd=20.0, steps=((200_000, step),))
    found = seen(Usage(input_tokens=50_000, cached_input_tokens=200_000, output_tokens=10), price)
    assert found.cost_usd == pytest.approx((50_000 * 20 + 200_000 * 2 + 10 * 40) / 1e6)
    assert found.cost_cold_usd == pytest.approx((250_000 * 20 + 10 * 40) / 1e6)


def test_an_unknown_price_has_no_cold_cost():
    assert seen(Usage(input_tokens=1, cached_input_tokens=9), None).cost_cold_usd is None
