"""The study to start from: which one it is, and what of it this job can use.

Scores are comparable where data, splits and metric are the same; then results and trials are used too. With other data
the old front is still the best place to begin, but none of its scores is used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from offramp.errors import UsageError, nearest, problem
from offramp.ids import content_hash
from offramp.job.resolved import ResolvedJob
from offramp.records import Candidate, DemoKind, Split
from offramp.space.load import space_from_json
from offramp.space.model import SpaceFile, model_name
from offramp.store.candidates import CandidateRow, CandidateStore
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow, StudyStore
from offramp.study.lookup import refuse_blank
from offramp.study.queries.study_rows import read_report
from offramp.study.study_report import StudyReport
from offramp.task.fields import task_fields

_PARTS = {"dataset": "the data", "splits": "the splits", "metric": "the metric"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A study to start from.

    Attributes:
        store: its storage.
        space: its space file, as it was run.
        rows: its candidates.
        report: its front, at today's prices.
        same_task: whether its scores mean the same as this job's.
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
        """The candidates of its front, highest utility first."""
        rows = {row.id: row for row in self.rows}
        members = sorted(self.report.front, key=lambda m: (-(m.utility or 0.0), -(m.quality or 0.0), m.candidate))
        return tuple(rows[member.candidate] for member in members)

    def has_results_for(self, candidate: Candidate, job: ResolvedJob, asked: Collection[str]) -> bool:
        """Whether its results for this candidate are what this job would get: same models, demos and task.

        Args:
            asked: names of the models that the candidate asks.
        """
        if not self.same_task or not all(self._is_same_model(name, job) for name in asked):
            return False
        if self.space.replicates != job.space.replicates:  # the first runs are in the ledger
            return False
        old, new = self.space.demos, job.space.demos
        if candidate.demo_kind is DemoKind.BALANCED:
            return old.balance_by == new.balance_by
        return candidate.demo_kind is not DemoKind.BOOTSTRAPPED or old.min_score == new.min_score

    def _is_same_model(self, name: str, job: ResolvedJob) -> bool:
        return name in job.models and self.row.details.models.get(name) == job.models[name].identity


def full_source_name(store: Store, name: str, job: ResolvedJob, seed: int) -> str:
    """The study that `name` means: its full name, an unambiguous beginning of it, or `latest` for the newest.

    Studies that this job itself made, or is about to continue, are left out, so that the same command again means the
    same study.

    Raises:
        UsageError: there is none, the name is blank, or it fits several.
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
        raise UsageError(problem("--from", "fits several studies", got=name, expected=f"one of {hits}"))
    return hits[0]


def read_source(store: Store, name: str, job: ResolvedJob) -> Source:
    """The study, and what of it can be used.

    Raises:
        UsageError: it is of another program or signature, or nothing in it is finished.
        StorageError: there is no study of this name.
    """
    row = StudyStore(store).get(name)
    space = space_from_json(row.space_json)
    _refuse_another_task(row, space, job)
    report = read_report(store, name)
    if not report.front:
        do = "Run it to its end first, or omit --from."
        raise UsageError(problem("--from", f"study {name} has no candidate with a full evaluation", do=do))
    same = job.task.is_of(row.task_hash) and set(row.details.code.values()) == set(job.code.values())
    return Source(
        store=store, row=row, space=space, rows=CandidateStore(store).all(name), report=report, same_task=same,
        notes=() if same else tuple(_differences(store, row, job)),
    )  # fmt: skip


def _refuse_another_task(row: StudyRow, space: SpaceFile, job: ResolvedJob) -> None:
    old, new = task_fields(space.task, row.name), job.task.fields
    if space.task.module == job.space.task.module and replace(old, strict=new.strict).hash == new.hash:
        return
    got = f"{', '.join(old.inputs)} -> {', '.join(old.outputs)}"
    expected = f"the program of this job: {', '.join(new.inputs)} -> {', '.join(new.outputs)}, with the same types"
    do = "Start from a study of the same task, or omit --from."
    raise UsageError(problem("--from", f"study {row.name} is of another task", got=got, expected=expected, do=do))


def _differences(store: Store, row: StudyRow, job: ResolvedJob) -> Iterator[str]:
    task = job.task
    new = {"dataset": task.dataset_hash, "splits": task.splits_hash, "metric": content_hash(task.metric.fingerprint)}
    details = row.details
    old = {"dataset": details.dataset_hash, "splits": details.splits_hash, "metric": details.metric_hash}
    names = [words for part, words in _PARTS.items() if old[part] != new[part]]
    names += ["the code of the module"] if set(details.code.values()) != set(job.code.values()) else []
    names = names or ["how answers are read"]
    differ = f"{' and '.join(names)} differ" if len(names) > 1 or names[0] == "the splits" else f"{names[0]} differs"
    yield f"{differ}: its front is tried first, but none of its scores is used"
    searched = {example for results in ResultStore(store).all(row.name, Split.SEARCH).values() for example in results}
    if seen := searched & {example.id for example in task.splits.holdout}:
        yield f"{len(seen)} examples of this holdout have the id of an example that it searched on"
