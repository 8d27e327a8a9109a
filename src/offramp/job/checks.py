"""What has to hold before a job makes its first call. Each check raises a UsageError: where, what, and what to do."""

from __future__ import annotations

from offramp.errors import DatasetError, ModelError, SpaceError, problem
from offramp.job.batching import check_batch
from offramp.job.check_here import leaving
from offramp.job.check_metrics import try_checks, try_metrics
from offramp.job.check_module import (
    check_formats,
    check_inputs,
    check_media,
    check_named_tools,
    check_own_models,
    check_returns,
    check_tools,
)
from offramp.job.check_params import check_params, check_tiers, takes
from offramp.job.check_values import check_values, proposer_params
from offramp.job.declared import judging_parts
from offramp.job.effects import check_effects
from offramp.job.resolved import ResolvedJob
from offramp.program.module import predictors_of
from offramp.program.program import demo_rows
from offramp.records import DemoKind
from offramp.space.model import LONGEST_NAME, OWN, model_name
from offramp.study.domain.regressions import check_budget


def check_job(job: ResolvedJob, *, stored: bool = False) -> None:
    """Every check that needs the data and the models.

    Args:
        stored: a study has run on it, so checks that came later do not apply to it.
    """
    try_metrics(job)
    try_checks(job)
    check_params(job)
    check_prices(job, usd=job.space.budget.usd)
    _check_scales(job)
    check_budget(job.space, job.task.splits, job.incumbent, job.loaded.where("constraints.regressions"))
    _check_demos(job, stored=stored)
    _check_propose(job)
    if not stored:
        check_formats(job)
        check_inputs(job)
        check_own_models(job)
        check_returns(job)
        check_media(job)
        check_effects(job)
        check_tools(job)
        check_named_tools(job)
        _check_race(job)
        _check_ids(job)
        check_tiers(job)
        check_batch(job)
        check_values(job, list(judging_parts(job.space.metric)), leaving=leaving(job))


def _check_propose(job: ResolvedJob) -> None:
    part = job.space.propose
    if part is None:
        return
    where, model = job.loaded.where("propose"), job.models[model_name(part.model)]
    if not job.task.splits.train:
        do = "Give the train split examples, or leave `propose` out."
        raise SpaceError(problem(where, "propose: instructions are written from a train split", do=do))
    refused = [name for name in proposer_params(job) if not takes(model, name)]
    if refused:
        do = "Remove it, or list it under the model's `supports`."
        raise SpaceError(problem(where, f"propose.params.{refused[0]} is not taken by {model.name!r}", do=do))


def _check_race(job: ResolvedJob) -> None:
    """Refuses a first block of all examples, which would turn racing off."""
    race, examples = job.space.search.race, len(job.task.splits.search)
    if race is not None and race.block is not None and race.block >= examples:
        expected = f"less than {examples}, the size of the search split"
        do = "Lower it, or write `race: null` to run every candidate on all examples."
        where = job.loaded.where("search.race.block")
        raise SpaceError(problem(where, "search.race.block", got=race.block, expected=expected, do=do))


def _check_ids(job: ResolvedJob) -> None:
    """Refuses ids that are too long for a storage: PostgreSQL rejects them."""
    part, splits = job.space.dataset, job.task.splits
    for example in (*splits.train, *splits.search, *splits.holdout):
        if len(example.id) > LONGEST_NAME:
            where, do = f"{part.path or part.hub}: row {example.row}", "Leave `dataset.id` out to go by content."
            expected = f"at most {LONGEST_NAME}, as a storage keeps them"
            raise DatasetError(problem(where, "characters of the id", got=len(example.id), expected=expected, do=do))


def check_prices(job: ResolvedJob, *, usd: float | None) -> None:
    """Raises ModelError where a price is not known that a cap in USD, an objective or a constraint needs."""
    space = job.space
    needs = {
        "the cost objective (`objectives.cost: null`)": space.objectives.cost is not None,
        "the cap in USD": usd is not None,
        "constraints.cost_usd_max": space.constraints.cost_usd_max is not None,
    }
    why = [name for name, needed in needs.items() if needed]
    for model in job.models.values():
        if why and (model.price is None or not model.price.known):
            do = f"State `price` for it under `models`, or drop {' and '.join(why)}."
            raise ModelError(problem(_model_at(job, model.name), f"the price of {model.name!r} is not known", do=do))


def _model_at(job: ResolvedJob, name: str) -> str:
    keys = (f"models.{index}" for index, part in enumerate(job.space.models) if model_name(part) == name)
    return job.loaded.where(next(keys, ""))


def _check_scales(job: ResolvedJob) -> None:
    open_scales = [o.name for o in job.objectives if o.scale is None]
    if open_scales and job.incumbent is None:
        name = open_scales[0]
        raise SpaceError(
            problem(
                job.loaded.where(f"objectives.{name}"),
                f"objectives.{name}.scale is taken from the incumbent, and there is none",
                do=f"State `scale: [worst, best]` for {' and '.join(open_scales)}, or name an incumbent.",
            )
        )  # fmt: skip


def _check_demos(job: ResolvedJob, *, stored: bool) -> None:
    kinds = {str(k) for param in job.search_params if param.name == "demos" for k in param.choices} - {"none", OWN}
    if job.incumbent is not None and job.incumbent.demo_kind not in (DemoKind.NONE, DemoKind.OWN):
        kinds.add(job.incumbent.demo_kind.value)
    if kinds and not job.task.splits.train:
        do = "Give the train split examples, or set `demos.kind: none`."
        raise SpaceError(problem(job.loaded.where("demos"), f"demos of kind {sorted(kinds)} need a train split", do=do))
    size = len(job.task.splits.train)
    counts = [
        value for param in job.search_params if param.name == "demos.count" for value in (*param.choices, param.high)
    ]
    most = max((int(value) for value in counts if value is not None), default=0)
    if most > size:
        where = job.loaded.where("demos.count")
        raise SpaceError(
            problem(where, "demos.count", got=most, expected=f"at most {size}, the size of the train split")
        )
    if job.module is not None and not stored:
        _check_shown(job, kinds & {"random", "balanced", "nearest"})


def _check_shown(job: ResolvedJob, kinds: set[str]) -> None:
    """Refuses demos of the data that no predictor of the user's own module can show: their label would be untrue."""
    assert job.module is not None
    predictors, train = predictors_of(job.module), job.task.splits.train
    if not kinds or any(demo_rows(train, predictor) for predictor in predictors.values()):
        return
    lacking = [
        f"{name} needs {', '.join(sorted(set(predictor.signature.fields) - set(train[0].values)))}"
        for name, predictor in predictors.items()
    ]
    do = "Use `bootstrapped`, which shows what the module itself wrote, or `own`."
    what = f"demos.kind: no row of the data can be shown as {' or '.join(sorted(kinds))} demos ({'; '.join(lacking)})"
    raise SpaceError(problem(job.loaded.where("demos.kind"), what, do=do))
