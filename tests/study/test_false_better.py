"""How often a report calls a candidate better though 20 as good as the incumbent were looked at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offramp.records import Candidate, DemoKind, Objective, Price, Result, ResultState, Split, Usage
from offramp.store.aggregates import AggregateStore, aggregate_of
from offramp.store.candidates import CandidateRow, CandidateState, CandidateStore
from offramp.store.engine import Store, open_store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyDetails, StudyRow, StudyStore
from offramp.study.domain.paired_comparison import compare_paired, holm_corrected
from offramp.study.queries.study_rows import read_report

SPACE = """{"schema_version": 1, "name": "equals", "task": {"signature": "text -> label: Literal['a', 'b']"},
"dataset": {"path": "gone.jsonl"}, "metric": {"kind": "exact", "field": "label"},
"models": [{"name": "m", "route": "openai/m", "price": {"input_usd": 1.0, "output_usd": 2.0}}],
"instructions": {"one": "Label the text."}}"""
PRICES = {"m": Price(input_usd=1.0, output_usd=2.0)}
LEVEL, CANDIDATES = 0.05, 20


def zero_one(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return (rng.random(size) < 0.7).astype(float)


def tenths(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return rng.beta(4, 2, size).round(1)


def kept(store: Store, study: str, scores: np.ndarray) -> list[str]:
    """A study with these scores on the holdout, the incumbent's first. Each is a little cheaper and a little worse on the
    search split than the one before, so that all are on the front."""
    made = [_candidate(i) for i in range(len(scores))]
    objectives = (Objective(name="quality", weight=1.0, scale=(0, 1)), Objective(name="cost", weight=1.0, scale=(1, 0)))
    StudyStore(store).create_or_get(
        StudyRow(
            name=study,
            space_name="equals",
            space_json=SPACE,
            space_hash="",
            task_hash="",
            seed=0,
            details=StudyDetails(objectives=objectives, incumbent=made[0].id, prices=PRICES),
        )
    )
    for number, (one, row) in enumerate(zip(made, scores, strict=True)):
        CandidateStore(store).put(study, CandidateRow(candidate=one, number=number, state=CandidateState.COMPLETE))
        for split, found in ((Split.SEARCH, [1.0 - number / 100]), (Split.HOLDOUT, row.tolist())):
            results = [_result(one.id, f"{split}-{i}", score, 1000 - number) for i, score in enumerate(found)]
            ResultStore(store).put(study, split, results)
            AggregateStore(store).put(study, split, one.id, aggregate_of(results))
    return [one.id for one in made]


def _candidate(number: int) -> Candidate:
    return Candidate(
        params={"temperature": number / 100}, model="m", module="predict", adapter="plain", constrained=False,
        instructions={"main": "Label the text."}, demo_kind=DemoKind.NONE, demo_count=0, demo_seed=0,
        request_params={"temperature": number / 100},
    )  # fmt: skip


def _result(candidate: str, example: str, score: float, tokens: int) -> Result:
    return Result(
        candidate=candidate, example=example, state=ResultState.SCORED, score=score, cost_usd=None, latency_s=1.0,
        usage=Usage(input_tokens=tokens), calls=1,
    )  # fmt: skip


def any_better(scores: np.ndarray) -> bool:
    return any(one.better for one in holm_corrected([compare_paired(row, scores[0]) for row in scores[1:]]))


def test_a_report_judges_as_the_simulation_does(tmp_path: Path) -> None:
    scores = zero_one(np.random.default_rng(2), (CANDIDATES + 1, 60))
    scores[5] = 1.0  # one that is better
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        ids = kept(store, "equals-0", scores)
        members = {m.candidate: m for m in read_report(store, "equals-0").members}
    expected = holm_corrected([compare_paired(row, scores[0]) for row in scores[1:]])
    for id, simulated in zip(ids[1:], expected, strict=True):
        judged = members[id].against_incumbent
        assert judged.p_corrected == pytest.approx(simulated.p_corrected)
        assert (judged.better, judged.worse) == (simulated.better, simulated.worse)
    assert [one.better for one in expected].count(True) == 1


@pytest.mark.parametrize("n", [5, 20, 60])
@pytest.mark.parametrize("family", [zero_one, tenths])
def test_of_20_as_good_as_the_incumbent_one_is_called_better_no_more_often_than_stated(family: Any, n: int) -> None:
    rng, repeats = np.random.default_rng(n), 150
    wrong = sum(any_better(family(rng, (CANDIDATES + 1, n))) for _ in range(repeats))
    assert wrong / repeats <= LEVEL + 2 * math.sqrt(LEVEL * (1 - LEVEL) / repeats)
