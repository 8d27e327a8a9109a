"""When a job has to end: by trials, time, or an exhausted budget; and what it keeps back for the holdout.

The last thing a job does is to score the incumbent and the recommended candidate on the holdout. Calls and time for
that are kept back while the search runs, so that a cap never takes the verdict away; at most 40% of a cap is kept back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from offramp.errors import JobError

KEPT_BACK = 0.4
GRACE_S = 10.0
"""What is in flight when the time is up may take so long to come back, since it is paid for."""


class TimeIsUp(JobError):
    """The minutes of the job are used up."""


class Interrupted(JobError):
    """A person asked the job to stop."""

    exit_code = 130


@dataclass(slots=True, kw_only=True)
class Clock:
    """Time of one run of a job.

    Attributes:
        minutes: cap; None for none.
        now: seconds, monotonic.
    """

    minutes: float | None
    now: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    interrupted: bool = False
    kept_back_s: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.now()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self.now() - self.started

    @property
    def left_s(self) -> float | None:
        """Seconds until the cap; None without one."""
        return None if self.minutes is None else self.minutes * 60 - self.elapsed_s

    def keep_back(self, seconds: float) -> None:
        """Keeps time back for the holdout, up to a share of the cap."""
        self.kept_back_s = 0.0 if self.minutes is None else min(seconds, KEPT_BACK * self.minutes * 60)

    def check(self) -> None:
        """Raises TimeIsUp or Interrupted when the job has to stop before its next example."""
        if self.interrupted:
            raise Interrupted("interrupted; run the same command again to go on where it stopped.")
        if self.left_s is not None and self.left_s <= self.kept_back_s:
            raise self._up()

    @asynccontextmanager
    async def within(self) -> AsyncIterator[None]:
        """Cuts off what runs inside when the time is up and `GRACE_S` more have passed. Raises TimeIsUp."""
        left_s = self.left_s
        timer = asyncio.timeout(None if left_s is None else max(0.0, left_s - self.kept_back_s) + GRACE_S)
        try:
            async with timer:
                yield
        except TimeoutError:
            if timer.expired():
                raise self._up() from None
            raise

    def _up(self) -> TimeIsUp:
        return TimeIsUp(f"the job's {self.minutes:g} minutes are used up")


def search_share(cap: float | None, holdout: float) -> float | None:
    """How much of a cap the search may use when the holdout needs `holdout` of it. None: no cap."""
    return None if cap is None else cap - min(holdout, KEPT_BACK * cap)
