"""A study as runs of MLflow: one for the study, and one below it for each candidate.

`MLFLOW_TRACKING_URI` says where; the experiment is the name of the space.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from offramp.tracking import TrackedStudy

_KEY, _LONGEST = "offramp.run", 5000


def write(study: TrackedStudy) -> None:
    """Makes the runs, or brings those that there are up to date; other runs of the experiment stay as they are."""
    client = MlflowClient()
    known = client.get_experiment_by_name(study.space)
    experiment = client.create_experiment(study.space) if known is None else known.experiment_id
    whole = _run(client, experiment, study.study, study.study, None)
    _update(client, whole, study.tags, {}, {})
    for one in study.candidates:
        run = _run(client, experiment, f"{study.study}:{one.candidate}", one.candidate, whole)
        tags = {f"offramp.{name}": str(value).lower() for name, value in one.tags.items()}
        _update(client, run, {**study.tags, "offramp.candidate": one.candidate, **tags}, one.params, one.metrics)


def _run(client: MlflowClient, experiment: str, key: str, name: str, parent: str | None) -> str:
    found = client.search_runs([experiment], f"tags.`{_KEY}` = '{key}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {_KEY: key, **({} if parent is None else {"mlflow.parentRunId": parent})}
    return str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)


def _update(
    client: MlflowClient, run: str, tags: Mapping[str, str], params: Mapping[str, str], metrics: Mapping[str, float]
) -> None:
    now = int(time.time() * 1000)
    client.log_batch(
        run,
        metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
        params=[Param(name, value[:_LONGEST]) for name, value in params.items()],
        tags=[RunTag(name, value[:_LONGEST]) for name, value in tags.items()],
    )
    client.set_terminated(run)
