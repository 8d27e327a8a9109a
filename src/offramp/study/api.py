"""The verbs on a study that is there, as functions, for the command line and for programs alike. None makes a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.errors import UsageError, problem
from offramp.store.engine import Store, open_store
from offramp.store.studies import StudyRow, StudyStore
from offramp.study.report import StudyReport, build_report

if TYPE_CHECKING:
    from offramp.study.compare import Comparison


def default_storage(results: Path) -> str:
    """The storage URL of a results folder."""
    return f"sqlite:///{results / 'offramp.db'}"


def pareto(study: str, *, storage: str | None = None, results: str | Path = "results",
           weights: Mapping[str, float] | None = None, pick: str | None = None) -> StudyReport:  # fmt: skip
    """A study's front, weighed anew without a call.

    Args:
        study: its name, or the beginning of it where that names one study.
        pick: a way to choose (see `offramp.study.recommend`); the choice is in `picked`.

    Raises:
        UsageError: no such study, weights that do not fit, or no such way to choose.
    """
    from offramp.study.recommend import choose

    with open_looking(storage, results) as store:
        report = build_report(store, full_name(store, study), weights=weights)
        return report if pick is None else replace(report, picked=choose(store, report, pick))


def compare(study: str, a: str, b: str = "incumbent", *, storage: str | None = None,
            results: str | Path = "results", **options: Any) -> Comparison:  # fmt: skip
    """Two candidates of a study example by example: who wins where, and whether the difference is real.

    Args:
        study: its name, or the beginning of it where that names one study.
        a, b: recommended, knee, incumbent, `trial N`, or the beginning of a candidate's id.
        options: `split`, `by`, `margin`, `confidence`, `space_file`, as `offramp.study.compare.compare` takes them.

    Raises:
        UsageError: no such study or candidate, nothing in common, or slices without the dataset.
    """
    from offramp.study.compare import compare as compared

    with open_looking(storage, results) as store:
        return compared(store, full_name(store, study), a, b, **options)


def studies(*, storage: str | None = None, results: str | Path = "results") -> tuple[StudyRow, ...]:
    """The studies of a storage, the newest first."""
    with open_looking(storage, results) as store:
        return StudyStore(store).list()


def open_looking(storage: str | None, results: str | Path) -> Store:
    """The storage, opened to look at; nothing is created."""
    return open_store(storage or default_storage(Path(results)), write_probe=False)


def full_name(store: Store, study: str) -> str:
    """The one study whose name is, or begins with, `study`; the newest for `latest`; `study` itself for no hit.

    The name of a space goes before the beginning of a name: `triage` is no study of `triage-v2`.

    Raises:
        UsageError: it is blank, or begins several names.
    """
    refuse_blank("study", study)
    rows = StudyStore(store).list()
    if study == "latest" and rows:
        return rows[0].name
    names = [row.name for row in rows]
    hits = [row.name for row in rows if row.space_name == study] or [name for name in names if name.startswith(study)]
    if study in names or not hits:
        return study
    if len(hits) > 1:
        do = "Write more of the name; the newest is the first."
        raise UsageError(problem("study", "names several", got=study, expected=f"one of {', '.join(hits)}", do=do))
    return hits[0]


def refuse_blank(where: str, study: str) -> None:
    """A name of nothing, as of a variable that is not set, would begin every name."""
    if not study.strip():
        expected = "the name of a study, the beginning of one, or `latest`"
        raise UsageError(problem(where, "the name", got=study, expected=expected, do="See `offramp studies`."))
