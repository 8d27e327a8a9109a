"""How long a run of a program takes: the longest chain of its requests and of its own code between them.

Requests that ran side by side count once, by the slower one; a tool that sleeps for a second counts a second. Each
request counts with the time of its physical request, so that waiting for a rate limit or for a place is left out, and
an answer from the ledger counts as when it was paid for. What depended on what is read from the clock: a request
depends on all that had ended when it began.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_GAP_S = 0.05
"""Shorter pauses between requests are not counted: they are what running many programs at once costs here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One request of a run: when it began and ended by the clock of this process, and what it counts, in seconds."""

    began: float
    ended: float
    counts_s: float


def critical_path_s(spans: Sequence[Span], *, began: float, ended: float) -> float:
    """Seconds from the beginning of a run to its end, as an app would wait for it.

    Args:
        began, ended: of the run, by the same clock.
    """
    finished: list[tuple[float, float]] = []  # (end by the clock, end as it counts)
    for span in sorted(spans, key=lambda span: span.began):
        finished.append((span.ended, _at(span.began, finished, began) + span.counts_s))
    return _at(ended, finished, began)


def steps_s(requests: Iterable[tuple[int, float, bool]]) -> float:
    """Seconds of a run whose steps are known: one after another, each as long as its slowest request.

    Args:
        requests: the step of each, its seconds, and whether its model is embedded, which answers one request at a time.
    """
    longest: dict[int, float] = defaultdict(float)
    queued: dict[int, float] = defaultdict(float)
    for step, seconds, one_at_a_time in requests:
        queued[step] += seconds if one_at_a_time else 0.0
        longest[step] = max(longest[step], seconds, queued[step])
    return sum(longest.values())


def _at(now: float, finished: Sequence[tuple[float, float]], began: float) -> float:
    """A moment of the clock as it counts: the latest that had ended by then, and the pause since."""
    before = [(clock, counts) for clock, counts in finished if clock <= now]
    last = max((clock for clock, _ in before), default=began)
    pause = now - last
    return max((counts for _, counts in before), default=0.0) + (pause if pause >= LEAST_GAP_S else 0.0)
