"""A prompt is shown as a diff where the two share enough to be read, and side by side where they do not."""

from __future__ import annotations

import pytest

from offramp.review.candidate_detail import alike

LONG = "You read what a customer wrote and answer with the one label that fits best of billing, shipping and returns."


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (LONG, LONG),
        (LONG, f"{LONG} Answer with the label alone."),
        (LONG, LONG.replace("customer", "client").replace("best", "well")),
        ("Vague.", "Clear."),
        (LONG, f"# Task\n\n{LONG}\n\n" + "Think about each rule before you answer, and about what it is for. " * 6),
    ],
)
def test_prompts_that_share_much_or_are_short_are_a_diff(before: str, after: str) -> None:
    assert alike(before, after) and alike(after, before)


@pytest.mark.parametrize(
    "other",
    [
        "Label the message.",
        "You are a support agent of many years. Decide which team should handle the ticket, and say why it is so.",
        "the label of a customer that wrote what you read and one that fits " * 3,
    ],
)
def test_prompts_that_share_single_words_stand_side_by_side(other: str) -> None:
    """The words that happened to be in both cut the new text into pieces that nobody could read."""
    assert not alike(LONG, other)
