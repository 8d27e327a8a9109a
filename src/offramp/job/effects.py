"""Searched values that change nothing that the user's own module sends: said, or refused, before a search.

What a module sets by itself is read from it (`dspy.Predict(temperature=0.9)`, `dspy.BestOfN`). What its code sets
(`with dspy.context(adapter=...)`) shows in its first request, which is made on one example of the search split for
each value, and is not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from offramp.errors import SpaceError, problem
from offramp.job.resolved import ResolvedJob
from offramp.models.acceptance import rejection
from offramp.program.demos import NearestDemos
from offramp.program.effects import MakeProgram, Stated, first_request, made_up_demos, raised_first, stated_params
from offramp.program.module import build_module, predictors_of
from offramp.program.program import Program, demo_rows, labelled_demos
from offramp.records import CallRequest, Candidate, DemoKind, Example, Scalar
from offramp.space.params import SearchParam, choose, values_in

MOST_VALUES = 4
"""Values of a param whose first requests are compared."""
MOST_ROWS = 8
"""Rows that are tried for one about which the module asks a model, since it may answer some by a rule."""
_LABELLED = {"random", "balanced", "nearest"}
_OFTEN_SET = {"temperature": 0.7}
"""What DSPy sends by itself where several completions are asked for, and what programs set most often."""
Requests = Mapping[Scalar, CallRequest | None]
"""The first request with each value of a param; None where the module makes none."""
Made = dict[str, CallRequest | None]
"""First requests by candidate, for those who ask for several params: most have the same first candidate."""


def check_effects(job: ResolvedJob) -> None:
    """Refuses what the user's own module sends by itself where a model rejects it, and a request parameter with several
    values, none of which any request of the module can have.
    """
    if job.module is None:
        return
    _check_accepted(job)
    stated = stated_params(job.module)
    for param in job.search_params:
        if param.group != "request" or param.size == 1:
            continue
        sets = {p: found[param.name] for p, found in stated.items() if param.name in found}
        if not sets or len(sets) < len(stated) or not all(each.all_requests for each in sets.values()):
            continue
        if _same(first_requests(job, param)):
            do = f"Remove it from `params`, or let the module leave {param.name} to the candidate."
            what = f"params.{param.name}: no value of it is ever sent: {_each(sets)}"
            raise SpaceError(problem(job.loaded.where(f"params.{param.name}"), what, do=do))


def _check_accepted(job: ResolvedJob) -> None:
    """Refuses a searched model that rejects a parameter which the module sets by itself, such as a temperature."""
    assert job.module is not None
    stated = {name: each.value for by_name in stated_params(job.module).values() for name, each in by_name.items()}
    model = next(param for param in job.search_params if param.name == "model")
    for name in job.searched_models:
        if rejection(job.models[name], _OFTEN_SET) is None and rejection(job.models[name], stated) is None:
            continue
        if (candidate := with_value(job, model, name)) is None:
            continue
        if (request := asyncio.run(first_of(job, candidate))) is None:
            continue
        found, own = rejection(request.model, request.params), candidate.request_params
        if found is None or all(name in own and own[name] == value for name, value in found.params.items()):
            continue
        do = f"Take it out of the module, or {found.model} out of `models`."
        what = f"task.module: its first request has {found.what}, which {found.model!r} does not accept ({found.why})"
        raise SpaceError(problem(job.loaded.where("task.module"), what, do=do))


def without_effect(job: ResolvedJob) -> list[str]:
    """Warnings: what is searched, or stated for all candidates, and has no effect on some predictors, and why."""
    if job.module is None:
        return []
    stated = stated_params(job.module)
    found = [*_demos_not_shown(job)]
    made: Made = {}
    for param in job.search_params:
        if param.group == "request":
            found += _of_request_param(job, param, stated, made)
        elif param.name.startswith("instruction") and param.size > 1:
            found += _of_instruction(job, param, made)
        elif param.name == "demos" and len(predictors_of(job.module)) > 1:
            continue  # another predictor than the first may show them
        elif param.name in ("format", "demos") and param.size > 1 and _same(first_requests(job, param, made)):
            found.append(_PROGRAM[param.name])
    if made and not any(made.values()):
        found += _asks_nothing(job)
    return found


def _asks_nothing(job: ResolvedJob) -> Iterator[str]:
    """A warning for a module that raises before it asks a model, or asks none: it may do so on every row."""
    model = next(param for param in job.search_params if param.name == "model")
    candidate, row = with_value(job, model, tested_values(model)[0]), job.task.splits.search[0]
    if candidate is None:
        return
    if (said := asyncio.run(raised_first(_making(job, candidate), row))) is not None:
        yield f"task.module: on row {row.row} it raises, before it asks a model: {said}"
    else:
        yield f"task.module: it asks no model on any of the {len(job.task.splits.search[:MOST_ROWS])} rows looked at"


def _of_instruction(job: ResolvedJob, param: SearchParam, made: Made) -> Iterator[str]:
    """A warning for an instruction that is not in the first request of a module with one predictor."""
    assert job.module is not None
    if len(predictors_of(job.module)) == 1 and _same(first_requests(job, param, made)):
        key = param.name.replace("instruction", "instructions", 1)
        yield f"{key}: the module's first request is the same with each; it seems to set an instruction of its own"


_PROGRAM = {
    "format": "program.format: the module's first request is the same in each; it seems to set an adapter of its own",
    "demos": "demos.kind: the module's first request is the same with each; it seems to show demos of its own, or none",
}


def _of_request_param(
    job: ResolvedJob, param: SearchParam, stated: Mapping[str, Mapping[str, Stated]], made: Made
) -> list[str]:
    values = [value for value in tested_values(param) if value is not None]
    sets = {p: found[param.name] for p, found in stated.items() if param.name in found}
    sets = {p: each for p, each in sets.items() if values != [each.value]}
    if not values:
        return []
    if sets:
        return [f"params.{param.name}: no effect on {_each(sets)}"]
    requests = first_requests(job, param, made)
    others = {
        value: f"{param.name}={request.params[param.name]}" if param.name in request.params else f"no {param.name}"
        for value, request in requests.items()
        if request is not None and value is not None and _json(request.params.get(param.name)) != _json(value)
    }
    said = list(dict.fromkeys(others.values()))
    if _same(requests, least=1) and said:
        return [f"params.{param.name}: the module's first request has {said[0]}, whatever a candidate says"]
    return [
        f"params.{param.name}: the module's first request has {text} where the candidate has "
        f"{', '.join(str(value) for value, each in others.items() if each == text)}"
        for text in said
    ]


def _each(sets: Mapping[str, Stated]) -> str:
    """`gist and sort, where dspy.BestOfN runs at temperature=1.0; reply, which sets temperature=0.9 itself`."""
    by_reason: dict[str, list[str]] = {}
    for predictor, each in sets.items():
        by_reason.setdefault(each.why, []).append(predictor)
    said = {why: "which" if why.startswith("sets") else "where" for why in by_reason}
    return "; ".join(f"{' and '.join(names)}, {said[why]} {why}" for why, names in by_reason.items())


def _demos_not_shown(job: ResolvedJob) -> Iterator[str]:
    """Demos of the data that some predictors cannot show. Those that none can show are refused."""
    assert job.module is not None
    kinds = [str(kind) for param in job.search_params if param.name == "demos" for kind in param.choices]
    if not (labelled := [kind for kind in kinds if kind in _LABELLED]):
        return
    train = job.task.splits.train
    for name, predictor in predictors_of(job.module).items():
        if train and not demo_rows(train, predictor):
            lacking = sorted(set(predictor.signature.fields) - set(train[0].values))
            yield f"demos.kind: {' and '.join(labelled)} demos are not shown to {name}: no row has {', '.join(lacking)}"


# ---------------------------------------------------------------------------------------------- first requests


def tested_values(param: SearchParam) -> Sequence[Scalar]:
    """Some values of a param: the first ones, or the ends of a range."""
    if param.choices:
        return values_in(param)[:MOST_VALUES]
    return param.own(param.low), param.own(param.high)


def first_requests(job: ResolvedJob, param: SearchParam, made: Made | None = None) -> Requests:
    """The first request with each of some values of a param, all else as the first candidate has it.

    Args:
        made: those that are known already, to which it adds.
    """
    known = {} if made is None else made
    found = {value: with_value(job, param, value) for value in tested_values(param)}
    candidates = {value: candidate for value, candidate in found.items() if candidate is not None}
    for candidate in candidates.values():
        if candidate.id not in known:
            known[candidate.id] = asyncio.run(first_of(job, candidate))
    return {value: known[candidate.id] for value, candidate in candidates.items()}


def with_value(job: ResolvedJob, param: SearchParam, value: Scalar) -> Candidate | None:
    """The first candidate with this value of a param; None where the param does not apply to it."""

    def pick(each: SearchParam) -> Scalar:
        if each.name == param.name:
            return value
        needed = replace(param, when={each.name: param.when[each.name]}) if each.name in param.when else None
        values = each.choices or tested_values(each)
        return next((v for v in values if needed is None or needed.applies({each.name: v})), values[0])

    params = choose(job.search_params, pick)
    return job.candidate(params) if param.name in params else None


async def first_of(job: ResolvedJob, candidate: Candidate, example: Example | None = None) -> CallRequest | None:
    """The first request of a candidate on an example, which is not sent; for None on the first of the search split
    about which it asks a model.

    Bootstrapped demos are made up, since only a run finds them.
    """
    rows = [example] if example is not None else job.task.splits.search[:MOST_ROWS]
    return await first_request(_making(job, candidate), rows)


def _making(job: ResolvedJob, candidate: Candidate) -> MakeProgram:
    """What makes the program of a candidate, over what it is to send through."""
    splits, nearest, demos = job.task.splits, None, None
    factory = None if job.module is None else lambda: job.module
    if candidate.demo_kind is DemoKind.BOOTSTRAPPED:
        demos = made_up_demos(build_module(candidate, job.task.fields, factory, {}))
    elif candidate.demo_kind is DemoKind.NEAREST:
        nearest = NearestDemos(splits.train, job.task.fields.inputs)
    demos = demos or labelled_demos(
        candidate, fields=job.task.fields, factory=factory, train=splits.train, balance_by=job.balance_by
    )

    def made(send: Any) -> Program:
        return Program(
            candidate, fields=job.task.fields, model=job.models[candidate.model], send=send, factory=factory,
            demos=demos, nearest=nearest, models=job.models,
        )  # fmt: skip

    return made


def _same(requests: Requests, least: int = 2) -> bool:
    """Whether these values give one and the same first request."""
    hashes = {None if request is None else request.hash for request in requests.values()}
    return len(requests) >= least and len(hashes) == 1 and None not in hashes


def _json(value: Any) -> str:
    return repr(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)
