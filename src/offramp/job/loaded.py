"""The record of a study: written when it begins, and read again with the task as it was when it ran.

Invariant: what leaves here has the task hash of the study; data, splits or a metric that changed since are an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from offramp.errors import UsageError, problem
from offramp.ids import content_hash
from offramp.job.resolve import resolve_job
from offramp.job.resolved import ResolvedJob
from offramp.program.code import changed_code
from offramp.records import Split
from offramp.space.load import LoadedSpace, space_from_json
from offramp.store.engine import Store
from offramp.store.studies import StudyDetails, StudyRow, StudyStore

_PACKAGES = ("offramp", "dspy", "optuna", "litellm")
"""Packages whose versions, beside the space, decide how a study runs."""


def study_row(job: ResolvedJob, seed: int) -> StudyRow:
    """The record of a study that has not begun."""
    return StudyRow(
        name=job.study_name(seed),
        space_name=job.space.name,
        space_json=job.space.model_dump_json(),
        space_hash=job.hash(seed),
        task_hash=job.task.hash,
        seed=seed,
        details=StudyDetails(
            prices={name: model.price for name, model in job.models.items()},
            texts={predictor: dict(texts) for predictor, texts in job.texts.items()},
            models={name: model.identity for name, model in job.models.items()},
            dataset_hash=job.task.dataset_hash,
            splits_hash=job.task.splits_hash,
            metric_hash=content_hash(job.task.metric.fingerprint),
            space_file=str(job.loaded.base.resolve() / job.loaded.path.name),
            code=job.code,
            examples={split.value: len(job.task.splits.of(split)) for split in Split},
            groups=job.task.groups,
            versions={name: version(name) for name in _PACKAGES},
        ),
    )


def before_the_edit(job: ResolvedJob, seed: int, store: Store) -> str | None:
    """What is new about a study that has not begun, where an earlier one of the same space file ran on other code.

    None where this study has begun, or no study ran on other code.
    """
    rows = StudyStore(store).list()
    if any(row.name == job.study_name(seed) for row in rows):
        return None
    for row in sorted(rows, key=lambda row: row.created_at, reverse=True):
        details = row.details
        same = (row.space_name, row.seed, details.dataset_hash) == (job.space.name, seed, job.task.dataset_hash)
        if not same or details.splits_hash != job.task.splits_hash or space_from_json(row.space_json) != job.space:
            continue
        changed = changed_code(details.code, job.code) if details.code else []
        changed += [] if job.task.is_of(row.task_hash) else ["the metric"]
        if changed or (job.code and not details.code):
            what = f"has changed since study {row.name} ({', '.join(changed)})"
            what = what if changed else f"was not part of a study when {row.name} ran"
            return f"the code {what}: this is a new study. To start from its candidates, add --from {row.name}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedStudy:
    """A study with its task.

    Attributes:
        space_file: where its space file is, or was.
    """

    row: StudyRow
    job: ResolvedJob
    space_file: Path


def load_study(store: Store, study: str, space_file: str | Path | None = None) -> LoadedStudy:
    """The study with its data and metric.

    Args:
        space_file: where the space file is now; where it was when the study ran by default. Only its folder counts:
            what it said is in the study's record.

    Raises:
        UsageError: a named file or the data is missing, or is not what the study ran on.
    """
    row = StudyStore(store).get(study)
    path = Path(space_file or row.details.space_file or "")
    if space_file is not None and not path.is_file():
        raise UsageError(problem("--space", "there is no such file", got=str(path), do="Check the path."))
    if not path.name:
        raise UsageError(problem(study, "the study does not say where its space file is", do="Name it with --space."))
    if not path.parent.is_dir():
        do = "Name its space file with --space."
        raise UsageError(problem(study, "the folder of its space file does not exist", got=str(path.parent), do=do))
    space = space_from_json(row.space_json)
    text_hash = content_hash(row.space_json)
    loaded = LoadedSpace(path=path, base=path.parent, space=space, lines={}, text_hash=text_hash)
    job = resolve_job(loaded, stored=True)
    if not job.task.is_of(row.task_hash):
        what = "its data, splits or metric have changed since it ran"
        raise UsageError(problem(study, what, do="Bring them back, or run `offramp optimize` on them as they are."))
    if row.details.code and (changed := changed_code(row.details.code, job.code)):
        do = "Bring it back, or run `offramp optimize` on it as it is: that is a new study."
        raise UsageError(problem(study, f"its code has changed since it ran: {', '.join(changed)}", do=do))
    return LoadedStudy(row=row, job=job, space_file=path)
