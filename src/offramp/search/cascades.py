"""`offramp cascades`: rules that choose between candidates, scored from a study or a recorded table without a call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from offramp.errors import UsageError, problem
from offramp.records import Objective, Split
from offramp.search.replay.reading import OUTCOMES
from offramp.search.replay.run import WEIGHTS
from offramp.search.replay.table import RecordedTable, read_table
from offramp.stats.pareto import Floats
from offramp.study.domain.cascade_cells import Cells
from offramp.study.domain.cascade_report import CascadeReport, cascade_report, rule_to_run
from offramp.study.domain.objectives import reweighted
from offramp.study.lookup import full_name, open_looking
from offramp.study.queries.recorded_outcomes import read_cells

TABLES = (".parquet", ".csv")


def cascades(
    source: str | Path, *, weights: Mapping[str, float] | None = None, seed: int = 0, storage: str | None = None,
    results: str | Path = "results", space_file: str | Path | None = None, save: str | Path | None = None,
    kind: str | None = None,
) -> CascadeReport:  # fmt: skip
    """Cascades of two and three models, and routers, over the candidates of a study or of a recorded table.

    Args:
        source: a study's name, or the path of a Parquet or CSV table as `offramp replay` takes it.
        weights: by `quality`, `cost`, `latency`; the study's own by default, for a table those of a space file that
            states none.
        seed: of the folds.
        space_file: where the study's space file is now, if it was moved.
        save: a file to write the rule to, for `offramp.load_cascade`; only of a study.
        kind: of the rule that is written; the one that is chosen by default.

    Raises:
        UsageError: too few candidates or rows, or an option that cannot be used. DatasetError: not a table.
    """
    path = Path(source)
    if path.suffix.lower() in TABLES:
        if save is not None:
            what = "a table has no programs that a rule could run"
            raise UsageError(problem("--save", what, got=path.name, do="Name a study."))
        return cascade_report(table_cells(path, weights), seed)
    with open_looking(storage, results) as store:
        name = full_name(store, str(source))
        cells = read_cells(store, name, weights=weights, space_file=space_file)
    report = cascade_report(cells, seed)
    if save is not None:
        text = rule_to_run(cells, report, kind).to_text()
        try:
            Path(save).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(problem(str(save), f"cannot be written ({error.strerror})")) from None
    return report


def table_cells(path: Path, weights: Mapping[str, float] | None = None) -> Cells:
    """The cells of a table. What comes before the first `:` of an example's id, where that repeats, is an input."""
    splits = read_table(path)
    search, holdout = splits[Split.SEARCH], splits.get(Split.HOLDOUT)
    parts = [search] if holdout is None else [search, holdout]
    keys = [repr(dict(params)) for params in search.pool]
    rows = [name for part in parts for name in part.examples]
    score, cost, latency = (np.concatenate([_values(p, keys, i) for p in parts], axis=1) for i in range(3))
    named = dict(zip(OUTCOMES, WEIGHTS, strict=True))
    default = tuple(Objective(name=named[o], weight=WEIGHTS[named[o]]) for o in search.outcomes)
    answers = [_aligned(p, keys, p.answers, None, object) for p in parts]
    sure = [_aligned(p, keys, p.confidence, np.nan, np.float64) for p in parts]
    return Cells(
        source=path.name,
        candidates=tuple(", ".join(f"{k}={v}" for k, v in params.items() if v is not None) for params in search.pool),
        params=search.pool,
        rows=tuple(rows),
        searched=len(search.examples),
        score=score,
        cost=cost,
        latency=latency,
        answers=None if search.answers is None else np.concatenate(answers, axis=1),
        confidence=None if search.confidence is None else np.concatenate(sure, axis=1),
        inputs=_inputs(parts, rows),
        groups=tuple(rows),
        objectives=tuple(o for o in reweighted(default, weights) if o.weight > 0),
    )


def _values(table: RecordedTable, keys: list[str], outcome: int) -> Floats:
    """Shape (candidates, rows): one of OUTCOMES, NaN where the table has none."""
    known = OUTCOMES[outcome] in table.outcomes
    values = table.values[:, :, table.outcomes.index(OUTCOMES[outcome])] if known else None
    found: Floats = _aligned(table, keys, values, np.nan, np.float64)
    return found


def _aligned(table: RecordedTable, keys: list[str], values: Any, empty: Any, kind: Any) -> Any:
    """Rows of a table's values in the order of `keys`; `empty` for a candidate that this split lacks."""
    found = np.full((len(keys), len(table.examples)), empty, dtype=kind)
    at = {repr(dict(params)): i for i, params in enumerate(table.pool)}
    for row, key in enumerate(keys):
        if values is not None and key in at:
            found[row] = values[at[key]]
    return found


def _inputs(parts: list[RecordedTable], rows: list[str]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for part in parts for name in part.inputs)
    found = {n: [v for p in parts for v in p.inputs.get(n, (None,) * len(p.examples))] for n in names}
    sources = [row.partition(":")[0] for row in rows]
    if all(":" in row for row in rows) and 1 < len(set(sources)) <= len(rows) / 3:
        found["example_id before ':'"] = sources
    return found
