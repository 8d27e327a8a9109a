"""How long each run of a candidate took: every run as a point on one axis, with median and 95th percentile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.records import Result, percentile
from offramp.review.charts import Tick, axis
from offramp.review.rows import Row
from offramp.study.wording import seconds

WIDTH, HEIGHT = 600, 26
_MOST_RUNS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The runs of one candidate: a path of points, the positions of p50 and p95, and both in words."""

    row: Row
    points: str
    p50: float
    p95: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStrips:
    """Strips over one axis. `log`: equal ratios are equal distances."""

    strips: tuple[Strip, ...]
    ticks: tuple[Tick, ...]
    log: bool


def latency_strips(rows: Sequence[Row], results: Mapping[str, Mapping[str, Result]]) -> LatencyStrips | None:
    """The strips of these candidates; None where no run has a time."""
    times = {row.id: [r.latency_s for r in results.get(row.id, {}).values() if r.latency_s is not None] for row in rows}
    known = [value for found in times.values() for value in found]
    if not known:
        return None
    scale = axis(known, 4.0, WIDTH - 4.0, floor=0.0, may_log=True)
    strips = []
    for row in rows:
        found = times[row.id]
        if not found:
            continue
        some = found[:: -(-len(found) // _MOST_RUNS)]
        p50, p95 = percentile(found, 50), percentile(found, 95)
        points = "".join(f"M{scale.at(value):g} {7 + (i * 7) % 13:g}h0" for i, value in enumerate(some))
        words = f"p50 {seconds(p50)}, p95 {seconds(p95)}, {len(found)} runs"
        strips.append(Strip(row=row, points=points, p50=scale.at(p50), p95=scale.at(p95), words=words))
    ticks = tuple(Tick(at=scale.at(value), text=seconds(value)) for value in scale.ticks(5))
    return LatencyStrips(strips=tuple(strips), ticks=ticks, log=scale.log)
