"""Candidates that are likely on the front and were not run on all examples, as the search expected them to be.

Where caps end a job before the members of the front that it would declare are complete, their records keep what is
expected of them. They are shown beside the front. Only the one that is expected to be ahead of every complete member
becomes a member itself, marked as an estimate, and is evaluated on the holdout (`members.with_finalist`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from offramp.records import Objective, Scalar
from offramp.store.candidates import CandidateRow
from offramp.study.domain.objectives import utility
from offramp.study.domain.sent_values import as_sent

Z = 1.96
WIDEST = 20.0
"""Logarithm of the largest factor between an expected value and an end of its interval."""
KEYS = {"quality": "quality", "cost": "cost_usd", "latency": "latency_s"}
"""What each objective is called in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One objective over all search examples: its expected value and 95% interval, in the objective's unit."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyMember:
    """One candidate that is expected on the front.

    Attributes:
        candidate: id.
        params: full assignment. sent: what was sent that they do not say.
        n: examples that it was run on, of `of`.
        trust: probability that it is on the front or close to it, as of when the search ended.
        values: by objective.
        utility: of the expected values; None where one or a scale is not known.
    """

    candidate: str
    params: Mapping[str, Scalar]
    sent: Mapping[str, Any] = field(default_factory=dict)
    n: int
    of: int
    trust: float
    values: Mapping[str, Expected]
    utility: float | None = None

    @property
    def shown(self) -> dict[str, Scalar]:
        """Its params as they are shown: with what was sent."""
        return as_sent(self.params, self.sent)

    def to_json(self) -> dict[str, Any]:
        """JSON values; `quality_low` and `quality_high` are the ends of its interval, and so on."""
        values: dict[str, float] = {}
        for name, seen in self.values.items():
            key = KEYS[name]
            values |= {key: seen.mean, f"{key}_low": seen.low, f"{key}_high": seen.high}
        return {
            "candidate": self.candidate, "params": dict(self.params), "n": self.n, "of": self.of, "trust": self.trust,
            "utility": self.utility, **values,
        }  # fmt: skip


def estimate_json(
    *, n: int, of: int, trust: float, mean: Mapping[str, float], sd: Mapping[str, float]
) -> dict[str, Any]:
    """What a candidate's record keeps of what is expected of it."""
    return {"n": n, "of": of, "trust": trust, "mean": dict(mean), "sd": dict(sd)}


def likely_members(rows: Sequence[CandidateRow], objectives: Sequence[Objective]) -> tuple[LikelyMember, ...]:
    """The candidates whose records have an estimate, highest expected utility first."""
    found = [_likely(row, row.origin["estimate"]) for row in rows if row.origin.get("estimate")]
    return reweighed(found, objectives)


def reweighed(members: Sequence[LikelyMember], objectives: Sequence[Objective]) -> tuple[LikelyMember, ...]:
    """The same with the utility by these objectives, highest first."""
    found = [replace(member, utility=_utility(member.values, objectives)) for member in members]
    return tuple(sorted(found, key=lambda m: (-(m.utility or 0.0), m.candidate)))


def _utility(values: Mapping[str, Expected], objectives: Sequence[Objective]) -> float | None:
    if any(o.name not in values or o.scale is None for o in objectives):
        return None
    return utility(objectives, [values[o.name].mean for o in objectives])


def _likely(row: CandidateRow, kept: Mapping[str, Any]) -> LikelyMember:
    values = {name: _expected(name, kept["mean"][name], kept["sd"][name]) for name in kept["mean"]}
    return LikelyMember(
        candidate=row.id, params=row.params, sent=row.sent, n=kept["n"], of=kept["of"], trust=kept["trust"],
        values=values,
    )  # fmt: skip


def _expected(objective: str, mean: float, sd: float) -> Expected:
    """The interval of money and seconds is in proportion to them; that of a score ends at 0 and 1."""
    if objective == "quality":
        low, middle, high = (min(1.0, max(0.0, value)) for value in (mean - Z * sd, mean, mean + Z * sd))
        return Expected(mean=middle, low=low, high=high)
    factor = math.exp(min(WIDEST, Z * sd / mean)) if mean > 0 else 1.0
    return Expected(mean=mean, low=mean / factor, high=mean * factor)
