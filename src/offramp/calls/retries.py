"""Retries within a deadline, for failures that are not the program's own.

Exponential back-off with full jitter (Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog 2015);
when a provider says how long to wait, that is waited. The program's own errors and fatal errors are raised at once.

The deadline covers all attempts of one request, with the pauses between them. Waiting for a free slot or for room in
the budget does not count (a thousand requests may queue behind four slots, and none of them is late); waiting because
the provider said "later" does.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from offramp.calls.failures import DeadlineExceeded, InfrastructureError, TimedOut
from offramp.records import CallReply

Sleep = Callable[[float], Awaitable[object]]
"""Waits for so many seconds; tests pass one that moves their clock."""

Clock = Callable[[], float]
"""Seconds that only ever grow."""

real_sleep: Sleep = asyncio.sleep
real_clock: Clock = time.monotonic

_BASE_S = 0.5
_LONGEST_S = 60.0


class Deadline:
    """Seconds that run down except while paused."""

    def __init__(self, seconds: float = float("inf"), clock: Clock = real_clock) -> None:
        self.seconds, self._clock = seconds, clock
        self._end = clock() + seconds

    @property
    def remaining_s(self) -> float:
        """Seconds left; negative after the deadline."""
        return self._end - self._clock()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time within does not count."""
        began = self._clock()
        try:
            yield
        finally:
            self._end += self._clock() - began

    def check(self, wait_s: float = 0.0, why: str = "") -> None:
        """Raise DeadlineExceeded when `wait_s` more seconds would end at or after the deadline."""
        if self.remaining_s <= wait_s:
            tail = f"; the last failure was: {why}" if why else ""
            raise DeadlineExceeded(f"no answer within the deadline of {self.seconds:g} s for all attempts{tail}")

    @asynccontextmanager
    async def attempt(self, timeout_s: float) -> AsyncIterator[None]:
        """One attempt: at most `timeout_s`, or what remains.

        Raises:
            DeadlineExceeded: nothing remains.
            TimedOut: the attempt took too long.
        """
        self.check()
        limit_s, began = min(timeout_s, self.remaining_s), time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                yield
        except TimeoutError:
            raise TimedOut(f"no reply within {limit_s:.3g} s", latency_s=time.perf_counter() - began) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long a request is tried.

    Attributes:
        attempts: at most so many, 1 or more.
        deadline_s: for all of them together.
        rng: where jitter comes from.
        sleep, clock: replaced in tests.
    """

    attempts: int
    deadline_s: float
    rng: random.Random
    sleep: Sleep = real_sleep
    clock: Clock = real_clock

    async def run(self, attempt: Callable[[int, Deadline], Awaitable[CallReply]]) -> CallReply:
        """The first reply of `attempt(number, deadline)`, numbers counted from 1. Raises the last failure."""
        deadline = Deadline(self.deadline_s, self.clock)
        for number in range(1, self.attempts + 1):
            try:
                return await attempt(number, deadline)
            except DeadlineExceeded:
                raise
            except InfrastructureError as error:
                if number == self.attempts or not error.worth_retrying:
                    raise
                pause_s = self.rng.uniform(0.0, min(_LONGEST_S, _BASE_S * 2.0 ** (number - 1)))
                requested_s: float | None = getattr(error, "retry_after_s", None)
                if requested_s is not None:
                    pause_s = requested_s + 0.1 * pause_s
                deadline.check(pause_s, str(error))
            await self.sleep(pause_s)
        raise AssertionError("unreachable: attempts is at least 1")


def retry_after_s(value: str | None, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> float | None:
    """Seconds from a Retry-After header: a number or an HTTP date. None where it is missing or makes no sense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return seconds if 0 <= seconds < float("inf") else None
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return max(0.0, (when - now()).total_seconds())
