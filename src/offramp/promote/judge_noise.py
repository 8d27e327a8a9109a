"""How well a judge repeats itself: it grades again what it has graded, and how far its grades lie apart is kept.

Two evaluations of the same feature differ by that much though nothing has changed. What of a difference the judge's own
noise explains is not a change; see `Noise.allowed`.

Invariant: an answer is judged again as a new request, never from what the ledger has of the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from offramp.calls.failures import InfrastructureError
from offramp.errors import MetricError
from offramp.evaluate.scoring import judge_ask
from offramp.evaluate.together import all_of
from offramp.ids import derived_seed
from offramp.job.session import Session
from offramp.program.metric_answers import answer_of
from offramp.records import SAME_SCORE, CallReply, CallRequest, Example, Result
from offramp.stats import noise_of_mean, repeat_variance
from offramp.store.budget import BudgetExceeded
from offramp.task.metrics import Metric
from offramp.task.metrics.judge import JudgeFailed

REPEATS = 40
"""Times that a judge is asked again in all: of as many answers as there are, and of few answers several times."""
MOST_LOOKED_AT = 20
"""Answers that got worse are judged again as well, up to so many."""
_REPLICATES = 100
"""Distance of replicates: within, the judge asks again for what it could not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What a judge said of answers that it had graded.

    Attributes:
        asked: times that an answer was judged again. answers: how many different answers that was about.
        disagrees: share of the repeats with another score than the first; None where nothing was repeated.
        variance, freedom: of one score of one answer, as `repeat_variance`.
        again: by example, the first repeated score.
    """

    asked: int
    answers: int
    disagrees: float | None
    variance: float
    freedom: int
    again: Mapping[str, float]

    def allowed(self, *, regraded: int, n: int) -> float:
        """The loss of mean score that the judge's noise alone gives, 19 times in 20 no more.

        Args:
            regraded: of the n examples, those whose score is of another answer, or another grading, than before.
        """
        return noise_of_mean(self.variance, self.freedom, regraded=regraded, n=n) if n else 0.0


async def measure_noise(
    session: Session, metric: Metric, examples: Mapping[str, Example], results: Sequence[Result],
    worse: Iterable[str], *, concurrency: int,
) -> Noise:  # fmt: skip
    """Has answers judged again. A cap that is reached ends it; what was measured so far counts.

    Args:
        results: scored, with outputs, whose answers may differ from those of before.
        worse: examples that got worse; they are judged again too, and count for the noise only if they were drawn.

    Raises:
        Interrupted, FatalCallError: the check cannot go on.
    """
    drawn = sorted(results, key=lambda result: derived_seed(0, "judge again", result.example))[:REPEATS]
    rounds = -(-REPEATS // len(drawn)) if drawn else 0
    names, looked_at = {result.example for result in drawn}, set(worse)
    extra = [result for result in results if result.example in looked_at - names][:MOST_LOOKED_AT]
    todo = [(result, number) for number in range(1, rounds + 1) for result in drawn][:REPEATS]
    todo += [(result, 1) for result in extra]
    limit = asyncio.Semaphore(concurrency)

    async def one(result: Result, number: int) -> float | None:
        async def again(request: CallRequest) -> CallReply:
            return await session.send(replace(request, replicate=request.replicate + number * _REPLICATES))

        async with limit:
            session.clock.check()
            answer = answer_of(result.outputs or {})
            try:
                score = await metric.score(examples[result.example], answer, judge_ask(again))
            except (
                JudgeFailed,
                InfrastructureError,
                BudgetExceeded,
                MetricError,
            ):  # also a metric that reads what no record has
                return None
            return score.value

    found = await all_of(one(result, number) for result, number in todo)
    again = [(result, score) for (result, _), score in zip(todo, found, strict=True) if isinstance(score, float)]
    return _noise(names, again)


def _noise(drawn: set[str], again: Sequence[tuple[Result, float]]) -> Noise:
    scores: dict[str, list[float]] = {}
    first: dict[str, float] = {}
    differ = 0
    for result, score in again:
        first.setdefault(result.example, score)
        if result.example in drawn:
            scores.setdefault(result.example, [result.score or 0.0]).append(score)
            differ += abs(score - (result.score or 0.0)) > SAME_SCORE
    variance, freedom = repeat_variance(list(scores.values()))
    return Noise(
        asked=len(again),
        answers=len(first),
        disagrees=differ / freedom if freedom else None,
        variance=variance,
        freedom=freedom,
        again=first,
    )
