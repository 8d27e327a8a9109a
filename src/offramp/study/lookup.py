"""Which study and which candidate are meant; and the verbs on a stored study as functions, for programs too.

None of them makes a call or writes anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from offramp.errors import UsageError, nearest, problem
from offramp.records import Split
from offramp.store.candidates import CandidateRow
from offramp.store.engine import Store, open_store
from offramp.store.studies import StudyRow, StudyStore
from offramp.study.domain.paired_comparison import CONFIDENCE, MARGIN
from offramp.study.policies import choose, is_policy
from offramp.study.queries.dataset_rows import Dataset, read_dataset
from offramp.study.queries.example_pairs import CandidateComparison, Sides, compare_sides
from offramp.study.queries.study_rows import read_report, read_study_rows
from offramp.study.study_report import StudyReport, report_of

WAYS = "recommended, incumbent, knee, another policy, `trial N`, or the beginning of a candidate's id"


def default_storage(results: Path) -> str:
    """The storage URL of a results folder."""
    return f"sqlite:///{results / 'offramp.db'}"


def pareto(
    study: str = "latest", *, weights: Mapping[str, float] | None = None, pick: str | None = None,
    storage: str | None = None, results: str | Path = "results",
) -> StudyReport:  # fmt: skip
    """A study's front, under other weights if you like, without a call.

    Args:
        study: its name, the beginning of it where that names one study, or `latest`.
        weights: by objective, such as `{"quality": 0.6, "cost": 0.4}`; the study's own for None.
        pick: a way to choose (`knee`, `within:POINTS`, ...); the choice is in `picked`.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.

    Raises:
        UsageError: no such study, weights that do not fit, or no such way to choose.
    """
    with open_looking(storage, results) as store:
        report = read_report(store, full_name(store, study), weights=weights)
        return report if pick is None else replace(report, picked=choose(store, report, pick))


def compare(
    study: str, a: str, b: str = "incumbent", *, split: Split | None = None, by: Sequence[str] = (),
    margin: float = MARGIN, confidence: float = CONFIDENCE, space_file: str | Path | None = None,
    storage: str | None = None, results: str | Path = "results",
) -> CandidateComparison:  # fmt: skip
    """Two candidates of a study example by example: who wins where, and whether the difference is significant.

    Args:
        study: its name, the beginning of it where that names one study, or `latest`.
        a, b: recommended, knee, incumbent, `trial N`, or the beginning of a candidate's id.
        split: `search` or `holdout`; for None the holdout where both have results on it.
        by: columns of the dataset to cut the examples by.
        margin: loss of mean score that would be accepted, for non-inferiority. confidence: of bounds.
        space_file: where the study's space file is now, if it was moved.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.

    Raises:
        UsageError: no such study or candidate, no example in common, a column that the dataset does not have, or a
            margin that is not between 0 and 1.
    """
    check_margin(margin)
    with open_looking(storage, results) as store:
        rows = read_study_rows(store, full_name(store, study))
        report = report_of(rows)
        one, other = (
            find_candidate(store, report, rows.candidates, pick, where=name) for name, pick in (("A", a), ("B", b))
        )
        if one.id == other.id:
            what = "A and B are the same candidate"
            raise UsageError(problem("offramp compare", what, got=one.id, do="Name another."))
        dataset = read_dataset(rows.study, space_file)
        _check_columns(by, dataset)
        sides = Sides(store=store, rows=rows, a=one, b=other, dataset=dataset)
        split = None if split is None else Split(split)
        found = compare_sides(sides, split=split, by=by, margin=margin, confidence=confidence)
    if not found.pairs:
        holdout = found.split is Split.HOLDOUT
        do = "Run `offramp verify` to score both on the holdout." if holdout else "Compare others."
        what = f"{one.id} and {other.id} share no scored example of the {found.split} split"
        raise UsageError(problem(found.study, what, do=do))
    return found


def check_margin(margin: float) -> None:
    """Refuses what cannot be a loss of mean score. Raises UsageError."""
    if not 0 < margin < 1:
        raise UsageError(problem("--margin", "the margin", got=margin, expected="a number between 0 and 1"))


def _check_columns(by: Sequence[str], dataset: Dataset) -> None:
    if by and dataset.missing is not None:
        do = "Name the study's space file with --space, or leave --by out."
        raise UsageError(problem("--by", f"slices need the dataset, and {dataset.missing.rstrip('.')}", do=do))
    for column in by:
        if column not in dataset.columns:
            known, near = f"one of {', '.join(dataset.columns)}", nearest(column, dataset.columns)
            raise UsageError(problem("--by", "no such column in the dataset", got=column, expected=known, do=near))


def studies(*, storage: str | None = None, results: str | Path = "results") -> tuple[StudyRow, ...]:
    """The studies of a storage, the newest first.

    Args:
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.

    Raises:
        StorageError: there is no such storage.
    """
    with open_looking(storage, results) as store:
        return StudyStore(store).list()


def open_looking(storage: str | None, results: str | Path) -> Store:
    """The storage, opened for reading; nothing is created."""
    return open_store(storage or default_storage(Path(results)), write_probe=False)


def full_name(store: Store, study: str) -> str:
    """The one study whose name is, or begins with, `study`; the newest for `latest`; `study` itself for no hit.

    The exact name of a space takes precedence: `triage` does not mean a study of `triage-v2`.

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
        expected = f"one of {', '.join(hits)}"
        raise UsageError(problem("study", "more than one study matches", got=study, expected=expected, do=do))
    return hits[0]


def refuse_blank(where: str, study: str) -> None:
    """Refuses an empty name, as from an unset shell variable: every name begins with it."""
    if not study.strip():
        expected = "the name of a study, the beginning of one, or `latest`"
        raise UsageError(problem(where, "the name", got=study, expected=expected, do="See `offramp studies`."))


def find_candidate(
    store: Store, report: StudyReport, rows: Sequence[CandidateRow], pick: str, *, where: str = "candidate"
) -> CandidateRow:
    """The one candidate that is meant.

    Args:
        rows: the candidates of the study.
        where: the option or argument that named it, for messages.

    Raises:
        UsageError: nothing, or more than one candidate, is meant.
    """
    word = pick.strip().lower().removeprefix("candidate ").removeprefix("candidate:").strip() or "?"
    trial = re.fullmatch(r"trial[ :#]*(\d{1,18})", word)
    if trial is not None:
        hits = [row for row in rows if row.number == int(trial[1])]
    else:
        named = word in ("recommended", "incumbent") or is_policy(word)
        wanted = _by_word(store, report, word, where) if named else word
        hits = [row for row in rows if row.id.startswith(wanted)]
    if len(hits) == 1:
        return hits[0]
    if hits:
        ids = ", ".join(row.id for row in hits[:8])
        raise UsageError(problem(where, "more than one candidate matches", got=pick, expected=f"one of {ids}"))
    do = nearest(pick, [row.id for row in rows]) or f"See `offramp pareto {report.study} --all`."
    raise UsageError(problem(where, "no such candidate in the study", got=pick, expected=WAYS, do=do))


def _by_word(store: Store, report: StudyReport, word: str, where: str) -> str:
    if is_policy(word):
        choice = choose(store, report, word)
        member, why = choice.member, choice.why
    elif word == "recommended":
        member, why = report.recommended, "No candidate has a full evaluation with every objective known."
    else:
        member, why = report.incumbent, f"Name another{', such as recommended or knee' if report.front else ''}."
    if member is None:
        what = f"no candidate of {report.study} ({report.status}) is that"
        raise UsageError(problem(where, what, got=word, do=f"{why} See `offramp pareto {report.study} --all`."))
    return member.candidate
