"""What became of a front on the holdout: who is still on it, and who is better or worse than the incumbent.

Invariant: the holdout decides nothing of what the search found; it is shown beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from offramp.stats.pareto import non_dominated
from offramp.study.members import Against, HoldoutScore, Member
from offramp.study.objectives import Objective
from offramp.study.pairs import paired
from offramp.study.tally import Tally, holm_corrected

Scores = Mapping[str, Mapping[str, float]]
"""By candidate id, the score of each example that has one."""


def judged(
    members: Sequence[Member], objectives: Sequence[Objective], incumbent: str | None, scores: Scores
) -> dict[str, HoldoutScore]:
    """The holdout scores of these members, by candidate: with who is on the front there, and against the incumbent.

    Args:
        members: the front, the recommended one and the incumbent; those that were not scored there are left out.
        scores: of every candidate with results on the holdout.
    """
    scored = {m.candidate: m.holdout for m in members if m.holdout is not None}
    on_front = _front(scored, objectives)
    against = {} if incumbent is None or incumbent not in scored else tallies_against(incumbent, scores)
    return {
        candidate: replace(
            score, on_front=candidate in on_front, against=_seen(against[candidate]) if candidate in against else None
        )
        for candidate, score in scored.items()
    }


def _front(scored: Mapping[str, HoldoutScore], objectives: Sequence[Objective]) -> set[str]:
    """Those that no other of them dominates on the holdout; one that lacks an objective there is not among them."""
    if not scored:
        return set()
    points = np.array([[_value(s, o.name) for o in objectives] for s in scored.values()], dtype=float)
    mask = non_dominated(points, maximise=[o.maximise for o in objectives])
    return {candidate for candidate, on in zip(scored, mask, strict=True) if on}


def _value(score: HoldoutScore, objective: str) -> float:
    value = {"quality": score.quality, "cost": score.cost_usd, "latency": score.latency_s}[objective]
    return float("nan") if value is None else value


def tallies_against(before: str, scores: Scores) -> dict[str, Tally]:
    """Whoever has results on the holdout against one of them, on the examples that both have a score for.

    `p_corrected` is Holm's over all of them, so that it is the same wherever two are compared on the holdout.
    Those without a common example are left out.

    Args:
        scores: of every candidate with results on the holdout, `before` among them.
    """
    names = [name for name in scores if name != before]
    tallies = holm_corrected([paired(scores[name], scores.get(before, {})) for name in names])
    return {name: one for name, one in zip(names, tallies, strict=True) if one.n}


def _seen(one: Tally) -> Against:
    return Against(
        difference=one.difference or 0.0,
        low=one.interval.low,
        high=one.interval.high,
        wins=one.wins,
        losses=one.losses,
        ties=one.ties,
        p_value=one.p_value,
        p_corrected=one.p_corrected,
        better=one.better,
        worse=one.worse,
        worse_at_most=one.worse_at_most,
    )
