"""Whether every model accepts the values that the job would send it: alone, together, and with what is fixed.

A searched space holds more combinations than anyone would try, and a model rejects one value, or two together (a
temperature while it reasons). So for each model every value is asked alone and every two values together, each time
with the parameters that are fixed for it; ranges stand by their ends and their middle.

Invariant: nothing is sent, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

from offramp.errors import SpaceError, problem
from offramp.job.resolved import ResolvedJob
from offramp.models.acceptance import Rejection, rejection
from offramp.records import Model, Scalar
from offramp.space.forms import VERIFY, spec_of
from offramp.space.model import JudgeMetric, PythonMetric, model_name
from offramp.space.params import SearchParam


def check_values(job: ResolvedJob, judges: Sequence[JudgeMetric | PythonMetric], *, leaving: set[str]) -> None:
    """Refuses a job that would send a model values that it rejects.

    Args:
        judges: the judges of the metric.
        leaving: models that are not asked any more.

    Raises:
        SpaceError: key, values, model and the line to change.
    """
    request_params = [param for param in job.search_params if param.group == "request"]
    for name in job.searched_models:
        for params in sent_to(name, request_params):
            if (found := rejection(job.models[name], params)) is not None:
                raise _searched(job, request_params, found)
            _check_forms(job, job.models[name], params)
    for name, key in job.predictor_models.items():
        for params in sent_to(name, request_params, key):
            if (found := rejection(job.models[name], params)) is not None:
                raise _searched(job, request_params, found, key)
    stated: list[tuple[str, Model, Mapping[str, Any]]] = []
    if job.incumbent is not None and job.incumbent.model not in leaving:
        model = job.models[job.incumbent.model]
        stated.append(("incumbent.params", model, job.incumbent.request_params))
        if job.incumbent.predictor_params or VERIFY in job.incumbent.models:
            verifying = job.models[job.incumbent.models.get(VERIFY, model.name)]
            stated.append(("program.verifier.params", verifying, job.incumbent.params_of(VERIFY)))
    if job.space.propose is not None:
        part = job.space.propose
        stated.append(("propose.params", job.models[model_name(part.model)], proposer_params(job)))
    stated += [("metric.params", job.models[str(part.model)], part.params) for part in judges]
    for key, model, given in stated:
        if (found := rejection(model, given)) is not None:
            do = "Write the value that runs today, or leave it out." if key.startswith("incumbent") else "Leave it out."
            name = next((name for name in found.params if name in given), next(iter(found.params)))
            what = f"{key}: {model.name!r} does not accept {found.what} ({found.why})"
            raise SpaceError(problem(job.loaded.where(f"{key}.{name}"), what, do=do))


def _check_forms(job: ResolvedJob, model: Model, params: Mapping[str, Any]) -> None:
    """Refuses a form whose own temperature, or verifying call, a model does not accept beside these parameters."""
    stated: list[tuple[str, Model, dict[str, Any]]] = [
        ("program.form", model, {"temperature": spec_of(name).temperature}) for name in job.space.forms
    ]
    verifier, other = job.space.program.verifier, job.verifier_model
    if verifier is not None:
        given = {**(params if other is not None else {}), **verifier.params}
        key = "program.verifier.params" if other is None else "program.verifier"
        stated.append((key, model if other is None else job.models[other], given))
    for key, model, given in stated:
        sent = {name: value for name, value in given.items() if value is not None}
        found = rejection(model, {**params, **given}) if sent else None
        known = model.supported_params
        unknown = {name: value for name, value in sent.items() if known is not None and name not in known}
        if unknown or (found is not None and found.params.keys() & given.keys()):
            name, value = next(iter(unknown.items()), ("", None))
            said = f"take {name}={value!r}"
            if not unknown and found is not None:
                name, said = next(iter(found.params)), f"accept {found.what} ({found.why})"
            do = "Leave it out, or leave the model out."
            if key == "program.verifier":
                do = f"Leave it out for that call: `program.verifier.params: {{{name}: null}}`."
            raise SpaceError(problem(job.loaded.where(key), f"{key}: {model.name!r} does not {said}", do=do))


def proposer_params(job: ResolvedJob) -> dict[str, Any]:
    """Request parameters of the model that writes instructions; empty for a job without one.

    Those that the file states are sent as they are. Of the ones that hold where it states none, the model is sent what
    it accepts.
    """
    part = job.space.propose
    if part is None:
        return {}
    model, given = job.models[model_name(part.model)], {n: v for n, v in part.params.items() if v is not None}
    if "params" in part.model_fields_set:
        return given
    if model.supported_params is not None:
        given = {name: value for name, value in given.items() if name in model.supported_params}
    while given and (found := rejection(model, given)) is not None:
        given = {name: value for name, value in given.items() if name not in found.params}
    return given


def sent_to(model: str, request_params: Sequence[SearchParam], key: str = "model") -> Iterator[dict[str, Any]]:
    """Request parameters that a candidate on this model may be sent: what is fixed, with every value, then every two.

    Args:
        request_params: the request parameters of a space.
        key: the param that chooses the model.
    """
    mine = [param for param in request_params if _may_apply(param, {key: model})]
    alone = [param for param in mine if len(param.choices) == 1 and not (param.when.keys() - {key})]
    fixed = {param.name: param.choices[0] for param in alone}
    free = [param for param in mine if param.name not in fixed]
    yield dict(fixed)
    for param in free:
        for value in _values(param):
            yield {**fixed, param.name: value}
    for one, other in combinations(free, 2):
        for a, b in product(_values(one), _values(other)):
            if _may_apply(one, {key: model, other.name: b}) and _may_apply(other, {key: model, one.name: a}):
                yield {**fixed, one.name: a, other.name: b}


def _may_apply(param: SearchParam, known: Mapping[str, Scalar]) -> bool:
    """Whether its condition can hold, with some params known and the others open."""
    return SearchParam(name=param.name, when={n: v for n, v in param.when.items() if n in known}).applies(known)


def _values(param: SearchParam) -> tuple[Scalar, ...]:
    if param.choices:
        return param.choices
    values = (param.low, (param.low + param.high) / 2, param.high)
    return tuple(dict.fromkeys(param.own(value) for value in values if param.step is None or param.holds(value)))


def _searched(
    job: ResolvedJob, request_params: Sequence[SearchParam], found: Rejection, key: str = "model"
) -> SpaceError:
    """The message for a searched or fixed parameter: what accepts it, and the line that keeps it from the rest."""
    param = next(param for param in request_params if param.name in found.params)
    name = param.name
    chosen = job.searched_models if key == "model" else [m for m, by in job.predictor_models.items() if by == key]
    accepting = [other for other in chosen if rejection(job.models[other], found.params) is None]
    model = job.models[found.model]
    alone = {key: value for key, value in found.params.items() if key != name}
    others = [value for value in _values(param) if rejection(model, {**alone, name: value}) is None]
    steps = [f"Use a value that it accepts ({', '.join(map(repr, others))})" if others else ""]
    steps += [f"send it only where it is accepted: `when: {{{key}: {accepting}}}`" if accepting else "remove it"]
    do = ", or ".join(step for step in steps if step) + "."
    what = f"params.{name}: {found.model!r} does not accept {found.what} ({found.why})"
    return SpaceError(problem(job.loaded.where(f"params.{name}"), what, do=do[0].upper() + do[1:]))
