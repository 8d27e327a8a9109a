"""What is named in place of a model: by the team's own notice, by the vendor, and on from one that has retired itself."""

import datetime

import pytest

from offramp.models.retirement.dates import Calendar
from offramp.models.retirement.notices import Notice
from offramp.models.retirement.replacements import replacements
from offramp.models.table import load_table
from offramp.records import Model

TODAY = datetime.date(2026, 11, 28)


def calendar(*notices):
    return Calendar(notices=tuple(Notice(**one) for one in notices), table=load_table(), policies=(), snapshots={})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("azure/o1", ("azure/gpt-5.6-sol",)),
        ("azure/gpt-4.1-mini", ("azure/gpt-5.4-mini",)),
        ("anthropic/claude-sonnet-4-5", ("anthropic/claude-sonnet-5-5",)),
        ("local/unheard-of", ()),
    ],
)
def test_the_vendors_successor_is_named_as_a_space_file_has_it(name, expected):
    assert replacements(Model(name=name, route=name), calendar=calendar(), today=TODAY) == expected


def test_ones_own_notice_goes_first_and_a_successor_that_has_retired_gives_its_own():
    known = calendar(
        {"model": "mine", "retires": "2026-01-01", "successors": ["second", "azure/gpt-4.1"]},
        {"model": "second", "retires": "2026-02-01", "successors": ["third", "mine"]},
        {"model": "third", "retires": "2027-02-01"},
    )
    assert replacements(Model(name="mine", route="openai/mine"), calendar=known, today=TODAY) == (
        "azure/gpt-4.1",
        "third",
    )


def test_a_circle_of_retired_models_names_nobody():
    known = calendar(
        {"model": "a", "retires": "2026-01-01", "successors": ["b"]},
        {"model": "b", "retires": "2026-02-01", "successors": ["a"]},
    )
    assert replacements(Model(name="a", route="openai/a"), calendar=known, today=TODAY) == ()
