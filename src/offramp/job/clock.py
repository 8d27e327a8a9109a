"""The clock of a run: how long it may take, whether a person asked it to stop, and the time reserved for its end.

The last thing a job does is to score the incumbent and the recommended candidate on the holdout. Time for that is
reserved while the search runs, so that the cap never takes the holdout evaluation away; at most 80% of it is reserved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from offramp.errors import CapReached, JobError

MOST_RESERVED = 0.8
"""The share of a cap that may be reserved for the holdout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What time is measured and spent with; tests replace it.

    Attributes:
        now: seconds, monotonic.
        sleep: waits for so many seconds.
        grace_s: requests in flight when the time is up may take this long to come back, since they are paid for.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    grace_s: float = 10.0


class TimeIsUp(CapReached):
    """The minutes of the job are over."""


class Interrupted(JobError):
    """A person asked the job to stop."""

    exit_code = 130


@dataclass(slots=True)
class Stop:
    """Asks a run in another thread to stop, as a signal asks one in the main thread.

    Attributes:
        asked: what a press calls; None while nothing runs that could be stopped.
        pressed: whether it was pressed before there was a run, which then stops at its beginning.
    """

    asked: Callable[[], object] | None = None
    pressed: bool = False

    def press(self) -> bool:
        """Asks the run to stop; False where none has begun."""
        if self.asked is None:
            self.pressed = True
            return False
        self.asked()
        return True


STOP: ContextVar[Stop | None] = ContextVar("STOP", default=None)
"""Of the run in this context; None where signals stop it."""


@dataclass(slots=True, kw_only=True)
class Clock:
    """Time of one run of a job.

    Attributes:
        minutes: cap; None for none.
        interrupted: whether a person asked the run to stop.
        reserved_s: seconds before the cap that only the holdout may use.
    """

    minutes: float | None = None
    timing: Timing = field(default_factory=Timing)
    started: float = field(init=False)
    interrupted: bool = False
    reserved_s: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.timing.now()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self.timing.now() - self.started

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the cap; None without one."""
        return None if self.minutes is None else self.minutes * 60 - self.elapsed_s

    def reserve(self, seconds: float) -> None:
        """Reserves time for the holdout, up to a share of the cap."""
        self.reserved_s = 0.0 if self.minutes is None else min(seconds, MOST_RESERVED * self.minutes * 60)

    def interrupt(self) -> None:
        """Asks the run to stop after the requests that are in flight."""
        self.interrupted = True

    def check(self) -> None:
        """Raises TimeIsUp or Interrupted when the job has to stop before its next example."""
        if self.interrupted:
            raise Interrupted("interrupted; run the same command again to continue where it stopped.")
        if self.remaining_s is not None and self.remaining_s <= self.reserved_s:
            raise self._up()

    @asynccontextmanager
    async def within(self) -> AsyncIterator[None]:
        """Cuts off what runs inside when the time is up and the grace has passed. Raises TimeIsUp."""
        remaining_s = self.remaining_s
        limit_s = None if remaining_s is None else max(0.0, remaining_s - self.reserved_s) + self.timing.grace_s
        timer = asyncio.timeout(limit_s)
        try:
            async with timer:
                yield
        except TimeoutError:
            if timer.expired():
                raise self._up() from None
            raise

    def _up(self) -> TimeIsUp:
        return TimeIsUp(f"the job's cap of {self.minutes:g} minutes is reached")
