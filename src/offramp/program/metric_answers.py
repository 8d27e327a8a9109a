"""The answer of a run as a metric of the user's gets it: like a prediction of DSPy, with what counts its own calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from dspy.primitives import Completions

from offramp.program.metric_calls import metric_calls
from offramp.program.program import Outcome
from offramp.program.run_log import Exchange
from offramp.task.metrics.rows import Answer, readable


def answer_of(
    outputs: Mapping[str, Any], outcome: Outcome | None = None, predictor: str | None = None, *,
    objects: Mapping[str, Any] | None = None,
) -> Answer:  # fmt: skip
    """The answer.

    Args:
        outputs: as JSON values.
        outcome: of the run; None for gold answers, and where no more than the outputs is stored.
        predictor: the one that feedback is asked for; None for the program as a whole.
        objects: outputs as a module of the user's own gives them; None for those of the outcome.
    """
    given_as = outcome.objects if objects is None and outcome is not None else objects or {}
    prediction = None if outcome is None else outcome.prediction
    given = {} if prediction is None else dict(prediction.items())
    beside = {name: value for name, value in given.items() if name not in outputs}

    def methods() -> dict[str, Any]:
        completions = None if prediction is None else prediction.completions
        if completions is None:  # it was asked for one
            shown = {**beside, **outputs, **given_as}
            completions = Completions({name: [readable(value)] for name, value in shown.items()})
        usage = {} if outcome is None else _usage_by_model(outcome.exchanges)
        return {"completions": completions, "get_lm_usage": lambda: readable(usage)}

    steps = () if outcome is None else outcome.trace
    return Answer(
        outputs, objects=given_as, beside=beside, methods=methods, steps=steps, predictor=predictor,
        calling=metric_calls,
    )  # fmt: skip


def _usage_by_model(exchanges: Sequence[Exchange]) -> dict[str, dict[str, int]]:
    """Tokens by route, under DSPy's names."""
    found: dict[str, dict[str, int]] = {}
    for exchange in exchanges:
        usage, counts = exchange.reply.usage, found.setdefault(exchange.request.model.route, defaultdict(int))
        read, written = usage.prompt_tokens, usage.output_tokens + usage.reasoning_tokens
        counts["prompt_tokens"] += read
        counts["completion_tokens"] += written
        counts["total_tokens"] += read + written
    return found
