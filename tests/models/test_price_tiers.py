"""Service tiers and prices of long prompts: what the table lists, and what one reply costs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.calls.estimate import input_tokens, worst_usd
from offramp.models.catalogue import resolve
from offramp.models.table import load_table
from offramp.records import Aggregate, CallRequest, Model, Price, Result, ResultState, Split, Usage
from offramp.space.model import ModelPart
from offramp.store.aggregates import AggregateStore, aggregate_of, priced_by_results
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyDetails

RATES = {
    "input_usd": "input_cost_per_token",
    "cached_input_usd": "cache_read_input_token_cost",
    "cache_write_usd": "cache_creation_input_token_cost",
    "output_usd": "output_cost_per_token",
}
usages = st.builds(
    Usage,
    input_tokens=st.integers(0, 400_000),
    cached_input_tokens=st.integers(0, 200_000),
    cache_write_tokens=st.integers(0, 100_000),
    output_tokens=st.integers(0, 5000),
)
STEPPED = [row for row in load_table().chat_rows() if row.price is not None and row.price.steps]


def facts_of(key: str) -> dict[str, Any]:
    from offramp.models.table import table_path

    return json.loads(table_path().read_text())[key]  # type: ignore[no-any-return]


def brute_force(facts: dict[str, Any], tier: str | None, usage: Usage) -> float:
    """The rule as LiteLLM states it, from the raw row: tier and step, the step, the tier, the plain price."""
    prompt = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
    suffix = "" if tier is None else f"_{tier}"
    steps = {key.split("_above_")[1].split("k_tokens")[0] for key in facts if "k_tokens" in key and "hr_" not in key}
    passed = sorted((int(step) for step in steps if prompt > int(step) * 1000), reverse=True)

    def rate(name: str) -> float | None:
        above = [f"{name}_above_{step}k_tokens{s}" for step in passed for s in (suffix, "")]
        return next((facts[key] for key in (*above, f"{name}{suffix}", name) if key in facts), None)

    read, written = rate(RATES["input_usd"]), rate(RATES["output_usd"])
    assert read is not None and written is not None
    cached, kept = rate(RATES["cached_input_usd"]), rate(RATES["cache_write_usd"])
    return (
        usage.input_tokens * read
        + usage.cached_input_tokens * (read if cached is None else cached)
        + usage.cache_write_tokens * (read if kept is None else kept)
        + usage.output_tokens * written
    )


@pytest.mark.parametrize("name", ["gpt-5.4", "gpt-5", "gemini/gemini-2.5-pro", "gpt-4.1", "o4-mini"])
@given(usage=usages, tier=st.sampled_from([None, "flex", "priority", "batches"]))
def test_a_reply_is_priced_at_its_tier_and_step_as_the_raw_row_says(name: str, usage: Usage, tier: str | None) -> None:
    row, facts = load_table().find(name), facts_of(name)
    assert row is not None and row.price is not None
    price = row.price.for_tier(tier)
    if price is None:
        assert f"input_cost_per_token_{tier}" not in facts
    else:
        assert price.reply_usd(usage) == pytest.approx(brute_force(facts, tier, usage), rel=1e-6, abs=1e-12)


def test_the_installed_table_lists_tiers_and_steps() -> None:
    rows = [row for row in load_table().chat_rows() if row.price is not None]
    tiers = Counter(name for row in rows for name in row.price.tier_names)
    assert tiers["flex"] > 100 and tiers["priority"] > 100 and tiers["batch"] > 100
    assert len(STEPPED) > 100


def test_names_of_tiers_are_read_as_requests_spell_them() -> None:
    price = load_table().find("gpt-5").price
    assert price is not None
    assert all(price.for_tier(name).input_usd == price.input_usd for name in (None, "default", "auto", "standard"))
    assert price.for_tier("flex").input_usd == price.input_usd / 2
    assert price.for_tier("FLEX") == price.for_tier("flex")
    assert price.for_tier("batch") == price.for_tier("batches")
    assert price.for_tier("fast") == price.for_tier("priority")
    assert price.for_tier("ultrafast") is None
    assert load_table().find("claude-sonnet-4-5").price.for_tier("flex") is None


def test_a_range_of_prices_is_a_step_too() -> None:
    price = load_table().find("dashscope/qwen3-coder-flash").price
    assert price is not None
    assert [above for above, _ in price.steps] == [32_000, 128_000, 256_000]
    assert price.at(32_000).input_usd == price.input_usd < price.at(32_001).input_usd


def test_xai_bills_a_step_from_that_length_on() -> None:
    row = next(row for row in STEPPED if row.provider == "xai")
    above = row.price.steps[0][0]
    assert above % 1000 == 999
    assert row.price.at(above + 1).input_usd > row.price.at(above).input_usd


def test_a_price_that_the_user_states_holds_at_any_tier() -> None:
    part = ModelPart(name="openai/gpt-5", price={"input_usd": 1, "output_usd": 2})
    price = resolve(part, "models").price
    assert price == Price(input_usd=1.0, output_usd=2.0)
    assert price.for_tier("ultrafast") == price


def test_a_plain_price_is_stored_as_before_and_tiers_come_back() -> None:
    plain = Price(input_usd=1.0, output_usd=2.0)
    old = {"input_usd": 1.0, "output_usd": 2.0} | dict.fromkeys(
        ("cached_input_usd", "cache_write_usd", "reasoning_usd", "compute_usd_per_hour")
    )
    assert plain.to_json() == old
    stored = StudyDetails(prices={"a": plain, "b": STEPPED[0].price, "c": None}).to_json()
    assert stored["prices"]["a"] == old
    assert StudyDetails.from_json(json.loads(json.dumps(stored))).prices["b"] == STEPPED[0].price
    assert asdict(STEPPED[0].price.flat) == asdict(replace(STEPPED[0].price, steps=(), tiers=()))


def request(tokens: int, **params: Any) -> CallRequest:
    price = load_table().find("gpt-5.4").price
    return CallRequest(
        model=Model(name="m", route="openai/gpt-5.4", price=price, max_output_tokens=128_000),
        messages=({"role": "user", "content": "ab" * tokens},),
        params=params,
    )


def test_a_reservation_covers_the_step_that_the_prompt_may_reach() -> None:
    short, long = request(1000, max_tokens=10), request(300_000, max_tokens=10)
    price = long.price
    assert price is not None
    assert worst_usd(short, 60) == pytest.approx((input_tokens(short) * price.input_usd + 10 * price.output_usd) / 1e6)
    most = Usage(input_tokens=input_tokens(long), output_tokens=10)
    assert worst_usd(long, 60) >= price.reply_usd(most) > 1.5 * price.cost_usd(most)


@given(st.integers(1, 400_000), st.sampled_from([None, "default", "flex", "priority"]), st.integers(0, 100))
def test_no_reply_within_its_bounds_costs_more_than_was_reserved(tokens: int, tier: str | None, share: int) -> None:
    asked = request(tokens, max_tokens=500, **({} if tier is None else {"service_tier": tier}))
    read = input_tokens(asked) * share // 100
    usage = Usage(input_tokens=read // 2, cached_input_tokens=read - read // 2, output_tokens=500)
    assert asked.price is not None
    assert asked.price.reply_usd(usage) <= worst_usd(asked, 60) + 1e-12


STEPS = Price(input_usd=1.0, output_usd=2.0, steps=((1000, Price(input_usd=3.0, output_usd=5.0)),))


def run(example: int, read: int, calls: int = 1) -> Result:
    usage = Usage(input_tokens=read, output_tokens=10)
    return Result(
        candidate="c", example=str(example), state=ResultState.SCORED, score=1.0, cost_usd=0.125, latency_s=1.0,
        usage=usage, calls=calls,
    )  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 2500), st.integers(1, 2)), min_size=1, max_size=20))
def test_a_mean_cost_counts_long_prompts_one_by_one(runs: list[tuple[int, int]]) -> None:
    found = [run(i, read, calls) for i, (read, calls) in enumerate(runs)]
    costs = [0.125 if calls > 1 and read > 1000 else STEPS.reply_usd(Usage(input_tokens=read, output_tokens=10))
             for read, calls in runs]  # fmt: skip
    seen = priced_by_results(aggregate_of(found), STEPS, found)
    assert seen.cost_usd == pytest.approx(sum(costs) / len(costs))


def test_stored_aggregates_of_long_prompts_are_priced_by_their_results(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 's.db'}", create=True) as store:
        for name, reads in (("short", [400, 400, 400]), ("long", [400, 2000])):
            found = [replace(run(i, read), candidate=name) for i, read in enumerate(reads)]
            ResultStore(store).put("s", Split.SEARCH, found)
            AggregateStore(store).put("s", Split.SEARCH, name, aggregate_of(found))
        found = AggregateStore(store).priced("s", Split.SEARCH, {"short": STEPS, "long": STEPS})
    assert found["short"].cost_usd == pytest.approx((400 * 1 + 10 * 2) / 1e6)
    assert found["long"].cost_usd == pytest.approx((400 * 1 + 10 * 2 + 2000 * 3 + 10 * 5) / 2 / 1e6)


def test_an_aggregate_without_tokens_stays_as_it_is() -> None:
    empty = Aggregate(n=0, n_fault=0, n_failed=0, quality=None)
    assert priced_by_results(empty, STEPS, ()).cost_usd is None
