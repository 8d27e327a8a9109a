"""A model that its provider does not have, in one message: which one, what the provider said, what to use instead."""

from __future__ import annotations

import re

from offramp.calls.failures import ModelNotFound
from offramp.calls.transports.replies import says_retired
from offramp.errors import problem
from offramp.models.retirement.replacements import replacements
from offramp.records import Model, Purpose

_SHORT = 300


def missing_model(error: ModelNotFound, model: Model, purpose: Purpose = Purpose.PROGRAM) -> ModelNotFound:
    """The failure with the model's name, whether it has retired, and its successors."""
    retired, successors = error.retired or says_retired(error.said), replacements(model)
    who = "the judge's model" if purpose is Purpose.JUDGE else "the model"
    state = "has retired or was renamed" if retired else "is unknown to its provider (retired, renamed or wrong)"
    what = f"{who} {state}; the provider said: {short(error.said)}"
    return ModelNotFound(
        problem(model.name, what, do=advice(successors)), model=model.name, said=error.said, retired=retired,
        successors=successors, latency_s=error.latency_s,
    )  # fmt: skip


def advice(successors: tuple[str, ...]) -> str:
    """What to do about it."""
    if successors:
        return f"Use a successor in its place: {', '.join(successors)}."
    return "Nobody names a successor; `offramp watch` shows models that could replace what is promoted."


def short(said: str) -> str:
    """What a provider said, in one line that fits a message."""
    said = re.sub(r"^litellm\.\w+: (?:\w+: )?(?:\w+Exception - )?", "", " ".join(said.split()))
    return said if len(said) <= _SHORT else f"{said[: _SHORT - 3]}..."
