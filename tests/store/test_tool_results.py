"""Results of tools in both databases."""

from __future__ import annotations

from offramp.store.tool_results import ToolResultStore


def test_the_first_result_of_a_key_stays_and_any_text_survives(store) -> None:
    results = ToolResultStore(store)
    results.add("s", "k", "look", '"a\\u0000\\ud800"', 0.5)
    results.add("s", "k", "look", '"later"', 1.5)
    results.add("other", "k", "look", '"x"', 1.0)
    assert results.all("s") == {"k": ('"a\\u0000\\ud800"', 0.5)} and results.all("none") == {}
