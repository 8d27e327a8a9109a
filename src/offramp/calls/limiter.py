"""Places for requests in flight: so many in all, and so many by provider and key, adapted to what the provider bears.

A bucket is one provider, address and key. Its limit is halved when a 429 comes back and grows by one for every round of
successes (additive increase, multiplicative decrease); a Retry-After closes it until that moment. Places are given in
order of asking, except that a closed bucket lets the others pass.

Invariant: nobody sleeps holding the lock or a place, and a place is given back on every exit, cancellation included.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from offramp.calls._base import Clock, Sleep, real_clock, real_sleep
from offramp.calls.deadline import current_deadline
from offramp.calls.failures import RateLimited, ServerFailed
from offramp.records import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in flight. `queue_s`: how long it was waited for."""

    queue_s: float


class _Waiter:
    """One request in the queue; `poke` makes it look again, from whichever thread."""

    def __init__(self, number: int) -> None:
        self.number, self.granted = number, False
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def poke(self) -> None:
        if not self._loop.is_closed():
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

    def limited(self, begun: float, now: float, wait_s: float | None) -> None:
        """Requests that left together and came back with 429 together halve the limit once."""
        if begun >= self.halved_at:
            self.limit, self.halved_at = max(1.0, self.limit / 2), now
        self.closed(now, wait_s)

    def closed(self, now: float, wait_s: float | None) -> None:
        self.not_before = max(self.not_before, now + (wait_s or 0.0))


class Limiter:
    """Hands out places.

    Args:
        most: requests in flight at the same time, all buckets together.
        local_slots: places of llama.cpp on this machine, one bucket for all local models.
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
    async def place(self, model: Model) -> AsyncIterator[Place]:
        """A place for one attempt; what the attempt raises teaches the bucket.

        Raises:
            DeadlineExceeded: the provider closed the door for longer than the request has left.
        """
        bucket = self._bucket(model)
        asked = self._clock()
        await self._enter(bucket)
        begun = self._clock()
        try:
            with self._lesson(bucket, begun):
                yield Place(queue_s=max(0.0, begun - asked))
        finally:
            self._leave(bucket)

    def limit(self, model: Model) -> float:
        """How many requests the bucket of `model` may have in flight now."""
        return self._bucket(model).limit

    @contextmanager
    def _lesson(self, bucket: _Bucket, begun: float) -> Iterator[None]:
        try:
            yield
        except RateLimited as error:
            with self._lock:
                bucket.limited(begun, self._clock(), error.retry_after_s)
            raise
        except ServerFailed as error:
            with self._lock:
                bucket.closed(self._clock(), error.retry_after_s)
            raise
        with self._lock:
            bucket.succeeded()

    async def _enter(self, bucket: _Bucket) -> None:
        waiter = _Waiter(next(self._numbers))
        with self._lock:
            bucket.queue.append(waiter)
        try:
            while not self._granted(waiter):
                if (pause := self._pause_s(bucket)) > 0:
                    current_deadline().check(pause, "the provider asked to come back later")
                    await self._sleep(pause)
                else:
                    with current_deadline().paused():
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
        """Give free places to the first in line of every open bucket, the longest waiting first."""
        now = self._clock()
        while self._flying < self._most:
            open_ = [bucket for bucket in self._buckets.values() if bucket.open(now)]
            if not open_:
                return
            bucket = min(open_, key=lambda b: b.queue[0].number)
            waiter = bucket.queue.popleft()
            bucket.flying, self._flying, waiter.granted = bucket.flying + 1, self._flying + 1, True
            waiter.poke()

    def _pause_s(self, bucket: _Bucket) -> float:
        with self._lock:
            return bucket.not_before - self._clock()

    def _leave(self, bucket: _Bucket) -> None:
        with self._lock:
            bucket.flying, self._flying = bucket.flying - 1, self._flying - 1
            self._grant()
            for waiter in bucket.queue if bucket.not_before > self._clock() else ():
                waiter.poke()  # the door has just been closed: wait by the clock instead

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
