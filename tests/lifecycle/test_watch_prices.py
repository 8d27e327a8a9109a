"""What `watch` says a thousand runs cost: at the service tier that is asked for, by the step that their prompts are in."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from lifecycle_records import in_use
from offramp.lifecycle.in_use import ModelInUse, cost_change, models_of
from offramp.lifecycle.successors import Needs, successors
from offramp.lifecycle.watch_report import look_at
from offramp.models.retirement.dates import Calendar
from offramp.models.table import Table, TableRow
from offramp.promote.promotion import PromotedModel
from offramp.records import Price, Usage
from promotion_records import SPLIT, make_promotion

DAY = datetime.date(2026, 11, 28)
FLAT = Price(input_usd=1.0, output_usd=4.0)
LONG = Price(input_usd=2.0, output_usd=6.0)
FLEX = Price(input_usd=0.5, output_usd=2.0, steps=((200_000, Price(input_usd=1.0, output_usd=3.0)),))
PRICE = replace(FLAT, steps=((200_000, LONG),), tiers=(("flex", FLEX),))


def row(key: str, price: Price) -> TableRow:
    return TableRow(
        key=key, provider=key.split("/")[0], mode="chat", price=price, context_tokens=10_000_000,
        max_output_tokens=8000, retirement_date=None, supports_json_schema=True, supports_reasoning=False,
        openai_params=None,
    )  # fmt: skip


def table(*rows: TableRow) -> Table:
    by = {item.key: item for item in rows}
    return Table(by_key=by, by_route=by, version="a table")


TABLE = table(row("openai/leaving", PRICE), row("openai/next", PRICE), row("openai/untiered", FLAT))


def used(prompt: int, **changes: Any) -> ModelInUse:
    """A thousand runs of one request each with so many prompt tokens, a tenth of them from a cache."""
    cached = prompt // 10
    usage = Usage(input_tokens=(prompt - cached) * 1000, cached_input_tokens=cached * 1000, output_tokens=100_000)
    facts = {"usage_1k": usage, "price_then": FLAT, "measured_usd_1k": 123.0, "request_params": {}}
    return in_use("openai/leaving", **{**facts, **changes})


@pytest.mark.parametrize(
    ("prompt", "tier", "now"),
    [
        (1000, None, 1.0 + 0.4),
        (200_000, None, 200 + 0.4),
        (200_001, None, 400.002 + 0.6),
        (300_000, "default", 600 + 0.6),
        (1000, "flex", 0.5 + 0.2),
        (300_000, "flex", 300 + 0.3),
        (1000, "priority", None),
    ],
)
def test_the_cost_now_is_that_of_the_tier_and_of_the_step_of_a_long_prompt(
    prompt: int, tier: str | None, now: float | None
) -> None:
    found = cost_change(used(prompt, service_tier=tier), TABLE)
    assert found.now_usd_1k == (None if now is None else pytest.approx(now))


def test_the_cost_then_of_long_prompts_is_what_was_measured() -> None:
    """A promotion keeps the price of short prompts: against that a long prompt would look more expensive than it was."""
    assert cost_change(used(1000), TABLE).then_usd_1k == pytest.approx(1.4)
    long = cost_change(used(300_000, measured_usd_1k=600.6), TABLE)
    assert long.then_usd_1k == 600.6 and not long.changed
    assert cost_change(used(300_000, measured_usd_1k=None), TABLE).ratio is None


def test_the_requests_of_a_run_share_its_prompt_tokens() -> None:
    two = cost_change(used(300_000, requests_per_run=2), TABLE)
    assert two.now_usd_1k == pytest.approx(300 + 0.4) and two.then_usd_1k == pytest.approx(300 + 0.4)


def test_a_promotion_tells_its_requests_and_what_was_measured() -> None:
    other = PromotedModel(name="openai/next", route="openai/next")
    promotion = make_promotion(fallbacks=(other,), instructions={"a": "A.", "b": "B."})
    first, second = models_of(promotion, "production")
    assert (first.requests_per_run, second.requests_per_run) == (2, 2)
    assert SPLIT.cost_usd is not None and first.measured_usd_1k == pytest.approx(SPLIT.cost_usd * 1000)
    assert second.measured_usd_1k is None


@pytest.mark.parametrize(
    ("prompt", "params", "ratio"),
    [
        (1000, {}, {"openai/next": 1.0, "openai/untiered": 1.0}),
        (300_000, {}, {"openai/next": 1.0, "openai/untiered": 300.4 / 600.6}),
        (1000, {"service_tier": "flex"}, {"openai/next": 1.0, "openai/untiered": 1.4 / 0.7}),
        (300_000, {"service_tier": "flex"}, {"openai/next": 1.0, "openai/untiered": 300.4 / 300.3}),
    ],
)
def test_successors_are_priced_at_the_same_tier_and_step(
    prompt: int, params: dict[str, Any], ratio: dict[str, float]
) -> None:
    calendar = Calendar(notices=(), table=TABLE, policies=(), snapshots={})
    row = look_at(
        used(prompt, request_params=params, service_tier=params.get("service_tier")), calendar, DAY, always=True
    )
    found = {item.name: item.price_ratio for item in row.successors}
    assert found == {name: pytest.approx(value) for name, value in ratio.items() if name in found} and found


def test_needs_without_a_measured_usage_are_priced_as_short_prompts() -> None:
    calendar = Calendar(notices=(), table=TABLE, policies=(), snapshots={})
    found = successors(Needs(route="openai/leaving", cost_usd_1k=1.35), None, calendar, DAY)
    assert found and all(item.price_ratio == pytest.approx(1.0) for item in found)
