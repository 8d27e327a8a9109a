"""Refuses request parameters and service tiers that a model does not take, or that nobody can price."""

from __future__ import annotations

from dataclasses import replace

from offramp.errors import SpaceError, nearest, problem
from offramp.job.check_here import leaving
from offramp.job.declared import judging_parts
from offramp.job.reserving import TIER, tiers_sent
from offramp.job.resolved import ResolvedJob
from offramp.records import STANDARD_TIERS, Model
from offramp.space.model import model_name
from offramp.space.params import SearchParam


def check_params(job: ResolvedJob) -> None:
    """A searched or fixed request parameter that a model does not take is refused before the first call."""
    for param in job.search_params:
        if param.group != "request" or set(param.choices) == {None}:
            continue
        _check_predictor_models(job, param)
        some = {name: values[0] for name, values in param.when.items()}
        names = [n for n in job.searched_models if param.applies({**some, "model": n})]
        refusing = [n for n in names if not takes(job.models[n], param.name)]
        if refusing:
            taking = [n for n in job.searched_models if n not in refusing]
            known = {name for n in refusing for name in job.models[n].supported_params or ()}
            do = f"Add `when: {{model: {taking}}}`" if taking else "Remove it"
            do = f"{nearest(param.name, known)} {do}".strip()
            raise SpaceError(
                problem(
                    job.loaded.where(f"params.{param.name}"), f"params.{param.name} is not taken by {refusing}",
                    do=f"{do}, or list it under the model's `supports` if it does take it.",
                )
            )  # fmt: skip
    if job.incumbent is not None:
        model = job.models[job.incumbent.model]
        for name in job.incumbent.request_params:
            if not takes(model, name):
                where = job.loaded.where(f"incumbent.params.{name}")
                raise SpaceError(
                    problem(where, f"incumbent.params.{name} is not taken by {model.name!r}", do="Remove it.")
                )


def _check_predictor_models(job: ResolvedJob, param: SearchParam) -> None:
    """The same for models of single predictors, which are sent what the candidate's model is sent."""
    for name, key in job.predictor_models.items():
        applies = key not in param.when or replace(param, when={key: param.when[key]}).applies({key: name})
        if applies and not takes(job.models[name], param.name):
            what = f"params.{param.name} is not taken by {name!r}, which `program.{key.replace('.', 's.', 1)}` names"
            do = f"Add `when: {{{key}: [...]}}` with those that take it, or list it under the model's `supports`."
            raise SpaceError(problem(job.loaded.where(f"params.{param.name}"), what, do=do))


def check_tiers(job: ResolvedJob) -> None:
    """Refuses a service tier at which a model has no known price: nobody could say what was spent."""
    asked = [(f"params.{TIER}", name, tier) for name in job.searched_models for tier in tiers_sent(job, name)]
    stated = [("incumbent.params", job.incumbent.model, job.incumbent.request_params)] if job.incumbent else []
    stated = [(key, name, params) for key, name, params in stated if name not in leaving(job)]
    if job.space.propose is not None:
        stated.append(("propose.params", model_name(job.space.propose.model), job.space.propose.params))
    stated += [("metric.params", str(part.model), part.params) for part in judging_parts(job.space.metric)]
    asked += [(f"{key}.{TIER}", name, str(params[TIER])) for key, name, params in stated if params.get(TIER)]
    for key, name, tier in asked:
        price = job.models[name].price
        if price is None or not price.known:
            continue
        at = price.for_tier(tier)
        if at is None or not at.known:
            known = ", ".join(("default", *price.tier_names))
            what = f"{key}: the price of {name!r} at service_tier {tier!r} is not known"
            do = f"Use a tier whose price is known, or state the model's `price` at {tier!r} under `models`."
            raise SpaceError(problem(job.loaded.where(key), what, expected=f"one of {known}", do=do))
    for name in job.searched_models:
        price, tiers = job.models[name].price, tiers_sent(job, name)
        billed = sorted({"default" if tier.lower() in STANDARD_TIERS else tier for tier in tiers})
        if price is not None and price.any_tier and len(billed) > 1 and price.compute_usd_per_hour is None:
            what = f"params.{TIER}: {name!r} has one stated price for the tiers {billed}"
            do = "Search one tier, or leave `price` out, so that the installed price table says what each costs."
            raise SpaceError(problem(job.loaded.where(f"params.{TIER}"), what, do=do))


def takes(model: Model, param: str) -> bool:
    return model.supported_params is None or param in model.supported_params
