"""What a person should know of a job before it runs, of its program and its data."""

from __future__ import annotations

from offramp.errors import UsageError
from offramp.job.batching import batch_warnings
from offramp.job.check_values import proposer_params
from offramp.job.declared import judging_parts
from offramp.job.effects import without_effect
from offramp.job.resolved import ResolvedJob
from offramp.models.retirement.dates import WITHIN_DAYS, Basis, load_calendar, utc_today
from offramp.program.adapters import configured_adapter
from offramp.program.module import predictors_of
from offramp.program.routing import declared
from offramp.program.tools import tools_of
from offramp.records import Model
from offramp.space.check_params import misspelt_params
from offramp.space.forms import SAMPLING, spec_of
from offramp.space.model import as_list, model_name
from offramp.space.params import predictor_models
from offramp.task.metrics.judge import steady_params
from offramp.task.task import warnings_of


def job_warnings(job: ResolvedJob) -> list[str]:
    """What a person should know of a job before it runs, of its program and its data."""
    told = [
        *_retiring(job),
        *_incumbent_without(job),
        *misspelt_params(job.loaded),
        *_fixed_models(job),
        *_tools_used(job),
        *_configured_adapter(job),
        *without_effect(job),
        *_own_temperature(job),
        *_judges_without_temperature(job),
        *_proposer_without(job),
        *batch_warnings(job),
    ]
    return [*told, *warnings_of(job.task, job.loaded.where("dataset"))]


def _retiring(job: ResolvedJob) -> list[str]:
    """Warnings: searched models that nobody could promote, since they have retired or soon will."""
    try:
        calendar = load_calendar()
    except UsageError:  # a wrong lifecycle file is refused by the commands that are about it
        return []
    today, told = utc_today(), []
    for name in job.searched_models:
        model = job.models[name]
        own = model.api_base is not None
        found = calendar.retirement(model.name, model.route, stated=model.retirement_date, own=own)
        if found is None or found.basis is Basis.ESTIMATE or found.days_left(today) > WITHIN_DAYS:
            continue
        days = found.days_left(today)
        when = f"retires in {days} day{'s' * (days != 1)}, on {found.date}" if days > 0 else f"retired on {found.date}"
        others = f", such as {' or '.join(found.successors)}" if found.successors else ""
        anyway = ", or promote with --within 0" if days > 0 else ""
        where = job.loaded.where("models")
        told.append(
            f"{where}: models: {name} {when}: `offramp promote` refuses what runs on it. Name another{others}{anyway}."
        )
    return told


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
    found = None if job.module is None else configured_adapter()
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
    if job.module is None:
        return []
    searched, predictors = predictor_models(job.space), predictors_of(job.module)
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
    tools = [] if job.module is None else sorted(tools_of(job.module))
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
