"""Counts of one process's calls, for progress lines and stop rules. The storage holds the lasting truth."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from offramp.store.ledger import CallAttempt, CallStatus

_NO_ANSWER = frozenset(CallStatus) - {CallStatus.OK, CallStatus.REFUSED, CallStatus.TOO_LONG}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStats:
    """What a caller has done so far.

    Attributes:
        calls: physical attempts that were sent, failed ones included.
        cached_calls: answers without sending.
        failed_calls: attempts without an answer, also those that never left.
        retried_calls: attempts after the first of their request.
        spent_usd, reserved_usd: of the budget, over all its processes.
        by_purpose_usd: spent by this caller, by purpose.
    """

    calls: int
    cached_calls: int
    failed_calls: int
    retried_calls: int
    spent_usd: float
    reserved_usd: float
    by_purpose_usd: Mapping[str, float]


class Tally:
    """Thread-safe counters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = self._cached = self._failed = self._retried = 0
        self._usd: dict[str, float] = defaultdict(float)

    def add(self, attempt: CallAttempt, usd: float | None) -> None:
        """Count one attempt; `usd` None: it never left."""
        with self._lock:
            self._calls += usd is not None
            self._failed += attempt.status in _NO_ANSWER
            self._retried += attempt.attempt > 1
            self._usd[attempt.purpose.value] += usd or 0.0

    def add_cached(self) -> None:
        """Count an answer that was not sent for."""
        with self._lock:
            self._cached += 1

    def stats(self, *, spent_usd: float, reserved_usd: float) -> CallStats:
        """The counts now."""
        with self._lock:
            return CallStats(
                calls=self._calls,
                cached_calls=self._cached,
                failed_calls=self._failed,
                retried_calls=self._retried,
                spent_usd=spent_usd,
                reserved_usd=reserved_usd,
                by_purpose_usd=dict(self._usd),
            )
