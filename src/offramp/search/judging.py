"""What judges cost beside the candidates that they grade: by their own requests, or a bound before any was sent.

A judge's cost is in no candidate's cost, but the budget pays for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from offramp.calls.estimate import worst_usd
from offramp.job.resolved import ResolvedJob
from offramp.records import CallRequest
from offramp.store.ledger import Effort
from offramp.task.metrics import judges_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What grading one answer takes, all 0 without a judge.

    Attributes:
        judges: that are asked. calls: attempts that this takes.
        bound_usd: what is reserved for the most expensive request.
        measured: whether `usd` is what was paid, or a bound.
    """

    judges: int = 0
    usd: float = 0.0
    calls: float = 0.0
    bound_usd: float = 0.0
    measured: bool = True


def judge_requests(job: ResolvedJob) -> list[CallRequest]:
    """What the judges are asked about one answer: that of the longest example, with its gold answer for one."""
    longest = max(job.task.splits.search, key=lambda example: len(str(example.values)))
    return [judge.request(longest, longest.values) for judge in judges_of(job.task.metric)]


class Judges:
    """The judges of a task, each once for every part of the metric that asks one."""

    def __init__(self, job: ResolvedJob) -> None:
        timeout_s, requests = job.space.calls.timeout_s, judge_requests(job)
        self._prices = {request.model.name: request.price for request in requests}
        self._bounds = [worst_usd(request, timeout_s) for request in requests]

    def take(self, effort: Effort) -> Judging:
        """For one answer, by what they took so far."""
        n, asked = len(self._bounds), effort.questions
        usd = self._usd(effort) if asked else None
        return Judging(
            judges=n,
            usd=math.fsum(self._bounds) if usd is None else n * usd / asked,
            calls=n * effort.attempts / asked if asked else n,
            bound_usd=max(self._bounds, default=0.0),
            measured=usd is not None or n == 0,
        )

    def _usd(self, effort: Effort) -> float | None:
        prices = {name: self._prices.get(name) for name in effort.usage}
        costs = [None if (p := prices[name]) is None else p.cost_usd(usage) for name, usage in effort.usage.items()]
        known = [cost for cost in costs if cost is not None]
        return math.fsum(known) if len(known) == len(costs) else None
