"""What a successor does not accept of today's parameters is left out and said, by value; the rest is a plan that runs."""

import datetime

import pytest

from offramp.lifecycle.migration.fit import fitted
from offramp.lifecycle.successors import Needs, successors
from offramp.models.acceptance import rejection
from offramp.models.catalogue import resolve
from offramp.models.retirement.dates import load_calendar

TODAY = {"temperature": 0.0, "max_tokens": 50}


@pytest.mark.parametrize(
    ("model", "kept", "said"),
    [
        ("openai/gpt-4.1-mini", TODAY, None),
        ("openai/gpt-6-luna", {"max_tokens": 50}, "temperature=0.0"),
        ("anthropic/claude-sonnet-5-5", {"max_tokens": 50}, "temperature=0.0"),
        ("openai/gpt-5.4", TODAY, None),
    ],
)
def test_a_config_is_fitted_to_a_model_by_value(model, kept, said):
    target = resolve(model, "--to")
    found, left_out = fitted(target, TODAY)
    assert found == kept
    assert rejection(target, found) is None
    assert [text.split(" ")[0] for text in left_out] == ([said] if said else [])


def test_of_two_values_that_do_not_go_together_the_reasoning_stays():
    kept, left_out = fitted(resolve("openai/gpt-5.4", "--to"), {**TODAY, "reasoning_effort": "high"})
    assert kept == {"max_tokens": 50, "reasoning_effort": "high"}
    assert left_out and left_out[0].startswith("temperature=0.0 (")


def test_the_vendors_own_successor_is_shown_with_what_it_does_not_accept():
    calendar = load_calendar()
    leaves = calendar.retirement("anthropic/claude-sonnet-4-5")
    assert leaves is not None and leaves.successors
    found = successors(
        Needs(route="anthropic/claude-sonnet-4-5", request_params=TODAY), leaves, calendar, datetime.date(2026, 11, 28)
    )
    named = [item for item in found if item.named_by == "vendor"]
    assert named and named[0] == found[0]
    assert named[0].not_sent == ("temperature=0.0",)


def test_every_successor_that_is_shown_accepts_what_is_not_said_to_be_left_out():
    calendar, day = load_calendar(), datetime.date(2026, 11, 28)
    rows = [
        row
        for row in calendar.table.chat_rows()
        if row.retirement_date and row.provider in ("openai", "anthropic", "gemini")
    ]
    for row in rows[::6]:
        for item in successors(
            Needs(route=row.route, request_params=TODAY), calendar.retirement(row.route), calendar, day
        ):
            gone = {text.partition("=")[0] for text in item.not_sent}
            kept = {name: value for name, value in TODAY.items() if name not in gone}
            assert rejection(resolve(item.name, "watch"), kept) is None
