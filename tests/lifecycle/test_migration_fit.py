"""What a successor does not accept of today's parameters is left out and said, by value; the rest is a plan that runs."""

import datetime

import pytest

from offramp.lifecycle.migration.fit import cut_by_reasoning, fitted, with_room
from offramp.lifecycle.migration.spaces import Raised, _with_room
from offramp.lifecycle.successors import Needs, successors
from offramp.models.acceptance import rejection
from offramp.models.catalogue import resolve
from offramp.models.retirement.dates import load_calendar
from offramp.records import Aggregate
from offramp.space.model import Choices, Fixed, Range

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


@pytest.mark.parametrize(
    ("params", "room", "words"),
    [
        ({"max_tokens": 50}, 4096, "max_tokens raised from 50 to 4146"),
        ({"max_completion_tokens": 8}, 16384, "max_completion_tokens raised from 8 to 16392"),
        ({"temperature": 0.0}, 4096, None),
        ({"max_tokens": 10**9}, 4096, None),
    ],
)
def test_a_cap_is_raised_as_far_as_the_model_writes(params, room, words):
    raised = with_room(resolve("openai/gpt-6-luna", "--to"), params, room)
    assert (raised.words if raised else None) == words


def seen(n_cut, n_cut_reasoning=0):
    return Aggregate(n=10, n_fault=0, n_failed=0, quality=0.0, n_cut=n_cut, n_cut_reasoning=n_cut_reasoning)


@pytest.mark.parametrize(
    ("model", "cut", "right"),
    [
        ("openai/gpt-6-luna", seen(0), False),
        ("openai/gpt-6-luna", seen(None), False),
        ("openai/gpt-6-luna", seen(1), True),
        ("openai/gpt-4.1-mini", seen(9), False),  # it talks, and does not think: the cap is the user's
        ("openai/gpt-4.1-mini", seen(9, 1), True),
    ],
)
def test_only_reasoning_is_a_reason_for_a_higher_cap(model, cut, right):
    assert cut_by_reasoning(resolve(model, "--to"), (cut,)) is right


RAISED = Raised(param="max_tokens", before=50, after=4146)


@pytest.mark.parametrize(
    ("part", "models", "choices"),
    [
        (50, 1, [4146]),
        (50, 2, [50, 4146]),
        (Choices(choices=[50, 100, None]), 1, [None, 4146]),
        (Choices(choices=[50, 8000]), 2, [50, 8000, 4146]),
        (Fixed(value=50, when={"model": ["a"]}), 2, [50, 4146]),
    ],
)
def test_the_search_has_the_raised_cap_among_its_choices(part, models, choices):
    found = _with_room({"max_tokens": part, "temperature": 0.0}, [RAISED], models)
    assert found["max_tokens"].choices == choices and found["temperature"] == 0.0
    assert found["max_tokens"].when == getattr(part, "when", {})


def test_a_range_of_caps_reaches_the_raised_one():
    found = _with_room({"max_tokens": Range(low=10, high=60, step=10)}, [RAISED], 1)
    assert (found["max_tokens"].low, found["max_tokens"].high) == (10, 4146)
