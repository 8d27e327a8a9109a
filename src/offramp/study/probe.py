"""The isolated latency of a candidate, with intervals: what reports and promotions show, beside latency as run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from offramp.records import percentile
from offramp.stats.quantiles import quantile
from offramp.store.probes import ProbeRuns


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Latency measured apart: warm-up left out, fixed concurrency, nothing from the ledger, arms in turns.

    Attributes:
        n: timed runs. concurrency: of them at the same time.
        measured_at: UTC, ISO 8601.
        p50_s, p95_s: seconds of one run, with 95 % intervals; an upper end is None where so few runs have none.
    """

    n: int
    concurrency: int
    measured_at: str
    p50_s: float
    p50_low_s: float
    p50_high_s: float | None
    p95_s: float
    p95_low_s: float
    p95_high_s: float | None


def probe_of(runs: ProbeRuns) -> Probe:
    """The aggregates of a probe."""
    p50, p95 = (quantile(runs.latencies_s, q) for q in (0.5, 0.95))
    return Probe(
        n=len(runs.latencies_s),
        concurrency=runs.concurrency,
        measured_at=runs.measured_at,
        p50_s=percentile(runs.latencies_s, 50),
        p50_low_s=p50.low,
        p50_high_s=_finite(p50.high),
        p95_s=percentile(runs.latencies_s, 95),
        p95_low_s=p95.low,
        p95_high_s=_finite(p95.high),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
