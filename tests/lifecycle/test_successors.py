"""Successors can do what is asked, live longer, and are few; checked on the real table for many models."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from lifecycle_records import in_use
from offramp.lifecycle.successors import MARGIN_DAYS, MOST, Needs, successors
from offramp.lifecycle.watch_report import look_at, watch_models
from offramp.models.names import SPECIAL, UNSETTLED, family, generation, stem, without_region, words
from offramp.models.retirement.dates import Basis, Calendar, Retirement, load_calendar
from offramp.records import Price

DAY = datetime.date(2026, 11, 25)


def leaves(day: str = "2027-01-14", *named: str, basis: Basis = Basis.TABLE) -> Retirement:
    return Retirement(date=datetime.date.fromisoformat(day), basis=basis, successors=named)


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return load_calendar()


def test_for_every_dated_model_successors_are_few_able_and_live_longer(calendar: Calendar) -> None:
    """A sample of the real table, with every need at once."""
    for row in [row for row in calendar.table.chat_rows() if row.retirement_date and row.provider != "local"][::25]:
        gone = calendar.retirement(row.route)
        assert gone is not None
        needs = Needs(route=row.route, context_tokens=30_000, json_schema=True, request_params={"temperature": 0.0})
        found = successors(needs, gone, calendar, DAY)
        assert len(found) <= MOST and len({stem(without_region(item.name)) for item in found}) == len(found)
        until = max(gone.date, DAY) + datetime.timedelta(days=MARGIN_DAYS)
        for item in found:
            known = calendar.table.by_route[item.name]
            assert known.chat and known.supports_json_schema
            assert known.context_tokens is None or known.context_tokens >= 30_000
            assert item.retirement_date is None or item.retirement_date > until.isoformat()
            assert stem(item.name) != stem(row.route)
            assert not (words(item.name) - words(row.route)) & (SPECIAL | UNSETTLED)


def test_what_the_vendor_names_comes_first_and_one_s_own_notice_before_it(calendar: Calendar) -> None:
    row = next(
        row
        for row in calendar.table.chat_rows()
        if row.successor and (other := calendar.table.find(row.successor)) and other.takes_sampling_params
        and other.retirement_date is None and other.price and not words(other.route) & (SPECIAL | UNSETTLED)
    )  # fmt: skip
    needs = Needs(route=row.route)
    first = successors(needs, leaves("2027-01-14", row.successor), calendar, DAY)[0]
    assert (first.name, first.named_by) == (calendar.table.find(row.successor).route, "vendor")
    notice = leaves("2027-01-14", row.successor, basis=Basis.NOTICE)
    assert successors(needs, notice, calendar, DAY)[0].named_by == "notice"


def test_the_same_provider_comes_before_others_and_others_keep_some_room(calendar: Calendar) -> None:
    providers = [item.provider for item in successors(Needs(route="openai/gpt-4o"), leaves(), calendar, DAY)]
    assert providers[0] == "openai" and providers == sorted(providers, key=lambda name: name != "openai")
    assert any(name != "openai" for name in providers)


def test_a_key_in_the_environment_decides_whose_models_are_offered(
    calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "unused")
    found = successors(Needs(route="openai/gpt-4o"), leaves(), calendar, DAY)
    others = [item for item in found if item.provider != "openai"]
    assert others and all(item.provider == "mistral" and item.callable_now for item in others)


def test_a_price_ratio_is_that_of_the_tokens_given_and_unknown_without_a_price_before(calendar: Calendar) -> None:
    needs = Needs(route="openai/gpt-4o", cost_usd_1k=1.0)
    for item in successors(needs, leaves(), calendar, DAY):
        assert item.price is not None and item.price_ratio == pytest.approx(item.price.cost_usd(needs.usage_1k))
    assert {item.price_ratio for item in successors(replace(needs, cost_usd_1k=None), leaves(), calendar, DAY)} == {
        None
    }


def test_a_need_that_nobody_meets_gives_none(calendar: Calendar) -> None:
    assert successors(Needs(route="openai/gpt-4o", context_tokens=10**9), leaves(), calendar, DAY) == () or all(
        item.context_tokens is None
        for item in successors(Needs(route="openai/gpt-4o", context_tokens=10**9), leaves(), calendar, DAY)
    )


def test_an_embedded_model_is_followed_by_embedded_ones_the_named_first_and_none_that_goes(tmp_path: Path) -> None:
    path = tmp_path / "l.yaml"
    path.write_text("schema_version: 1\nretirements:\n  - {model: local/gemma-3-270m, retires: 2027-01-02}\n")
    named = leaves("2026-11-01", "local/qwen2.5-coder-0.5b", basis=Basis.NOTICE)
    found = successors(Needs(route="local/smollm2-135m"), named, load_calendar(path), DAY)
    assert [(item.name, item.named_by) for item in found] == [("local/qwen2.5-coder-0.5b", "notice")]


@pytest.mark.parametrize("leaving", ["openai/gpt-4o", "local/smollm2-135m"])
def test_a_named_successor_that_the_table_lacks_is_shown_first_as_unknown(calendar: Calendar, leaving: str) -> None:
    """It was left out without a word."""
    first, *rest = successors(Needs(route=leaving), leaves("2027-01-14", "mid", basis=Basis.NOTICE), calendar, DAY)
    assert (first.name, first.named_by, first.in_table, first.callable_now) == ("mid", "notice", False, False)
    assert (first.price, first.price_ratio, first.context_tokens) == (None, None, None)
    assert rest and len(rest) < MOST and all(item.in_table for item in rest)


def test_an_embedded_model_named_for_a_vendors_and_the_other_way_round(calendar: Calendar) -> None:
    named = leaves("2027-01-14", "local/smollm2-135m", basis=Basis.NOTICE)
    first = successors(Needs(route="openai/gpt-4o"), named, calendar, DAY)[0]
    assert (first.name, first.named_by, first.callable_now) == ("local/smollm2-135m", "notice", True)
    row = calendar.table.aliases["claude-sonnet-latest"]
    named = leaves("2027-01-14", row.route, basis=Basis.NOTICE)
    first = successors(Needs(route="local/smollm2-135m"), named, calendar, DAY)[0]
    assert (first.name, first.named_by) == (row.route, "notice")


def test_a_named_successor_is_found_by_an_alias_or_another_spelling(calendar: Calendar) -> None:
    row = calendar.table.aliases["claude-sonnet-latest"]
    for spelled in ("claude-sonnet-latest", row.route.replace("/", ":"), f"openrouter/{row.route}"):
        named = leaves("2027-01-14", spelled, basis=Basis.NOTICE)
        first = successors(Needs(route="openai/gpt-4o"), named, calendar, DAY)[0]
        assert (first.name, first.named_by) == (row.route, "notice")


def test_no_row_for_tuned_models_is_offered_in_place_of_a_tuned_one(calendar: Calendar) -> None:
    route = "openai/ft:gpt-4o-mini-2024-07-18"
    assert all("ft:" not in item.name for item in successors(Needs(route=route), leaves(), calendar, DAY))


def test_watch_names_unknown_successors_in_a_note(tmp_path: Path) -> None:
    path = tmp_path / "lifecycle.yaml"
    path.write_text("schema_version: 1\nretirements:\n  - {model: gpt-4o, retires: 2026-12-01, successors: [mid]}\n")
    report = watch_models([in_use("openai/gpt-4o")], load_calendar(path), today=DAY)
    assert report.rows[0].successors[0].name == "mid" and not report.to_json()["models"][0]["successors"][0]["in_table"]
    [note] = report.notes
    assert note.startswith("mid, which your notice names in place of openai/gpt-4o, is not in the table")


@pytest.mark.parametrize(
    "route", ["bedrock/converse/anthropic.claude-sonnet-5", "bedrock/eu-central-1/anthropic.claude-sonnet-5"]
)
def test_models_of_the_same_family_that_are_not_older_come_first(calendar: Calendar, route: str) -> None:
    """In place of a Claude on Bedrock, `ai21.j2-mid-v1` was offered first."""
    used = in_use(route, price_then=Price(input_usd=1.0, output_usd=2.0))
    found = look_at(used, calendar, DAY, always=True).successors
    follows = [family(item.name) == "claude" and generation(item.name) >= (5,) for item in found]
    assert follows[0] and follows == sorted(follows, reverse=True)


@pytest.mark.parametrize(
    ("route", "word", "numbers"),
    [
        ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude", (4, 5)),
        ("openrouter/anthropic/claude-3.5-haiku", "claude", (3, 5)),
        ("openai/gpt-4o-2024-08-06", "gpt", (4,)),
        ("groq/llama-3.3-70b-versatile", "llama", (3, 3)),
        ("mistral/mistral-large-latest", "mistral", ()),
    ],
)
def test_family_and_version_are_read_from_a_name(route: str, word: str, numbers: tuple[int, ...]) -> None:
    assert (family(route), generation(route)) == (word, numbers)
