"""Trying again, for failures that are nobody's fault.

Exponential back-off with full jitter (Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog 2015);
a provider that says when to come back is taken at its word. Faults of the program and fatal errors are raised at once.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from offramp.calls._base import Sender, Sleep, real_sleep
from offramp.calls.deadline import current_deadline
from offramp.calls.failures import DeadlineExceeded, InfrastructureFailure
from offramp.records import CallReply, CallRequest

_BASE_S = 0.5
_LONGEST_S = 60.0


class RetryRing:
    """Sends up to `attempts` times.

    Args:
        inner: what one attempt is.
        attempts: how many tries in all.
        rng: where jitter comes from.
    """

    def __init__(self, inner: Sender, *, attempts: int, rng: random.Random, sleep: Sleep = real_sleep) -> None:
        self._inner, self._attempts, self._rng, self._sleep = inner, attempts, rng, sleep

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The first reply, or the last failure."""
        deadline = current_deadline()
        for number in range(attempt, attempt + self._attempts):
            try:
                return await self._inner.send(request, number)
            except DeadlineExceeded:
                raise
            except InfrastructureFailure as error:
                if number == attempt + self._attempts - 1:
                    raise
                pause = self._pause_s(number - attempt, error)
                deadline.check(pause, str(error))
            await self._sleep(pause)
        raise AssertionError("unreachable: attempts is at least 1")

    def _pause_s(self, failures: int, error: InfrastructureFailure) -> float:
        jitter = self._rng.uniform(0.0, min(_LONGEST_S, _BASE_S * 2.0**failures))
        told: float | None = getattr(error, "retry_after_s", None)
        return jitter if told is None else told + 0.1 * jitter


def retry_after_s(value: str | None, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> float | None:
    """Seconds from a Retry-After header: a number or an HTTP date. None where it is missing or makes no sense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until(value, now)
    return seconds if 0 <= seconds < float("inf") else None


def _until(value: str, now: Callable[[], dt.datetime]) -> float | None:
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return max(0.0, (when - now()).total_seconds())
