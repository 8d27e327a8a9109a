"""From the outcome of one run to a result: scored, a program error, or an infrastructure error.

Invariant: an infrastructure error never becomes a score, and a program error always has one (it is 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from offramp.calls.failures import InfrastructureError, ProgramError, RequestRejected
from offramp.errors import OfframpError
from offramp.evaluate.endings import ending_of, error_words, other_model, reasoning_only
from offramp.program.metric_answers import answer_of
from offramp.program.program import Outcome, place_of
from offramp.program.run_log import Exchange, virtual_cost
from offramp.records import (
    CallReply,
    CallRequest,
    Candidate,
    Example,
    Model,
    Result,
    ResultState,
    Usage,
)
from offramp.task.metrics import Ask, Metric
from offramp.task.metrics.judge import JudgeFailed


async def result_of(
    outcome: Outcome, *, candidate: Candidate, example: Example, model: Model, metric: Metric, ask: Ask | None
) -> Result:
    """The result of one run. A judge that gives no answer is a failure like any other.

    Raises:
        MetricError: the metric is broken; the user has to fix it, and it is not a result.
        JobError, FatalCallError: the judge's request ends the whole job (no budget left, no access).
    """
    try:
        return await graded(outcome, candidate=candidate, example=example, model=model, metric=metric, ask=ask)
    except InfrastructureError as error:
        return _failed(outcome, candidate, example, error)


async def graded(
    outcome: Outcome, *, candidate: Candidate, example: Example, model: Model, metric: Metric, ask: Ask | None,
    predictor: str | None = None,
) -> Result:  # fmt: skip
    """As `result_of`, for who has to know whether another try could end otherwise: raises InfrastructureError too.

    Args:
        predictor: the one that feedback is wanted for, from a metric that knows of predictors; None for the whole.
    """
    if outcome.infrastructure_error is not None:
        return _failed(outcome, candidate, example, outcome.infrastructure_error)
    if outcome.program_error is not None:
        return _counted(
            outcome, candidate, example, model, ResultState.PROGRAM_ERROR, 0.0, error_words(outcome, candidate), {}
        )
    try:
        answer = answer_of(outcome.outputs or {}, outcome, predictor)
        score = await metric.score(example, answer, None if ask is None else judge_ask(ask))
    except JudgeFailed as error:
        return _failed(outcome, candidate, example, error)
    return _counted(outcome, candidate, example, model, ResultState.SCORED, score.value, score.feedback, score.parts)


def judge_ask(ask: Ask) -> Ask:
    """Asks, and gives a refusal as a reply that says so: it is the judge's own, never the candidate's."""

    async def asked(request: CallRequest) -> CallReply:
        try:
            return await ask(request)
        except ProgramError as error:
            return error.reply()

    return asked


def _counted(
    outcome: Outcome, candidate: Candidate, example: Example, model: Model, state: ResultState, score: float,
    reason: str | None, parts: Mapping[str, float],
) -> Result:  # fmt: skip
    own = [exchange for exchange in outcome.exchanges if exchange.request.model.name == candidate.model]
    others = [exchange for exchange in outcome.exchanges if exchange.request.model.name != candidate.model]
    none, cached = Usage(compute_s=0.0) if others and not own else Usage(), _cached(outcome)
    return Result(
        candidate=candidate.id,
        example=example.id,
        state=state,
        score=score,
        cost_usd=virtual_cost(outcome.exchanges),
        others_usd=_unexplained(own, others),
        latency_s=outcome.latency_s,
        usage=sum((exchange.reply.usage for exchange in own), none),
        outputs=outcome.outputs,
        reason=reason,
        parts=dict(parts),
        calls=len(outcome.exchanges) - cached,
        cached_calls=cached,
        ending=ending_of(outcome),
        reasoning_only=reasoning_only(outcome),
        other_model=other_model(outcome),
        confidence=outcome.confidence,
    )


def _unexplained(own: Sequence[Exchange], others: Sequence[Exchange]) -> float | None:
    """What other models cost, and what its own cost more for being served at another tier than asked for."""
    found = virtual_cost(others)
    for exchange in own:
        asked, served = exchange.request.price, exchange.request.price_served(exchange.reply.service_tier)
        if found is None or asked is None or served is None or served == asked:
            continue
        found += (served.reply_usd(exchange.reply.usage) or 0.0) - (asked.reply_usd(exchange.reply.usage) or 0.0)
    return found


def _failed(outcome: Outcome, candidate: Candidate, example: Example, error: BaseException) -> Result:
    row = f"row {example.row} ({example.id}): " if isinstance(error, RequestRejected) else ""
    place = "" if isinstance(error, OfframpError) else place_of(error)
    return Result(
        candidate=candidate.id,
        example=example.id,
        state=ResultState.INFRASTRUCTURE_ERROR,
        score=None,
        cost_usd=None,
        latency_s=None,
        reason=f"{type(error).__name__}: {row}{error}".removesuffix(": ") + place,
        calls=len(outcome.replies) - _cached(outcome),
        cached_calls=_cached(outcome),
    )


def _cached(outcome: Outcome) -> int:
    return sum(exchange.reply.cached for exchange in outcome.exchanges)
