"""`calls.batch`: what a job needs for it, how it runs then, and what it pays.

The search's requests (of programs and of judges) go into batches. Latency is measured by direct requests alone: the
holdout evaluation and the probe. A candidate's cost is what the same requests cost an app, which asks directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from offramp.errors import ModelError, SpaceError, problem
from offramp.records import Model
from offramp.task.metrics import judges_of

if TYPE_CHECKING:
    from offramp.job.resolved import ResolvedJob
    from offramp.space.model import SpaceFile

RUNS = 1000
"""Runs of one model at the same time where each waits for a batch."""
LEAST_WAVE, MOST_WAVE, USUAL_WAVE, WAVES = 64, 1000, 256, 12
"""Cells of a wave: a cap on calls is spent in about so many waves."""
LONGEST_MINUTES = 24 * 60
PROVIDERS = ("openai", "anthropic", "azure")
"""First parts of routes whose batch interface is known."""
_OTHERS = {
    "bedrock": "Bedrock takes batches from your own S3 bucket, under a role of its own",
    "vertex_ai": "Vertex AI takes batches from your own Cloud Storage bucket",
    "gemini": "Gemini's batches are not supported yet",
    "local": "an embedded model runs on this machine",
}


def needs_latency(space: SpaceFile) -> bool:
    """Whether candidates are compared or refused by their latency in the search."""
    return space.objectives.latency is not None or space.constraints.latency_p95_s_max is not None


def runs_at_once(job: ResolvedJob, concurrency: int) -> int:
    """Runs of one model at the same time.

    More than the requests that may be in flight, so that none of their places is empty while a run looks up answers or
    stores them. A module of one's own may hold what runs share, such as a connection: no more of them than stated.
    """
    if job.space.calls.batch:
        return max(RUNS, concurrency)
    return concurrency if job.factory is not None else concurrency + concurrency // 2


def usual_wave(job: ResolvedJob, calls: int | None) -> int | None:
    """Cells of a wave where the space file states none; None where batches play no part."""
    if not job.space.calls.batch:
        return None
    return USUAL_WAVE if calls is None else max(LEAST_WAVE, min(MOST_WAVE, calls // WAVES))


def paid_share(job: ResolvedJob, model: str) -> float:
    """What a request of the search costs, as a share of what the same one costs directly."""
    price = None if (found := job.models.get(model)) is None else found.price
    if not job.space.calls.batch or price is None or price.input_usd is None or price.output_usd is None:
        return 1.0
    pairs = ((price.batched.input_usd, price.input_usd), (price.batched.output_usd, price.output_usd))
    return max((batched or 0.0) / usd for batched, usd in pairs if usd) if price.input_usd or price.output_usd else 1.0


def as_billed(job: ResolvedJob) -> Mapping[str, Model]:
    """The models at the prices of the search."""
    if not job.space.calls.batch:
        return job.models
    return {name: at_batch_price(model) for name, model in job.models.items()}


def at_batch_price(model: Model) -> Model:
    """A model at the price of its batches; itself where it has none."""
    if model.price is None or model.provider not in PROVIDERS:
        return model
    return replace(model, price=model.price.batched)


def check_batch(job: ResolvedJob) -> None:
    """Refuses what batches cannot do.

    Raises:
        SpaceError: latency is an objective or a constraint, or requests name a service tier.
        ModelError: a model has no batch interface.
    """
    if not job.space.calls.batch:
        return
    space, loaded = job.space, job.loaded
    if needs_latency(space):
        key = "objectives.latency" if space.objectives.latency is not None else "constraints.latency_p95_s_max"
        what = f"{key}: an answer of a batch has no latency (`calls.batch: true`)"
        do = f"Write `{key.split('.')[1]}: null` under `{key.split('.')[0]}`; `verify.probe` times the front."
        raise SpaceError(problem(loaded.where(key), what, do=do))
    if any(param.name == "service_tier" for param in job.search_params):
        what = "params.service_tier: a request in a batch has no service tier (`calls.batch: true`)"
        raise SpaceError(problem(loaded.where("params.service_tier"), what, do="Leave one of the two out."))
    for name in dict.fromkeys([*job.searched_models, *job.predictor_models, *_of_incumbent(job)]):
        provider = job.models[name].provider
        if provider not in PROVIDERS:
            why = _OTHERS.get(provider, "its provider has none that is known here")
            what = f"calls.batch: {name!r} has no batch interface: {why}"
            do = f"Search models of {', '.join(PROVIDERS)} alone, or leave `calls.batch` out."
            raise ModelError(problem(loaded.where("calls.batch"), what, got=job.models[name].route, do=do))


def _of_incumbent(job: ResolvedJob) -> list[str]:
    return [] if job.incumbent is None else [job.incumbent.model, *job.incumbent.models.values()]


def batch_warnings(job: ResolvedJob) -> list[str]:
    """What a person should know of a job in batches before it runs."""
    minutes = job.space.budget.minutes
    if not job.space.calls.batch:
        return []
    judges = [judge.model for judge in judges_of(job.task.metric) if judge.model is not None]
    direct = sorted({model.name for model in judges if model.provider not in PROVIDERS})
    told = [f"{', '.join(direct)} (judge) has no batch interface: it is asked directly"] if direct else []
    if minutes is not None and minutes < LONGEST_MINUTES:
        where = job.loaded.where("budget.minutes")
        told.append(
            f"{where}: budget.minutes: {minutes:g}: a batch may take up to 24 hours. When the time is up, what is out "
            "stays out, and the next run waits for it"
        )
    return told
