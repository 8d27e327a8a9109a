"""The deadline of one request: all its attempts, their pauses included.

Waiting for a free place does not count (a thousand requests may queue behind four places, and none of them is late);
waiting because the provider said "later" does. The deadline travels with the task in a context variable, so that the
parts below can see what is left without every signature naming it.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

from offramp.calls._base import Clock, Sender, real_clock
from offramp.calls.failures import DeadlineExceeded
from offramp.records import CallReply, CallRequest


class Deadline:
    """Seconds that run down except while paused."""

    def __init__(self, seconds: float, clock: Clock = real_clock) -> None:
        self.seconds, self._clock = seconds, clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left; negative when it has passed."""
        return self._end - self._clock()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time within does not count."""
        begun = self._clock()
        try:
            yield
        finally:
            self._end += self._clock() - begun

    def check(self, wait_s: float = 0.0, why: str = "") -> None:
        """Raise DeadlineExceeded when `wait_s` more seconds would end at or after the deadline."""
        if self.left_s <= wait_s:
            tail = f"; the last failure was: {why}" if why else ""
            raise DeadlineExceeded(f"no answer within the deadline of {self.seconds:g} s for all attempts{tail}")


_current: contextvars.ContextVar[Deadline | None] = contextvars.ContextVar("offramp_deadline", default=None)


def current_deadline() -> Deadline:
    """The deadline of the request being sent; one that never comes outside of a request."""
    return _current.get() or Deadline(float("inf"))


class DeadlineRing:
    """Gives every request its deadline."""

    def __init__(self, inner: Sender, seconds: float, clock: Clock = real_clock) -> None:
        self._inner, self._seconds, self._clock = inner, seconds, clock

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """Send under a fresh deadline."""
        token = _current.set(Deadline(self._seconds, self._clock))
        try:
            return await self._inner.send(request, attempt)
        finally:
            _current.reset(token)
