"""The study to start from: which one it is, and what of it can be used for this job.

Scores are comparable where data, splits and metric are the same: then cells and trials are used as well. With other
data the old front is still where to look first, and nothing of its scores is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from offramp.errors import UsageError, nearest, problem
from offramp.ids import content_hash
from offramp.job.resolve import ResolvedJob
from offramp.records import Candidate, DemoKind, Split
from offramp.search.parts import model_identity
from offramp.space.load import space_from_json
from offramp.space.model import SpaceFile, model_name
from offramp.store.candidates import CandidateRow, CandidateStore
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow, StudyStore
from offramp.study.lookup import refuse_blank
from offramp.study.study_report import StudyReport, build_report
from offramp.task.fields import task_fields

_PARTS = {"dataset": "its data", "splits": "the deal of its splits", "metric": "its metric"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A study to start from.

    Attributes:
        store: where it is.
        space: its space file, as it was run.
        rows: its candidates. report: its front, at today's prices.
        same_task: whether its scores say the same as this job's.
        notes: what cannot be used and why, in words.
    """

    store: Store
    row: StudyRow
    space: SpaceFile
    rows: tuple[CandidateRow, ...]
    report: StudyReport
    same_task: bool
    notes: tuple[str, ...]

    @property
    def searched_models(self) -> frozenset[str]:
        """Names of the models that it searched."""
        return frozenset(model_name(p) for p in self.space.models if isinstance(p, str) or p.searched)

    def front(self) -> tuple[CandidateRow, ...]:
        """The candidates of its front, the best by utility first."""
        rows = {row.id: row for row in self.rows}
        members = sorted(self.report.front, key=lambda m: (-(m.utility or 0.0), -(m.quality or 0.0), m.candidate))
        return tuple(rows[member.candidate] for member in members)

    def answers_for(self, candidate: Candidate, job: ResolvedJob) -> bool:
        """Whether this candidate's results of that study are what this job would get: same model, demos, task."""
        model = job.models.get(candidate.model)
        kept = self.row.extra.get("models", {}).get(candidate.model)
        return (
            self.same_task and model is not None and kept == model_identity(model) and self._same_demos(candidate, job)
        )

    def _same_demos(self, candidate: Candidate, job: ResolvedJob) -> bool:
        old, new = self.space.demos, job.space.demos
        if candidate.demo_kind is DemoKind.BALANCED:
            return old.balance_by == new.balance_by
        return candidate.demo_kind is not DemoKind.BOOTSTRAPPED or old.min_score == new.min_score


def full_source_name(store: Store, name: str, job: ResolvedJob, seed: int) -> str:
    """The study that `name` means: its name, or the beginning of it where that names one; `latest` for the newest.

    A study that this job itself made, or is about to continue, is not meant: the same command again means the same.

    Raises:
        UsageError: there is none, it is blank, or the beginning fits several.
    """
    refuse_blank("--from", name)
    names = [row.name for row in StudyStore(store).list()]
    own = {replace(job, started_from=known).study_name(seed) for known in names}
    hits = [known for known in names if known not in own and (name == "latest" or known.startswith(name))]
    if name in names:
        return name
    if not hits:
        do = nearest(name, names) or (f"It has {', '.join(names[:10])}." if names else "It has none.")
        raise UsageError(problem("--from", "no such study in the storage", got=name, do=do))
    if len(hits) > 1 and name != "latest":
        raise UsageError(problem("--from", "names several", got=name, expected=f"one of {hits}"))
    return hits[0]


def read_source(store: Store, name: str, job: ResolvedJob) -> Source:
    """The study, and what can be used of it.

    Raises:
        UsageError: it is of another program or signature, or nothing in it is finished.
        StorageError: there is none of this name.
    """
    row = StudyStore(store).get(name)
    space = space_from_json(row.space_json)
    _refuse_another_program(row, space, job)
    report = build_report(store, name)
    if not report.front:
        do = "Let it run first, or leave --from out."
        raise UsageError(problem("--from", f"study {name} has no candidate with a full evaluation", do=do))
    same = row.task_hash == job.task.hash
    return Source(
        store=store, row=row, space=space, rows=CandidateStore(store).all(name), report=report, same_task=same,
        notes=() if same else tuple(_what_differs(store, row, job)),
    )  # fmt: skip


def _refuse_another_program(row: StudyRow, space: SpaceFile, job: ResolvedJob) -> None:
    fields = task_fields(space.task, row.name)
    if space.task.module != job.space.task.module or fields.hash != job.task.fields.hash:
        got = f"{', '.join(fields.inputs)} -> {', '.join(fields.outputs)}"
        mine = job.task.fields
        expected = (
            f"the program of this job: {', '.join(mine.inputs)} -> {', '.join(mine.outputs)}, with the same types"
        )
        do = "Start from a study of the same task, or leave --from out."
        raise UsageError(problem("--from", f"study {row.name} is of another task", got=got, expected=expected, do=do))


def _what_differs(store: Store, row: StudyRow, job: ResolvedJob) -> list[str]:
    task = job.task
    mine = {"dataset": task.dataset_hash, "splits": task.splits_hash, "metric": content_hash(task.metric.fingerprint)}
    old: Mapping[str, Any] = row.extra.get("task", {})
    names = [words for part, words in _PARTS.items() if old.get(part) != mine[part]]
    differs = (
        f"{' and '.join(names)} differ" if len(names) > 1 else f"{names[0]} differs" if names else "its task differs"
    )
    notes = [f"{differs}: its front goes first; none of its scores is used"]
    seen = _seen_ids(store, row.name) & {example.id for example in task.splits.holdout}
    if seen:
        notes.append(f"{len(seen)} examples of this holdout have the id of one that it searched on")
    return notes


def _seen_ids(store: Store, study: str) -> set[str]:
    return {example for results in ResultStore(store).all(study, Split.SEARCH).values() for example in results}
