"""The parts of a job, made from the resolved one: its record, its caller, its evaluator, its optuna study."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version

from offramp.calls.caller import Caller
from offramp.evaluate.evaluator import Evaluator, EvaluatorSettings
from offramp.ids import content_hash, derived_seed
from offramp.job.clock import Clock
from offramp.job.resolve import ResolvedJob
from offramp.models.server import LocalServers
from offramp.program.engine import Send
from offramp.records import Model, Result, Split
from offramp.search.optuna_study import OptunaStudy
from offramp.search.outcome import Options
from offramp.store.budget import Budget
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow
from offramp.study.objectives import Objective

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


def make_caller(
    opened: Callable[..., Caller], job: ResolvedJob, options: Options, *, store: Store, budget: Budget,
    servers: LocalServers,
) -> Caller:  # fmt: skip
    """The only way to a model; `opened` puts its chain together."""
    return opened(
        store=store,
        study=job.study_name(options.seed),
        store_text=job.space.store_text,
        budget=budget,
        concurrency=options.concurrency,
        calls=job.space.calls,
        servers=servers,
        rng=random.Random(derived_seed(options.seed, "retries")),
    )


def make_evaluator(
    job: ResolvedJob, options: Options, *, send: Send, results: ResultStore, on_result: Callable[[Result], None],
    clock: Clock,
) -> Evaluator:  # fmt: skip
    """The evaluator; the clock says when it has to stop."""
    space = job.space
    settings = EvaluatorSettings(
        concurrency=options.concurrency,
        max_failed_share=space.calls.max_failed_share,
        balance_by=job.balance_by,
        bootstrap_min_score=space.demos.min_score,
    )
    return Evaluator(
        task=job.task,
        models=job.models,
        send=send,
        results=results,
        study=job.study_name(options.seed),
        settings=settings,
        factory=job.factory,
        on_result=on_result,
        check=clock.check,
        within=clock.within,
    )


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
