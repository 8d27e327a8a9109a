"""The parts of a job, made from the resolved one: its record, its caller, its evaluator, its optuna study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version

from offramp.ids import content_hash
from offramp.job.resolve import ResolvedJob
from offramp.records import Model, Split
from offramp.search.optuna_study import OptunaStudy
from offramp.search.outcome import Options
from offramp.store.engine import Store
from offramp.store.studies import StudyRow
from offramp.study.domain.objectives import Objective

_PACKAGES = ("offramp", "dspy", "optuna", "litellm")
"""What decides, beside the space, how a study runs."""


def study_row(job: ResolvedJob, options: Options) -> StudyRow:
    """The record of a study that has not begun."""
    prices = {name: None if m.price is None else asdict(m.price) for name, m in job.models.items()}
    return StudyRow(
        name=job.study_name(options.seed),
        space_name=job.space.name,
        space_json=job.space.model_dump_json(),
        space_hash=job.hash(options.seed),
        task_hash=job.task.hash,
        seed=options.seed,
        extra={
            "prices": prices,
            "texts": {predictor: dict(v) for predictor, v in job.texts.items()},
            "models": {name: model_identity(model) for name, model in job.models.items()},
            "task": {
                "dataset": job.task.dataset_hash,
                "splits": job.task.splits_hash,
                "metric": content_hash(job.task.metric.fingerprint),
            },
            "space_file": str(job.loaded.base.resolve() / job.loaded.path.name),
            "examples": {split.value: len(job.task.splits.of(split)) for split in Split},
            "versions": {name: version(name) for name in _PACKAGES},
        },
    )


def model_identity(model: Model) -> list[str | None]:
    """What makes a model the one it is, whatever it is called: route, revision and address."""
    return [model.route, model.revision, model.api_base]


def open_study(job: ResolvedJob, options: Options, objectives: Sequence[Objective], store: Store) -> OptunaStudy:
    """The optuna study: one value per objective, or the utility alone."""
    single = job.space.search.mode == "utility"
    names = ["utility"] if single else [objective.name for objective in objectives]
    directions = ["maximize"] if single else ["maximize" if o.maximise else "minimize" for o in objectives]
    return OptunaStudy(
        store=store,
        name=job.study_name(options.seed),
        directions=directions,
        metric_names=names,
        dims=job.dims,
        sampler=job.space.search.sampler,
        seed=options.seed,
    )
