"""A run says, once, that a model is much slower than estimated."""

from __future__ import annotations

import pytest

from offramp.records import Model, Purpose
from offramp.search.slow_calls import SlowCalls
from offramp.store.ledger import CallAttempt, CallStatus, TypicalCall


def attempt(model: str, seconds: float | None, status: CallStatus = CallStatus.OK) -> CallAttempt:
    return CallAttempt(
        request_hash="r", study="s", purpose=Purpose.PROGRAM, model=model, provider="p", status=status,
        latency_s=seconds, started_at="2026-11-29T00:00:00Z",
    )  # fmt: skip


MODELS = {"remote": Model(name="remote", route="openai/remote"), "near": Model(name="near", route="local/near")}


@pytest.mark.parametrize(
    ("model", "seconds", "past", "told"),
    [
        ("remote", 7.4, None, None),
        ("remote", 7.6, None, "take 7.6 s, 5 times the estimate of 1.5 s. A lower concurrency"),
        ("near", 3.0, None, "take 3.0 s, 10 times the estimate of 0.3 s. Other work on this machine"),
        ("remote", 9.0, TypicalCall(latency_s=8.0, output_tokens=1.0, n=110), None),
        ("remote", 41.0, TypicalCall(latency_s=(41.0 * 10 + 8.0 * 100) / 110, output_tokens=1.0, n=110), "of 8.0 s"),
        ("remote", 9.0, TypicalCall(latency_s=9.0, output_tokens=1.0, n=12), "of 1.5 s"),
    ],
)
def test_slow_calls_are_told_once_beside_what_was_estimated(
    caplog: pytest.LogCaptureFixture, model: str, seconds: float, past: TypicalCall | None, told: str | None
) -> None:
    watch = SlowCalls(MODELS, lambda: {} if past is None else {model: past})
    for _ in range(40):
        watch.add(attempt(model, seconds))
    assert [told in record.getMessage() for record in caplog.records] == ([True] if told else [])  # type: ignore[operator]


def test_failures_and_a_slow_start_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    watch = SlowCalls(MODELS, dict)
    for seconds in (30.0, None, *[0.4] * 30):
        watch.add(attempt("remote", seconds))
    for _ in range(20):
        watch.add(attempt("near", 60.0, CallStatus.TIMED_OUT))
    assert not caplog.records
