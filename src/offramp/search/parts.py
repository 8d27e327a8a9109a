"""The parts of a job, made from what was prepared: its record, its caller, its evaluator, its optuna study."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version

from offramp.calls.caller import Caller
from offramp.evaluate.evaluator import Evaluator, EvaluatorSettings
from offramp.ids import content_hash, derived_seed
from offramp.models.server import LocalServers
from offramp.program.engine import Send
from offramp.records import Model, Result, Split
from offramp.search.limits import Clock
from offramp.search.optuna_study import OptunaStudy
from offramp.search.outcome import Options
from offramp.search.prepare import ResolvedJob
from offramp.store.budget import Budget
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow
from offramp.study.objectives import Objective

_PACKAGES = ("offramp", "dspy", "optuna", "litellm")
"""What decides, beside the space, how a study runs."""


def study_row(prepared: ResolvedJob, options: Options) -> StudyRow:
    """The record of a study that has not begun."""
    prices = {name: None if m.price is None else asdict(m.price) for name, m in prepared.models.items()}
    return StudyRow(
        name=prepared.study_name(options.seed),
        space_name=prepared.space.name,
        space_json=prepared.space.model_dump_json(),
        space_hash=prepared.hash(options.seed),
        task_hash=prepared.task.hash,
        seed=options.seed,
        extra={
            "prices": prices,
            "texts": {predictor: dict(v) for predictor, v in prepared.texts.items()},
            "models": {name: model_identity(model) for name, model in prepared.models.items()},
            "task": {
                "dataset": prepared.task.dataset_hash,
                "splits": prepared.task.splits_hash,
                "metric": content_hash(prepared.task.metric.fingerprint),
            },
            "space_file": str(prepared.loaded.base.resolve() / prepared.loaded.path.name),
            "examples": {split.value: len(prepared.task.splits.of(split)) for split in Split},
            "versions": {name: version(name) for name in _PACKAGES},
        },
    )


def model_identity(model: Model) -> list[str | None]:
    """What makes a model the one it is, whatever it is called: route, revision and address."""
    return [model.route, model.revision, model.api_base]


def make_caller(
    opened: Callable[..., Caller], prepared: ResolvedJob, options: Options, *, store: Store, budget: Budget,
    servers: LocalServers,
) -> Caller:  # fmt: skip
    """The only way to a model; `opened` puts its chain together."""
    return opened(
        store=store,
        study=prepared.study_name(options.seed),
        store_text=prepared.space.store_text,
        budget=budget,
        concurrency=options.concurrency,
        calls=prepared.space.calls,
        servers=servers,
        rng=random.Random(derived_seed(options.seed, "retries")),
    )


def make_evaluator(
    prepared: ResolvedJob, options: Options, *, send: Send, results: ResultStore, on_result: Callable[[Result], None],
    clock: Clock,
) -> Evaluator:  # fmt: skip
    """The evaluator; the clock says when it has to stop."""
    space = prepared.space
    settings = EvaluatorSettings(
        concurrency=options.concurrency,
        max_failed_share=space.calls.max_failed_share,
        balance_by=prepared.balance_by,
        bootstrap_min_score=space.demos.min_score,
    )
    return Evaluator(
        task=prepared.task,
        models=prepared.models,
        send=send,
        results=results,
        study=prepared.study_name(options.seed),
        settings=settings,
        factory=prepared.factory,
        on_result=on_result,
        check=clock.check,
        within=clock.within,
    )


def open_study(prepared: ResolvedJob, options: Options, objectives: Sequence[Objective], store: Store) -> OptunaStudy:
    """The optuna study: one value per objective, or the utility alone."""
    single = prepared.space.search.mode == "utility"
    names = ["utility"] if single else [objective.name for objective in objectives]
    directions = ["maximize"] if single else ["maximize" if o.maximise else "minimize" for o in objectives]
    return OptunaStudy(
        store=store,
        name=prepared.study_name(options.seed),
        directions=directions,
        metric_names=names,
        dims=prepared.dims,
        sampler=prepared.space.search.sampler,
        seed=options.seed,
    )
