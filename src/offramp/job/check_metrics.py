"""Calls the metrics of the user once before a job runs, so that one that fails does so before a call is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from offramp.errors import MetricError, SpaceError
from offramp.job.declared import metric_parts
from offramp.job.resolved import ResolvedJob
from offramp.program.forms.own_check import OwnCheck
from offramp.program.inputs import as_declared
from offramp.program.metric_answers import answer_of
from offramp.program.module import declared_outputs
from offramp.program.values import base_of
from offramp.records import Example
from offramp.space.forms import spec_of
from offramp.space.model import OutputField, PythonMetric
from offramp.task.metrics import Metric, build_metric
from offramp.task.metrics.python import CallsModel
from offramp.task.metrics.rows import PREDICTION, Missing


def try_metrics(job: ResolvedJob) -> None:
    """Calls the user's metric functions on three rows with gold answers as predictions, made-up ones where the data
    has none, so that a wrong return value shows before a call is paid for. A metric that reads what a program gives
    beside them, or asks its model, waits for its first run; one that asks a model without a statement of which is
    refused. So does one that fails on answers of a module whose types nothing declares.
    """
    task, outputs = job.task, job.task.fields.outputs
    declared = {} if job.module is None else declared_outputs(job.module, outputs)
    types = {name: annotation for name, annotation in declared.items() if base_of(annotation)[0] is not Any}
    gives_more = job.factory is not None or any(spec_of(n).over == "chain_of_thought" for n in job.space.forms)
    untyped = job.factory is not None and len(types) < len(outputs)
    for part in metric_parts(job.space.metric, PythonMetric):
        metric = build_metric(part, fields=task.fields, base=job.loaded.base, models=job.models)
        for example in (*task.splits.train[:1], *task.splits.search[:2]):
            gold = all(name in example.values for name in outputs)
            values = {name: example.values.get(name, _made_up(output)) for name, output in outputs.items()}
            error = _refused(metric, example, values, types)
            if error is None or (isinstance(error, CallsModel) and part.model is not None):
                continue
            if not (gives_more and _asks_for_more(error)) and (_is_sure(error) or (gold and not untyped)):
                raise error


def _refused(
    metric: Metric, example: Example, values: Mapping[str, Any], types: Mapping[str, Any]
) -> MetricError | None:
    """What a metric says of an answer, as JSON has it or as the module declares it; None where it takes one of both."""
    error: MetricError | None = None
    objects = {name: as_declared(values[name], annotation) for name, annotation in types.items()}
    for given in ({}, objects) if objects else ({},):
        try:
            asyncio.run(metric.score(example, answer_of(values, objects=given), None))
        except MetricError as raised:
            error = raised
        else:
            return None
    return error


def try_checks(job: ResolvedJob) -> None:
    """Calls the functions that check answers on the gold answers of three rows, so that a wrong return value shows
    before a call is paid for. Raises SpaceError.
    """
    task = job.task
    rows = [e for e in task.splits.search if all(name in e.values for name in task.fields.outputs)][:3]
    for path, function in task.fields.checks.items():
        for example in rows:
            inputs, answer = (
                {name: example.values.get(name) for name in names}
                for names in (task.fields.inputs, task.fields.outputs)
            )
            try:
                asyncio.run(OwnCheck(path, function).checked(inputs, [answer]))
            except MetricError as error:
                where = job.loaded.where("program.form")
                raise SpaceError(f"{where}: program.form: check: row {example.row}: {error}") from error


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
