"""The money of the page against the same sums by hand, and the cache of the live page against what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from offramp.records import Split
from offramp.review.library import Library
from offramp.store.aggregates import AggregateStore
from offramp.store.budget import read_budget
from offramp.store.candidates import CandidateStore
from offramp.store.engine import open_store
from offramp.store.studies import StudyStatus, StudyStore
from offramp.study import lookup
from offramp.study.queries import study_rows
from offramp.study.queries.spending import spending
from offramp.study.queries.study_rows import read_report, read_study_rows
from offramp.study.study_report import reweigh

Study = tuple[Path, str]


def test_virtual_and_physical_money_are_the_sums_of_what_is_stored(study: Study) -> None:
    folder, name = study
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        rows = read_study_rows(store, name)
        found, models = spending(store, rows), {row.id: row.candidate.model for row in rows.candidates}
        by_hand = sum(
            rows.scoring.prices[models[candidate]].cost_usd(seen.usage)
            for split in (Split.SEARCH, Split.HOLDOUT)
            for candidate, seen in AggregateStore(store).all(name, split).items()
        )
        assert found.virtual_usd == pytest.approx(by_hand)
        assert found.physical_usd == pytest.approx(sum(found.by_model.values()))
        assert found.physical_usd == pytest.approx(sum(found.by_purpose.values()))
        assert found.budget == read_budget(store, name) and found.budget.spent_usd == pytest.approx(
            found.physical_usd, abs=1e-6
        )
        assert found.failures == {}
        assert read_budget(store, "no such budget") is None


def test_a_model_without_a_price_makes_the_sum_unknown_and_never_less(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = study
    known = study_rows.current_prices
    monkeypatch.setattr(study_rows, "current_prices", lambda *args: {**known(*args), "large": None})
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        found = spending(store, read_study_rows(store, name))
    assert found.virtual_usd is None and found.physical_usd is None and found.by_model["large"] is None


def test_what_was_read_is_kept_until_the_study_changes(study: Study) -> None:
    folder, name = study
    with open_store(lookup.default_storage(folder)) as store:
        library = Library(store)
        first = library.study(name)
        assert library.study(name) is first and library.study(name, {"quality": 1.0}) is not first
        StudyStore(store).update(name, status=StudyStatus.RUNNING)
        again = library.study(name)
        assert again is not first and again.page.row.status is StudyStatus.RUNNING
        StudyStore(store).update(name, status=StudyStatus.FINISHED)


@pytest.mark.parametrize("weights", [{"quality": 1.0}, {"quality": 0.1, "cost": 0.9}, {"latency": 2, "cost": 1}])
def test_weighing_anew_without_reading_says_what_reading_anew_says(study: Study, weights: dict[str, float]) -> None:
    folder, name = study
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        assert reweigh(read_report(store, name), weights) == read_report(store, name, weights=weights)


def test_ids_that_were_read_are_those_of_the_content(study: Study) -> None:
    folder, name = study
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        assert all(row.id == row.candidate.id for row in CandidateStore(store).all(name))
