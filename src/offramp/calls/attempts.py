"""What one physical attempt is booked as, and the counts of one process's calls.

An attempt that came back without a bill costs nothing where it certainly was not billed (it never left, 4xx, 429, 5xx);
time-outs, broken connections and unreadable replies cost an upper estimate of the prompt, marked as assumed. A bill
above the reservation is booked as it is, and the budget reserves more from then on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from offramp.calls.estimate import input_usd
from offramp.calls.failures import CallError, certainly_unbilled, never_left, scrubbed
from offramp.records import BATCH, CallReply, CallRequest, Usage
from offramp.store.ledger import CallAttempt, CallStatus, kept_text

_NO_ANSWER = frozenset(CallStatus) - {CallStatus.OK, CallStatus.REFUSED, CallStatus.TOO_LONG}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What to book for one attempt.

    Attributes:
        attempt: the ledger's row.
        usd: None when the request never left.
        assumed: whether the amount is an estimate.
    """

    attempt: CallAttempt
    usd: float | None
    assumed: bool = False


def bill_of_reply(attempt: CallAttempt, request: CallRequest, reply: CallReply, *, estimated: bool) -> Bill:
    """The bill of a reply. `estimated`: the provider did not count the tokens."""
    note = "estimated usage: the reply named no tokens, they are an upper estimate from its length"
    attempt = replace(
        attempt,
        usage=reply.usage,
        latency_s=None if reply.batched else reply.latency_s,
        reply_text=kept_text(reply),
        finish_reason=reply.finish_reason,
        answered_by=reply.answered_by,
        fingerprint=reply.fingerprint,
        service_tier=reply.service_tier,
        logprob=reply.logprob,
        error=note if estimated else None,
    )
    return Bill(attempt=attempt, usd=_usd(request, reply.usage, reply.service_tier), assumed=estimated)


def bill_of_failure(attempt: CallAttempt, request: CallRequest, error: BaseException, elapsed_s: float) -> Bill:
    """The bill of an attempt that raised, cancellation included. What was counted has the price of its tier."""
    attempt = replace(attempt, latency_s=elapsed_s, error=scrubbed(f"{type(error).__name__}: {error}"))
    if not isinstance(error, CallError):
        cancelled = isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit)
        status = CallStatus.CANCELLED if cancelled else CallStatus.CRASHED
        return Bill(attempt=replace(attempt, status=status), usd=input_usd(request), assumed=True)
    latency_s = elapsed_s if error.latency_s is None and not never_left(error) else error.latency_s
    attempt = replace(
        attempt,
        status=error.status,
        latency_s=None if error.service_tier == BATCH else latency_s,
        usage=error.usage or Usage(),
        service_tier=error.service_tier,
    )
    if error.usage is not None:
        return Bill(attempt=attempt, usd=_usd(request, error.usage, error.service_tier))
    if certainly_unbilled(error):
        return Bill(attempt=attempt, usd=None if never_left(error) else 0.0)
    return Bill(attempt=attempt, usd=input_usd(request), assumed=True)


def _usd(request: CallRequest, usage: Usage, tier: str | None) -> float:
    """Cost of the usage; 0.0 where the price is unknown, which only happens without a cap in USD."""
    price = request.price_served(tier)
    return (None if price is None else price.reply_usd(usage)) or 0.0


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


class CallCounter:
    """Thread-safe counts, for progress lines and stop rules; the lasting truth is in the storage."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = self._cached = self._failed = self._retried = 0
        self._usd: dict[str, float] = defaultdict(float)

    def add(self, bill: Bill) -> None:
        """Count one attempt."""
        with self._lock:
            self._calls += bill.usd is not None
            self._failed += bill.attempt.status in _NO_ANSWER
            self._retried += bill.attempt.attempt > 1
            self._usd[bill.attempt.purpose.value] += bill.usd or 0.0

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
