"""How far a running study is, and how long the rest takes: the same for terminal, notebooks and pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SOON_S = 10.0
LEAST_SHARE = 0.05
"""A pace is stated from so many seconds, and so much of a cap, on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """How much of a cap of the whole study is used.

    Attributes:
        now, before: used by now, and when this run began.
        cap: None or 0 for none.
    """

    now: float
    cap: float | None
    before: float = 0.0

    @property
    def share(self) -> float:
        """0..1; 0 without a cap."""
        return min(1.0, self.now / self.cap) if self.cap else 0.0

    def rest_s(self, elapsed_s: float) -> float | None:
        """Seconds until the cap at the pace of this run; None while too little is used to say, and without a cap."""
        if not self.cap or elapsed_s < SOON_S or (self.now - self.before) / self.cap < LEAST_SHARE:
            return None
        return elapsed_s * max(0.0, self.cap - self.now) / (self.now - self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How far a run is.

    Attributes:
        share: 0..1, by whichever end is nearest; None where none is known.
        remaining_s: seconds until then at the pace of this run; None while too little is done to say.
        most_s: seconds until the run's time ends; None without a cap in minutes.
    """

    share: float | None
    remaining_s: float | None
    most_s: float | None = None

    @property
    def remaining(self) -> str:
        """How long the rest takes, in words; empty while nothing is known."""
        if self.remaining_s is not None and (self.most_s is None or self.remaining_s < self.most_s - 1):
            return f"about {clock_time(self.remaining_s)} remaining"
        return "" if self.most_s is None else f"at most {clock_time(self.most_s)} remaining"

    @property
    def words(self) -> str:
        """Share and rest in words; empty where no end is known."""
        parts = [] if self.share is None else [f"{_percent(self.share)} done"]
        return ", ".join([*parts, *([self.remaining] if self.remaining else [])])

    def after(self, seconds: float) -> Pace:
        """The same so many seconds later, as far as it is known by then."""
        left = (None if one is None else max(0.0, one - seconds) for one in (self.remaining_s, self.most_s))
        return Pace(share=self.share, remaining_s=next(left), most_s=next(left))


def _percent(share: float) -> str:
    """Rounded down: what is not done never reads as done."""
    return f"{math.floor(100 * share + 1e-9)}%"


def pace(
    *caps: Used, elapsed_s: float, minutes: float | None, search: Sequence[Used] = (), then_s: float = 0.0
) -> Pace:
    """How far a run is.

    Args:
        caps: of calls and money, which end the whole job.
        elapsed_s: seconds since this run began.
        minutes: cap of this run's time; None for none.
        search: what ends the search alone, such as its trials; none once it has ended.
        then_s: what follows the search takes.
    """
    done = [used.share for used in caps if used.cap] + ([elapsed_s / 60 / minutes] if minutes else [])
    ends = [rest for used in caps if (rest := used.rest_s(elapsed_s)) is not None]
    share = max((used.share for used in search if used.cap), default=0.0 if search else 1.0)
    rests = [rest for used in search if (rest := used.rest_s(elapsed_s)) is not None] if search else [0.0]
    if elapsed_s >= SOON_S and rests and (search or then_s):
        rest_s = min(rests) + then_s
        ends.append(rest_s)
        done.append(share * (1.0 - then_s / (elapsed_s + rest_s)))
    elif any(used.cap for used in search):
        done.append(share)
    return Pace(
        share=min(1.0, max(done)) if done else None,
        remaining_s=min(ends, default=None),
        most_s=max(0.0, minutes * 60 - elapsed_s) if minutes else None,
    )


def clock_time(seconds: float) -> str:
    """`m:ss`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
