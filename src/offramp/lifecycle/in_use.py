"""What runs today: one model of one promoted feature, with all that watching it needs.

Invariant: nothing here knows how promotions are kept; `promoted.py` reads them into these records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.records import Price, Usage

REASONING = frozenset({"reasoning_effort", "thinking"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInUse:
    """One model that a label of a feature points at.

    Attributes:
        fallback: whether it is only asked when another gives no answer.
        name: as the space file wrote it. route: as requests are sent.
        own: a file or a server of one's own: no vendor can take it away or change its price.
        request_params: the request parameters that are sent.
        json_schema: whether answers are held to a schema.
        usage_1k: tokens of a thousand runs by class, as measured; None where the evidence has none.
        price_then: when it was promoted; None where unknown.
        stated: ISO date of retirement that was known of an own one when it was promoted; None where none was.
        service_tier: that its requests name; None where they name none.
    """

    feature: str
    label: str
    version: str
    fallback: bool = False
    name: str
    route: str
    own: bool
    request_params: Mapping[str, Any]
    json_schema: bool
    usage_1k: Usage | None
    price_then: Price | None
    stated: str | None = None
    service_tier: str | None = None

    @property
    def reasons(self) -> bool:
        """Whether it sends a parameter of reasoning."""
        return bool(self.request_params.keys() & REASONING)


def usage_of_1k(tokens: Mapping[str, float]) -> Usage | None:
    """A thousand runs from the mean tokens of one, by names of `Usage`; None where there are none."""
    known = {name: value for name, value in tokens.items() if name != "compute_s"}
    compute_s = tokens.get("compute_s")
    if not any(known.values()) and compute_s is None:
        return None
    whole = {name: round(value * 1000) for name, value in known.items()}
    return Usage(**whole, compute_s=None if compute_s is None else compute_s * 1000)
