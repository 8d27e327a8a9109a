"""Trials of the study that this one starts from, as history for the sampler.

They are in optuna's study alone, marked `prior`, and have no `candidate`: no report, front, count or recommendation of
this study knows them. Samplers that learn from all finished trials (`tpe`, `gp`) learn from them; `nsga2` breeds from
its own population only, and `random` and `grid` do not learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.search.optuna_study import OptunaStudy
from offramp.space.model import ConstraintsPart
from offramp.study.domain.objectives import Objective, utility, values_of, violations


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorTrial:
    """Aggregates of an old candidate, as objectives read them."""

    quality: float | None
    cost_usd: float | None
    latencies_s: Mapping[str, float | None]

    def latency_s(self, statistic: str = "p50") -> float | None:
        """Seconds of one run."""
        return self.latencies_s.get(statistic)


def add_prior(
    study: OptunaStudy, warm: Mapping[str, Any], objectives: Sequence[Objective], constraints: ConstraintsPart, *,
    single: bool,
) -> None:  # fmt: skip
    """Adds what is not there yet of the record's prior trials; one that lacks an objective is left out."""
    there = study.priors()
    for trial in warm.get("prior", ()):
        old = PriorTrial(quality=trial["quality"], cost_usd=trial["cost_usd"], latencies_s=trial["latency_s"])
        values = values_of(objectives, old)
        if values is not None and trial["candidate"] not in there:
            told = [utility(objectives, values)] if single else list(values)
            missed = violations(constraints, old)
            study.add_prior(trial["params"], told, missed, candidate=trial["candidate"], source=str(warm["study"]))
