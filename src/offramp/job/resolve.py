"""A space file resolved into a job: its models, data, metric, params and incumbent.

Invariant: what `resolve_job` returns can be run. What cannot be run ends here with a UsageError, before anything is
written or spent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from offramp.errors import MetricError, SpaceError, nearest, problem
from offramp.job.check_here import check_runnable
from offramp.job.checks import check_job
from offramp.job.declared import Declared, check_declared
from offramp.job.resolved import ResolvedJob, with_own
from offramp.program.code import code_of
from offramp.program.module import (
    check_modules,
    declared_inputs,
    declared_outputs,
    import_module_factory,
    own_instructions,
)
from offramp.records import Candidate, Model
from offramp.space.forms import MAIN
from offramp.space.load import LoadedSpace
from offramp.space.model import OWN, SpaceFile, spelled
from offramp.space.params import (
    Texts,
    candidate_of,
    incumbent_params,
    params_of,
    predictor_models,
)
from offramp.study.domain.objectives import objectives_of
from offramp.task.local_code import importing_once
from offramp.task.metrics.imports import LoadedMetric, load_metric
from offramp.task.task import Task, read_for_module


def resolve_job(given: LoadedSpace | Declared, *, to_run: bool = False, stored: bool = False) -> ResolvedJob:
    """Checks a loaded space against its data and models.

    Args:
        given: a loaded space, or what it declares where that was checked already.
        to_run: also ask for keys and model files, which a check on another machine need not have.
        stored: a study has run on it, so that the file itself is taken as it is: it passed the checks of its day.

    Raises:
        UsageError: (one of its kinds) with where, what, and what to do.
    """
    declared = given if isinstance(given, Declared) else check_declared(given, stored=stored)
    with importing_once(declared.imports):
        return _resolved(declared, to_run=to_run, stored=stored)


def _resolved(declared: Declared, *, to_run: bool, stored: bool) -> ResolvedJob:
    loaded, models, searched, texts, task = (
        declared.loaded, declared.models, declared.searched, declared.texts, declared.task
    )  # fmt: skip
    space = loaded.space
    checks = _checks(loaded)
    functions = {path: check.function for path, check in checks.items()}
    task = replace(task, fields=replace(task.fields, checks=functions)) if checks else task
    factory = (
        import_module_factory(space.task.module, loaded.base, loaded.where("task.module"))
        if space.task.module
        else None
    )
    made = () if factory is None else (factory(), factory())
    if made:
        annotated = declared_outputs(made[0], task.fields.outputs)
        task = read_for_module(
            task, space, outputs=annotated, inputs=declared_inputs(made[0]), stored=stored
        )  # fmt: skip
    own_texts = own_instructions(made[0]) if made else {}
    if factory is not None and not texts:
        texts = {name: {OWN: text} for name, text in own_texts.items()}
    predictors = _predictors([MAIN] if factory is None else [*own_texts], texts, predictor_models(space), loaded)
    texts = {
        p: {n: own_texts[p] if (n, text) == (OWN, "") else text for n, text in v.items()} for p, v in texts.items()
    }
    if factory is None:
        stated = space.incumbent.form if space.incumbent is not None else None
        forms = {*space.forms, *([spelled(stated)] if stated else [])}
        check_modules(forms, task.fields, loaded.where("task"))
    search_params = params_of(space, texts, {name: models[name] for name in searched})
    chosen = incumbent_params(space, texts, search_params)
    job = ResolvedJob(
        loaded=loaded,
        models=models,
        searched_models=searched,
        texts=texts,
        task=task,
        search_params=search_params,
        objectives=objectives_of(space),
        incumbent=None
        if chosen is None
        else _incumbent(chosen, space, with_own(texts, own_texts), models, search_params),
        factory=factory,
        module=made[0] if made else None,
        predictors=predictors,
        own_texts=own_texts,
        code=code_of(str(space.task.module), loaded.base, made)
        if made
        else {path: check.code_hash for path, check in checks.items()},
        balance_by=_balance_by(loaded, task),
    )
    check_job(job, stored=stored)
    if to_run:
        check_runnable(job)
    return job


def _predictors(names: Collection[str], texts: Texts, models: Collection[str], loaded: LoadedSpace) -> int:
    for key, named in {"instructions": texts, "program.models": models}.items():
        for predictor in named:
            if predictor not in names:
                do = nearest(predictor, names) or f"Its predictors are {names}."
                expected = "a predictor of the program"
                where = loaded.where(f"{key}.{predictor}")
                raise SpaceError(problem(where, key, got=predictor, expected=expected, do=do))
    return len(names)


def _checks(loaded: LoadedSpace) -> dict[str, LoadedMetric]:
    """The user's functions that check answers, by import path. Raises SpaceError where one cannot be called so."""
    found = {}
    for path in loaded.space.checks:
        try:
            found[path] = load_metric(path, loaded.base)
        except MetricError as error:
            said = str(error).replace("(example, prediction)", "(inputs, answer)")
            raise SpaceError(f"{loaded.where('program.form')}: program.form: check: {said}") from error
    return found


def _incumbent(
    chosen: Mapping[str, Any], space: SpaceFile, texts: Texts, models: Mapping[str, Model], search_params: Any
) -> Candidate:
    candidate = candidate_of(chosen, space=space, texts=texts, models=models, search_params=search_params)
    extra = space.incumbent.params if space.incumbent is not None else {}
    known = {**candidate.request_params, **{name: chosen[name] for name in extra if chosen[name] is not None}}
    return replace(candidate, request_params=known)


def _balance_by(loaded: LoadedSpace, task: Task) -> str | None:
    space = loaded.space
    enums = [name for name, output in task.fields.outputs.items() if output.type == "enum"]
    column = space.demos.balance_by or next(iter(enums), None)
    if "balanced" in space.demo_kinds:
        columns = set(task.splits.search[0].values)
        if column is None or column not in columns:
            do = nearest(column or "", columns) or "Name a column of the dataset in `demos.balance_by`."
            where = loaded.where("demos.balance_by")
            raise SpaceError(problem(where, "demos.balance_by", got=column, expected="a column to balance", do=do))
    return column
