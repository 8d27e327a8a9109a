"""What a metric is, and how its definition gets a fingerprint.

Invariant: the same definition has the same fingerprint on every machine, and a changed one has another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from pydantic import BaseModel

from offramp.ids import content_hash
from offramp.records import CallReply, CallRequest, Example, Score

Ask = Callable[[CallRequest], Awaitable[CallReply]]
"""Makes one call, through ledger and budget. Raises an OfframpError when there is no reply."""

VERSION = 1
"""Part of every fingerprint: raise it when the same definition begins to score otherwise."""

_LABELS = frozenset({"weight", "name"})


class Metric(Protocol):
    """Scores predictions. The value is in [0, 1], higher is better, and is a mean over examples when aggregated.

    A missing or null output is an answer (a wrong one, unless gold is null too), never an exception. Raises
    MetricError where the metric itself is at fault, DatasetError where the example's gold is, and lets through what
    `ask` raises. Changes neither `example` nor `outputs`. May be called for many examples at the same time.
    """

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Content hash of the definition: scores of two fingerprints are never mixed."""
        ...

    @property
    def judge_models(self) -> tuple[str, ...]:
        """Names of the models it asks; empty for most."""
        ...

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """Score one prediction. `ask` may be None for a metric without judge models."""
        ...


def part_fingerprint(part: BaseModel, *more: str) -> str:
    """Fingerprint of one part of a space file; weight and name in reports do not count."""
    return content_hash([VERSION, part.model_dump(mode="json", exclude=set(_LABELS)), *more])
