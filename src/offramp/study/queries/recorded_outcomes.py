"""The recorded outcomes of a study's candidates, row by row, for rules that choose between candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offramp.errors import UsageError, problem
from offramp.records import Result, Split, price_of
from offramp.store.aggregates import result_usd
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.study.domain.cascade_cells import Cells
from offramp.study.domain.cascade_rule import answer_key, compared_fields
from offramp.study.domain.objectives import reweighted
from offramp.study.domain.paired_comparison import groups_of
from offramp.study.queries.dataset_rows import Dataset, read_dataset
from offramp.study.queries.study_rows import read_study_rows
from offramp.study.study_report import report_of

Found = Mapping[str, Mapping[str, Result]]


def read_cells(
    store: Store, name: str, *, weights: Mapping[str, float] | None = None, space_file: str | Path | None = None
) -> Cells:
    """The outcomes of the candidates with a complete evaluation, on the search split and then on the holdout.

    Raises:
        StorageError: no such study. UsageError: weights that do not fit, or scales that are still open.
    """
    rows = read_study_rows(store, name)
    members = report_of(rows).members
    if any(o.scale is None for o in rows.scoring.objectives) or not members:
        do = "Let `offramp optimize` evaluate some."
        raise UsageError(problem(name, "no candidate has a complete evaluation yet", do=do))
    names = [member.candidate for member in members]
    results = ResultStore(store)
    search, holdout = (results.some(name, split, names) for split in (Split.SEARCH, Split.HOLDOUT))
    dataset = read_dataset(rows.study, space_file)
    examples = [sorted({e for found in part.values() for e in found}) for part in (search, holdout)]
    both = [search, holdout]
    places = [(part, e) for part, listed in enumerate(examples) for e in listed]
    listed = [e for _, e in places]
    prices = {row.id: price_of(row.candidate, rows.scoring.prices) for row in rows.candidates}
    cells = [[both[part].get(c, {}).get(e) for part, e in places] for c in names]
    usd = [
        [None if one is None or one.score is None else result_usd(one, prices.get(c)) for one in line]
        for c, line in zip(names, cells, strict=True)
    ]
    answers = [[_answer(one, dataset) for one in line] for line in cells]
    return Cells(
        source=name,
        candidates=tuple(names),
        params=tuple(member.params for member in members),
        rows=tuple(listed),
        searched=len(examples[0]),
        score=_numbers([[one and one.score for one in line] for line in cells]),
        cost=_numbers(usd),
        latency=_numbers([[one and one.latency_s for one in line] for line in cells]),
        answers=np.array(answers, dtype=object) if any(a is not None for line in answers for a in line) else None,
        compared=tuple(dataset.gold),
        confidence=_known_confidence(cells),
        inputs=_inputs(dataset, listed),
        groups=tuple(groups_of(listed, rows.scoring.groups) or listed),
        objectives=tuple(o for o in reweighted(rows.scoring.objectives, weights) if o.weight > 0),
    )


def _known_confidence(cells: Sequence[Sequence[Result | None]]) -> Any:
    """How sure each run was; None where none says."""
    found = [[one and one.confidence for one in line] for line in cells]
    return _numbers(found) if any(value is not None for line in found for value in line) else None


def _numbers(values: Sequence[Sequence[Any]]) -> Any:
    return np.array([[np.nan if v is None else v for v in line] for line in values], dtype=np.float64)


def _answer(result: Result | None, dataset: Dataset) -> str | None:
    """What the metric compares, as text; all fields but a chain of thought where the dataset is not here."""
    if result is None or result.outputs is None:
        return None
    return answer_key(result.outputs, compared_fields(tuple(dataset.gold), tuple(result.outputs)))


def _inputs(dataset: Dataset, examples: Sequence[str]) -> dict[str, list[Any]]:
    """The task's inputs by column; none where a row of the dataset is not here."""
    if not all(example in dataset.rows for example in examples):
        return {}
    return {name: [dataset.rows[example].get(name) for example in examples] for name in dataset.inputs}
