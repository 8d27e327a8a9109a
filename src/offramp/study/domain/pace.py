"""How far a running study is, and how long the rest takes: the same for terminal, notebooks and pages."""

from __future__ import annotations

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
        parts = [] if self.share is None else [f"{self.share:.0%} done"]
        return ", ".join([*parts, *([self.remaining] if self.remaining else [])])

    def after(self, seconds: float) -> Pace:
        """The same so many seconds later, as far as it is known by then."""
        left = (None if one is None else max(0.0, one - seconds) for one in (self.remaining_s, self.most_s))
        return Pace(share=self.share, remaining_s=next(left), most_s=next(left))


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
    known = [(used, used.cap) for used in (*caps, *search) if used.cap]
    shares = {used: min(1.0, used.now / cap) for used, cap in known}
    rests = {used: rest for used, cap in known if (rest := _rest_s(used, cap, elapsed_s)) is not None}
    searching, whole = [used for used in search if used.cap], [used for used in caps if used.cap]
    search_s = 0.0 if not search else min((rests[used] for used in searching if used in rests), default=None)
    done = [shares[used] for used in whole] + ([elapsed_s / 60 / minutes] if minutes else [])
    ends = [rests[used] for used in whole if used in rests]
    if search_s is not None and (search or then_s) and elapsed_s >= SOON_S:
        ends.append(search_s + then_s)
        then_share = then_s / (elapsed_s + search_s + then_s)
        done.append((1.0 - then_share) * max((shares[used] for used in searching), default=1.0))
    else:
        done += [shares[used] for used in searching]
    return Pace(
        share=min(1.0, max(done)) if done else None,
        remaining_s=min(ends, default=None),
        most_s=max(0.0, minutes * 60 - elapsed_s) if minutes else None,
    )


def _rest_s(used: Used, cap: float, elapsed_s: float) -> float | None:
    """Seconds until a cap at the pace of this run; None while too little is used to say."""
    if elapsed_s < SOON_S or (used.now - used.before) / cap < LEAST_SHARE:
        return None
    return elapsed_s * max(0.0, cap - used.now) / (used.now - used.before)


def clock_time(seconds: float) -> str:
    """`m:ss`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
