"""How far a running study is, and how long the rest takes: the same for terminal, notebooks and pages."""

from __future__ import annotations

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
        share: 0..1, by the cap that is nearest; None where there is none.
        remaining_s: seconds until the first of the caps at the pace of this run; None while too little is done to say.
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
        """Share and rest in words; empty where no cap is known."""
        parts = [] if self.share is None else [f"{self.share:.0%} of the nearest cap"]
        return ", ".join([*parts, *([self.remaining] if self.remaining else [])])


def pace(*caps: Used, elapsed_s: float, minutes: float | None) -> Pace:
    """How far a run is.

    Args:
        caps: of trials, calls and money.
        elapsed_s: seconds since this run began.
        minutes: cap of this run's time; None for none.
    """
    limits = [(used, used.cap) for used in caps if used.cap]
    shares = [used.now / cap for used, cap in limits] + ([elapsed_s / 60 / minutes] if minutes else [])
    rests = [
        elapsed_s * max(0.0, cap - used.now) / (used.now - used.before) for used, cap in limits
        if elapsed_s >= SOON_S and (used.now - used.before) / cap >= LEAST_SHARE
    ]  # fmt: skip
    return Pace(
        share=min(1.0, max(shares)) if shares else None,
        remaining_s=min(rests, default=None),
        most_s=max(0.0, minutes * 60 - elapsed_s) if minutes else None,
    )


def clock_time(seconds: float) -> str:
    """`m:ss`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
