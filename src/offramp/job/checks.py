"""What has to hold before a job makes its first call. Each check raises a UsageError: where, what, and what to do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from offramp.errors import DatasetError, MetricError, ModelError, SpaceError, nearest, problem
from offramp.job.check_values import check_values, proposer_params
from offramp.job.declared import judging_parts, metric_parts
from offramp.job.effects import check_effects, without_effect
from offramp.job.reserving import TIER, tiers_sent
from offramp.job.resolved import ResolvedJob
from offramp.models import embedded
from offramp.models.capabilities import takes_media
from offramp.models.keys import missing_key
from offramp.program.adapters import configured_adapter
from offramp.program.asked_clients import refused_clients
from offramp.program.inputs import MEDIA_TYPES
from offramp.program.metric_calls import metric_calls
from offramp.program.module import (
    calls_tools,
    declared_inputs,
    lacks_interpreter,
    predictors_of,
    refused_inputs,
    unshown_fields,
)
from offramp.program.own_models import refused_models
from offramp.program.program import demo_rows
from offramp.program.routing import declared
from offramp.program.tools import tools_of
from offramp.program.values import base_of
from offramp.records import STANDARD_TIERS, DemoKind, Model
from offramp.space.forms import SAMPLING, spec_of
from offramp.space.model import LONGEST_NAME, OWN, ModelPart, OutputField, PythonMetric, as_list, model_name
from offramp.space.params import SearchParam, predictor_models
from offramp.study.domain.regressions import check_budget
from offramp.task.metrics import build_metric
from offramp.task.metrics.judge import steady_params
from offramp.task.metrics.python import CallsModel
from offramp.task.metrics.rows import PREDICTION, Answer, Missing
from offramp.task.task import warnings_of


def check_job(job: ResolvedJob, *, stored: bool = False) -> None:
    """Every check that needs the data and the models.

    Args:
        stored: a study has run on it, so checks that came later do not apply to it.
    """
    _try_metrics(job)
    _check_params(job)
    check_prices(job, usd=job.space.budget.usd)
    _check_scales(job)
    check_budget(job.space, job.task.splits, job.incumbent, job.loaded.where("constraints.regressions"))
    _check_demos(job, stored=stored)
    _check_propose(job)
    if not stored:
        _check_formats(job)
        _check_inputs(job)
        _check_own_models(job)
        _check_media(job)
        check_effects(job)
        _check_tools(job)
        _check_named_tools(job)
        _check_race(job)
        _check_ids(job)
        _check_tiers(job)
        check_values(job, list(judging_parts(job.space.metric)), leaving=_leaving(job))


def _check_params(job: ResolvedJob) -> None:
    """A searched or fixed request parameter that a model does not take is refused before the first call."""
    for param in job.search_params:
        if param.group != "request" or set(param.choices) == {None}:
            continue
        _check_predictor_models(job, param)
        some = {name: values[0] for name, values in param.when.items()}
        names = [n for n in job.searched_models if param.applies({**some, "model": n})]
        refusing = [n for n in names if not _takes(job.models[n], param.name)]
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
            if not _takes(model, name):
                where = job.loaded.where(f"incumbent.params.{name}")
                raise SpaceError(
                    problem(where, f"incumbent.params.{name} is not taken by {model.name!r}", do="Remove it.")
                )


def _check_predictor_models(job: ResolvedJob, param: SearchParam) -> None:
    """The same for models of single predictors, which are sent what the candidate's model is sent."""
    for name, key in job.predictor_models.items():
        applies = key not in param.when or replace(param, when={key: param.when[key]}).applies({key: name})
        if applies and not _takes(job.models[name], param.name):
            what = f"params.{param.name} is not taken by {name!r}, which `program.{key.replace('.', 's.', 1)}` names"
            do = f"Add `when: {{{key}: [...]}}` with those that take it, or list it under the model's `supports`."
            raise SpaceError(problem(job.loaded.where(f"params.{param.name}"), what, do=do))


def _try_metrics(job: ResolvedJob) -> None:
    """Calls the user's metric functions on three rows with gold answers as predictions, made-up ones where the data
    has none, so that a wrong return value shows before a call is paid for. A metric that reads what a program gives
    beside them, or asks its model, waits for its first run; one that asks a model without a statement of which is
    refused.
    """
    task, outputs = job.task, job.task.fields.outputs
    gives_more = job.factory is not None or any(spec_of(n).over == "chain_of_thought" for n in job.space.forms)
    for part in metric_parts(job.space.metric, PythonMetric):
        metric = build_metric(part, fields=task.fields, base=job.loaded.base, models=job.models)
        for example in (*task.splits.train[:1], *task.splits.search[:2]):
            gold = all(name in example.values for name in outputs)
            values = {name: example.values.get(name, _made_up(output)) for name, output in outputs.items()}
            try:
                asyncio.run(metric.score(example, Answer(values, calling=metric_calls), None))
            except MetricError as error:
                waits = isinstance(error, CallsModel) and part.model is not None
                if not waits and not (gives_more and _asks_for_more(error)) and (gold or _is_sure(error)):
                    raise


def _made_up(output: OutputField) -> Any:
    """A value of an output's type, for data that has none."""
    made = {"int": 1, "float": 1.0, "bool": True, "list[str]": ["text"], "list[object]": [], "object": {}}
    return (output.values or ["text"])[0] if output.type in ("str", "enum") else made[output.type]


def _is_sure(error: MetricError) -> bool:
    """Whether a metric fails whatever the prediction: it reads what the row lacks, or returns what is not a score."""
    cause = error.__cause__
    return cause is None or (isinstance(cause, Missing) and cause.owner != PREDICTION)


def _asks_for_more(error: MetricError) -> bool:
    """Whether the metric asks the prediction for something else than an output of the task."""
    return isinstance(error.__cause__, Missing) and error.__cause__.owner == PREDICTION


def _check_propose(job: ResolvedJob) -> None:
    part = job.space.propose
    if part is None:
        return
    where, model = job.loaded.where("propose"), job.models[model_name(part.model)]
    if not job.task.splits.train:
        do = "Give the train split examples, or leave `propose` out."
        raise SpaceError(problem(where, "propose: instructions are written from a train split", do=do))
    refused = [name for name in proposer_params(job) if not _takes(model, name)]
    if refused:
        do = "Remove it, or list it under the model's `supports`."
        raise SpaceError(problem(where, f"propose.params.{refused[0]} is not taken by {model.name!r}", do=do))


def _check_formats(job: ResolvedJob) -> None:
    """Refuses an adapter that would send an image or a conversation of the user's own module as text."""
    if job.factory is None:
        return
    if (part := lacks_interpreter(job.factory())) is not None:
        what = f"task.module: {part} runs Python code in DSPy's sandbox, which needs Deno, and it is not here"
        do = 'Install it: pip install "dspy[deno]". Or give the part an `interpreter_factory` of your own.'
        raise SpaceError(problem(job.loaded.where("task.module"), what, do=do))
    incumbent = job.space.incumbent
    stated: dict[str, list[Any]] = {"program.format": [*job.space.adapters]}
    stated["incumbent.format"] = [incumbent.format] if incumbent else []
    module = job.factory()
    for key, adapters in stated.items():
        for adapter in adapters:
            if adapter is not None and (fields := unshown_fields(module, adapter)):
                do = "Use chat, or json." if key == "incumbent.format" else f"Remove {adapter}: use chat, json or both."
                what = f"{key}: {adapter!r} cannot show {', '.join(fields)} of the module"
                raise SpaceError(problem(job.loaded.where(key), what, do=do))


def _check_own_models(job: ResolvedJob) -> None:
    """Refuses a module that would be refused at its first call of a model of its own, as far as that can be seen."""
    if job.factory is None:
        return
    module = job.factory()
    for where, why in (*refused_models(module, job.models), *refused_clients(module)):
        raise SpaceError(problem(job.loaded.where("task.module"), f"task.module: {where}: {why}."))


def _check_inputs(job: ResolvedJob) -> None:
    """Refuses inputs whose names are not those that the user's own module takes."""
    if job.factory is not None and (why := refused_inputs(job.factory(), job.task.fields.inputs)) is not None:
        do = "Name the inputs as it does, or give the others a default."
        raise SpaceError(problem(job.loaded.where("task.inputs"), f"task.inputs: the module: {why}", do=do))


def _check_media(job: ResolvedJob) -> None:
    """Refuses models that do not take an input, an adapter that cannot show it, and an image that is named as text."""
    fields = job.task.fields
    if job.factory is not None:
        declared = declared_inputs(job.factory())
        for name in fields.inputs:
            kind = next((kind for kind, type_ in MEDIA_TYPES.items() if base_of(declared.get(name))[0] is type_), None)
            if kind is not None and name not in fields.media:
                do = f"Write `inputs: {{{name}: {{type: {kind}}}}}`."
                raise SpaceError(problem(job.loaded.where("task.inputs"), f"task.inputs: {name!r} is an {kind}", do=do))
    if not fields.media:
        return
    named = {*job.searched_models, *([job.incumbent.model] if job.incumbent is not None else [])} - _leaving(job)
    for name, kind in fields.media.items():
        if refusing := sorted(model for model in named if not takes_media(job.models[model], kind)):
            do = f"Remove {'it' if len(refusing) == 1 else 'them'}, or name a model that does."
            what = f"{', '.join(refusing)} {'takes' if len(refusing) == 1 else 'take'} no {kind}, and {name!r} is one"
            raise ModelError(problem(job.loaded.where("models"), what, do=do))
    stated: dict[str, list[Any]] = {"program.format": [*job.space.adapters]}
    stated["incumbent.format"] = [job.space.incumbent.format] if job.space.incumbent else []
    for key, adapters in stated.items():
        if job.factory is None and "plain" in adapters:
            what = f"{key}: 'plain' cannot show {', '.join(fields.media)}"
            raise SpaceError(problem(job.loaded.where(key), what, do="Use chat, or json."))


def job_warnings(job: ResolvedJob) -> list[str]:
    """What a person should know of a job before it runs, of its program and its data."""
    told = [
        *_incumbent_without(job),
        *_fixed_models(job),
        *_tools_used(job),
        *_configured_adapter(job),
        *without_effect(job),
        *_own_temperature(job),
        *_judges_without_temperature(job),
        *_proposer_without(job),
    ]
    return [*told, *warnings_of(job.task, job.loaded.where("dataset"))]


def _incumbent_without(job: ResolvedJob) -> list[str]:
    """A warning: constrained decoding is searched, and the incumbent, which does not mention it, runs without."""
    part, incumbent = job.space.incumbent, job.incumbent
    if part is None or incumbent is None or part.constrained is not None or True not in as_list(
        job.space.program.constrained
    ):  # fmt: skip
        return []
    searched = [p for p in job.search_params if p.group == "request" and p.searched and p.name not in part.params]
    unsent = [p.name for p in searched if None not in p.choices and p.applies(incumbent.params)]
    also = f", and {', '.join(unsent)} {'is' if len(unsent) == 1 else 'are'} not sent" if unsent else ""
    return [
        f"{job.loaded.where('incumbent')}: incumbent: `constrained` is left out, so it runs without constrained "
        f"decoding{also}; state what runs today, since every candidate is compared with it"
    ]


def _configured_adapter(job: ResolvedJob) -> list[str]:
    """A warning: an adapter that the module's file sets for all of DSPy, where no candidate has that format."""
    found = None if job.factory is None else configured_adapter()
    if found is None:
        return []
    name, format_ = found
    if format_ is not None and format_ in (*job.space.adapters, job.incumbent and job.incumbent.adapter):
        return []
    do = f"Write `program.format: {format_}`." if format_ else "Set it in forward: `with dspy.context(adapter=...)`."
    return [f"dspy.configure sets {name} in this process, and candidates run in their own `format`, without it. {do}"]


def _proposer_without(job: ResolvedJob) -> list[str]:
    """A warning: parameters that proposers are sent by default, and this one is not, since its model rejects them."""
    part = job.space.propose
    left = (
        [] if part is None else sorted({n for n, v in part.params.items() if v is not None} - {*proposer_params(job)})
    )
    if part is None or not left:
        return []
    name = model_name(part.model)
    return [f"propose: {name} is not sent {', '.join(left)}, which it does not accept; its own default holds"]


def _judges_without_temperature(job: ResolvedJob) -> list[str]:
    """Warnings: judges that are not sent the temperature 0 that others are, since their models do not accept it."""
    parts = [part for part in judging_parts(job.space.metric) if "temperature" not in part.params]
    names = dict.fromkeys(
        str(part.model)
        for part in parts
        if "temperature" not in steady_params(job.models[str(part.model)], part.params)
    )
    where = job.loaded.where("metric")
    return [
        f"{where}: temperature 0 is left out of requests to the judge {name}, which does not accept it with its other "
        "params: the same answer may get different grades"
        for name in names
    ]


def _own_temperature(job: ResolvedJob) -> list[str]:
    """Warnings: forms that sample at whatever temperature is the model's own, since the file states none."""
    forms = [spec_of(name) for name in job.space.forms]
    names = [f.name for f in forms if f.kind in SAMPLING and f.temperature is None]
    if not names or "temperature" in job.space.params:
        return []
    do = "State `params.temperature`, or one in the form, where the model accepts it."
    return [f"program.form: {', '.join(names)}: no temperature is stated, so each model samples at its own. {do}"]


def _fixed_models(job: ResolvedJob) -> list[str]:
    """Warnings: predictors that the candidate's model and parameters do not reach, since the module sets theirs."""
    if job.factory is None:
        return []
    searched, predictors = predictor_models(job.space), predictors_of(job.factory())
    held = {name: p.lm for name, p in predictors.items() if p.lm is not None and name not in searched}
    known = {name: declared(lm, job.models) for name, lm in held.items()}
    told = [f"{name} runs on {model.name}" for name, model in known.items() if isinstance(model, Model)]
    if not told:
        return []
    these = "it" if len(told) == 1 else "them"
    reach = "reach no predictor" if len(told) == len(predictors) else f"do not reach {these}"
    do = "Remove its `lm` from the module, or search it with `program.models`."
    return [f"{', '.join(told)}, as the module sets; `models` and `params` {reach}. {do}"]


def _tools_used(job: ResolvedJob) -> list[str]:
    """Warnings: the module's tools, which run during a search, and those of them that are not replayed."""
    tools = [] if job.factory is None else sorted(tools_of(job.factory()))
    effects = [name for name in tools if name in job.space.task.tools_with_effects]
    replayed = [name for name in tools if name not in effects]
    found = []
    if effects:
        run = "runs" if len(effects) == 1 else "run"
        found.append(f"task.tools: {', '.join(effects)} {run} for every row and candidate that asks, with real effects")
    if replayed:
        do = "Write `task.tools: {NAME: {effects: true}}` for one that changes something."
        found.append(f"results of {', '.join(replayed)} are recorded and replayed for equal inputs. {do}")
    return found


def _check_named_tools(job: ResolvedJob) -> None:
    """Refuses names in `task.tools` that no tool of the module has."""
    stated = job.space.task.tools or {}
    known = sorted(tools_of(job.factory())) if stated and job.factory is not None else []
    for name in (name for name in stated if name not in known):
        where, expected = job.loaded.where("task.tools"), f"one of {', '.join(known)}" if known else "no tools"
        do = nearest(name, known) or ("" if known else "The module holds no dspy.Tool: remove it.")
        raise SpaceError(problem(where, "task.tools", got=name, expected=expected, do=do or None))


def _check_tools(job: ResolvedJob) -> None:
    """Refuses native tools that no predictor uses, or that a model does not have."""
    incumbent = job.space.incumbent
    stated = {"program.tools": as_list(job.space.program.tools), "incumbent.tools": [incumbent and incumbent.tools]}
    for key in (key for key, values in stated.items() if "native" in values):
        assert job.factory is not None
        if not calls_tools(job.factory()):
            do = "Use dspy.ReActV2, which calls them either way, or write `tools: text`, which is what dspy.ReAct does."
            what = f"{key}: 'native' has no effect: no predictor of the module has an output of dspy.ToolCalls"
            raise SpaceError(problem(job.loaded.where(key), what, do=do))
        models = [job.incumbent.model] if key == "incumbent.tools" and job.incumbent else [*job.searched_models]
        if refusing := sorted(name for name in models if not _takes(job.models[name], "tools")):
            do = "Leave the model out, write `tools: text`, or list `tools` under its `supports` if it does take them."
            what = f"{key}: {', '.join(refusing)} {'has' if len(refusing) == 1 else 'have'} no native tools"
            raise SpaceError(problem(job.loaded.where(key), what, do=do))


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


def _takes(model: Model, param: str) -> bool:
    return model.supported_params is None or param in model.supported_params


def _check_tiers(job: ResolvedJob) -> None:
    """Refuses a service tier at which a model has no known price: nobody could say what was spent."""
    asked = [(f"params.{TIER}", name, tier) for name in job.searched_models for tier in tiers_sent(job, name)]
    stated = [("incumbent.params", job.incumbent.model, job.incumbent.request_params)] if job.incumbent else []
    stated = [(key, name, params) for key, name, params in stated if name not in _leaving(job)]
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
            raise ModelError(problem(str(job.loaded.path), f"the price of {model.name!r} is not known", do=do))


def _check_scales(job: ResolvedJob) -> None:
    open_scales = [o.name for o in job.objectives if o.scale is None]
    if open_scales and job.incumbent is None:
        name = open_scales[0]
        raise SpaceError(
            problem(
                str(job.loaded.path), f"objectives.{name}.scale is taken from the incumbent, and there is none",
                do=f"State `scale: [worst, best]` for {' and '.join(open_scales)}, or name an incumbent.",
            )
        )  # fmt: skip


def _check_demos(job: ResolvedJob, *, stored: bool) -> None:
    kinds = {str(k) for param in job.search_params if param.name == "demos" for k in param.choices} - {"none", OWN}
    if job.incumbent is not None and job.incumbent.demo_kind not in (DemoKind.NONE, DemoKind.OWN):
        kinds.add(job.incumbent.demo_kind.value)
    if kinds and not job.task.splits.train:
        do = "Give the train split examples, or set `demos.kind: none`."
        raise SpaceError(problem(str(job.loaded.path), f"demos of kind {sorted(kinds)} need a train split", do=do))
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
    if job.factory is not None and not stored:
        _check_shown(job, kinds & {"random", "balanced", "nearest"})


def _check_shown(job: ResolvedJob, kinds: set[str]) -> None:
    """Refuses demos of the data that no predictor of the user's own module can show: their label would be untrue."""
    assert job.factory is not None
    predictors, train = predictors_of(job.factory()), job.task.splits.train
    if not kinds or any(demo_rows(train, predictor) for predictor in predictors.values()):
        return
    lacking = [
        f"{name} needs {', '.join(sorted(set(predictor.signature.fields) - set(train[0].values)))}"
        for name, predictor in predictors.items()
    ]
    do = "Use `bootstrapped`, which shows what the module itself wrote, or `own`."
    what = f"demos.kind: no row of the data can be shown as {' or '.join(sorted(kinds))} demos ({'; '.join(lacking)})"
    raise SpaceError(problem(job.loaded.where("demos.kind"), what, do=do))


def check_runnable(job: ResolvedJob) -> None:
    """Raises ModelError where a model's file or key is missing on this machine."""
    for model in job.models.values():
        if model.name in _leaving(job):
            continue
        if model.local and not embedded.is_pulled(model.route):
            do = f"Run `offramp models pull {model.route}`."
            raise ModelError(problem(model.name, "its file is not here", do=do))
        if model.local:
            embedded.path(model.route)  # refuses a file that is not the pinned one
        variable = missing_key(model)
        if variable is not None:
            do = f"Set it: export {variable}=..."
            raise ModelError(
                problem(model.name, f"its key is missing: environment variable {variable} is not set", do=do)
            )


def missing_here(job: ResolvedJob) -> list[str]:
    """Warnings: what `check_runnable` would refuse on this machine, which a check on another one need not have."""
    found = []
    for model in job.models.values():
        if model.name in _leaving(job):
            continue
        if model.local and not embedded.is_pulled(model.route):
            do = f"Run `offramp models pull {model.route}` before the job."
            found.append(problem(model.name, "its file is not on this machine", do=do))
        if (variable := missing_key(model)) is not None:
            do = f"Set it before the job: export {variable}=..."
            found.append(problem(model.name, f"its key is missing: environment variable {variable} is not set", do=do))
    return found


def _leaving(job: ResolvedJob) -> set[str]:
    """The incumbent's model where the file does not search it: it may be retired, with its results stored."""
    judges = {part.model for part in judging_parts(job.space.metric)}
    stated = {part.name for part in job.space.models if isinstance(part, ModelPart) and not part.searched}
    incumbent = job.incumbent
    return set() if incumbent is None else ({incumbent.model} & stated) - judges
