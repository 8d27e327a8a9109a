"""Slots for requests in flight: so many in all, and so many by provider and key, adapted to what the provider accepts.

A bucket is one provider, address and key. Its limit is halved when a 429 comes back and grows by one for every round of
successes (additive increase, multiplicative decrease); a Retry-After closes it until that moment. Slots are given in
the order of requests, except that a closed bucket lets the others pass.

Invariant: nobody sleeps holding the lock or a slot, and a slot is given back on every exit, cancellation included.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from offramp.calls.failures import RateLimited, ServerFailed
from offramp.calls.retries import Clock, Deadline, Sleep, real_clock, real_sleep
from offramp.records import Model

begun: ContextVar[bool] = ContextVar("offramp_begun", default=True)
"""Whether who asks has had an answer before. A run without one need not begin once its job has to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Room for one request in flight. `queue_s`: how long the request waited for it."""

    queue_s: float


class _Waiter:
    """One request in the queue; `poke` makes it look again, from whichever thread."""

    def __init__(self, number: int) -> None:
        self.number, self.granted = number, False
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def poke(self) -> None:
        if asyncio._get_running_loop() is self._loop:
            _resolve(self.future)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, self.future)

    def again(self) -> None:
        self.future = self._loop.create_future()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Bucket:
    """One provider and key."""

    def __init__(self, most: int) -> None:
        self.most, self.limit = most, float(most)
        self.flying, self.not_before, self.halved_at = 0, float("-inf"), float("-inf")
        self.queue: deque[_Waiter] = deque()

    def open(self, now: float) -> bool:
        return bool(self.queue) and now >= self.not_before and self.flying < int(self.limit)

    def succeeded(self) -> None:
        self.limit = min(float(self.most), self.limit + 1.0 / self.limit)

    def limited(self, began: float, now: float, wait_s: float | None) -> None:
        """Requests that left together and came back with 429 together halve the limit once."""
        if began >= self.halved_at:
            self.limit, self.halved_at = max(1.0, self.limit / 2), now
        self.close(now, wait_s)

    def close(self, now: float, wait_s: float | None) -> None:
        self.not_before = max(self.not_before, now + (wait_s or 0.0))


class Limiter:
    """Hands out slots.

    Args:
        most: requests in flight at the same time, all buckets together.
        local_slots: slots of llama.cpp on this machine, one bucket for all local models.
    """

    def __init__(
        self, most: int, *, local_slots: int = 1, clock: Clock = real_clock, sleep: Sleep = real_sleep
    ) -> None:
        self._most, self._local_slots, self._clock, self._sleep = most, local_slots, clock, sleep
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._flying = 0
        self._numbers = itertools.count()

    @asynccontextmanager
    async def slot(self, model: Model, deadline: Deadline | None = None) -> AsyncIterator[Slot]:
        """A slot for one attempt; what the attempt raises changes the limit of its bucket.

        Args:
            deadline: of the request; waiting for a slot does not count, waiting for a closed provider does.

        Raises:
            DeadlineExceeded: the provider asked to come back later than the deadline allows.
        """
        bucket = self._bucket(model)
        asked = self._clock()
        await self._enter(bucket, deadline or Deadline())
        began = self._clock()
        try:
            yield Slot(queue_s=max(0.0, began - asked))
        except RateLimited as error:
            with self._lock:
                bucket.limited(began, self._clock(), error.retry_after_s)
            raise
        except ServerFailed as error:
            with self._lock:
                bucket.close(self._clock(), error.retry_after_s)
            raise
        else:
            with self._lock:
                bucket.succeeded()
        finally:
            self._leave(bucket)

    def limit(self, model: Model) -> float:
        """How many requests the bucket of `model` may have in flight now."""
        return self._bucket(model).limit

    async def _enter(self, bucket: _Bucket, deadline: Deadline) -> None:
        waiter = _Waiter(next(self._numbers))
        with self._lock:
            bucket.queue.append(waiter)
        try:
            while not self._granted(waiter):
                with self._lock:
                    pause_s = bucket.not_before - self._clock()
                if pause_s > 0:
                    deadline.check(pause_s, "the provider asked to come back later")
                    await self._sleep(pause_s)
                else:
                    with deadline.paused():
                        await waiter.future
        except BaseException:
            self._withdraw(bucket, waiter)
            raise

    def _granted(self, waiter: _Waiter) -> bool:
        """Grant what can be granted; when not this one, arm its future for the next change."""
        with self._lock:
            self._grant()
            if not waiter.granted and waiter.future.done():
                waiter.again()
            return waiter.granted

    def _grant(self) -> None:
        """Give free slots to the first in line of every open bucket, the longest waiting first."""
        now = self._clock()
        while self._flying < self._most:
            open_ = [bucket for bucket in self._buckets.values() if bucket.open(now)]
            if not open_:
                return
            bucket = min(open_, key=lambda b: b.queue[0].number)
            waiter = bucket.queue.popleft()
            bucket.flying, self._flying, waiter.granted = bucket.flying + 1, self._flying + 1, True
            waiter.poke()

    def _leave(self, bucket: _Bucket) -> None:
        with self._lock:
            bucket.flying, self._flying = bucket.flying - 1, self._flying - 1
            self._grant()
            for waiter in bucket.queue if bucket.not_before > self._clock() else ():
                waiter.poke()  # the bucket has just been closed: wait by the clock instead

    def _withdraw(self, bucket: _Bucket, waiter: _Waiter) -> None:
        with self._lock:
            if not waiter.granted:
                bucket.queue.remove(waiter)
                return
        self._leave(bucket)

    def _bucket(self, model: Model) -> _Bucket:
        key = _bucket_key(model)
        with self._lock:
            if key not in self._buckets:
                self._buckets[key] = _Bucket(self._local_slots if model.local else self._most)
            return self._buckets[key]


def _bucket_key(model: Model) -> tuple[str, ...]:
    """Provider, address and fingerprint of the key; the key itself is kept nowhere."""
    if model.local:
        return ("local",)
    secret = os.environ.get(model.api_key_env or "", "")
    return (model.provider, model.api_base or "", hashlib.sha256(secret.encode()).hexdigest()[:16])
