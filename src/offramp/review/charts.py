"""The charts of a study as coordinates; templates draw them as SVG, so that they need no script and print well.

The front is drawn in two charts, quality over cost and quality over latency. Points of the front are separate shapes;
the many others are one path, so that ten thousand candidates take a few kilobytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from offramp.records import Aggregate, Split
from offramp.review.likely_dots import LikelyDot, drawn, likely_dots, position
from offramp.study.domain.members import Member
from offramp.study.domain.trajectory import Step
from offramp.study.study_report import StudyReport
from offramp.study.wording import money, plotted

AXES: Mapping[str, str] = {"cost": "cost of 1,000 runs", "latency": "seconds per run"}
_MOST_BARS = 60  # on larger fronts, intervals would cover each other and are not drawn
_MOST_OTHERS = 1500
_EDGE, _HEAD = 7.0, 6.0  # how far an arrow stays away from its points, and how long its head is
_LOG_FROM = 12.0  # values whose largest is this many times the smallest are easier to distinguish on a log axis
Words = Callable[[float], str]
"""How a value is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A scale from values to positions.

    Attributes:
        low, high: values at the ends. start, end: positions of the ends, in units of the drawing.
        log: whether equal ratios are equal distances; then `low` is above 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The position of a value, rounded to a tenth; values beyond the ends are drawn at the ends."""
        x, low, high = (math.log(v) if self.log else v for v in (max(value, self.low), self.low, self.high))
        share = min(1.0, max(0.0, (x - low) / (high - low)))
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the ends, at most about `most`."""
        return _log_ticks(self.low, self.high, most) if self.log else _ticks(self.low, self.high, most)


def axis(values: Sequence[float], start: float, end: float, *, floor: float | None = None, top: float | None = None,
         may_log: bool = False) -> Axis:  # fmt: skip
    """An axis that holds all values with some room, within `floor` and `top`."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if may_log and low > 0 and high / low >= _LOG_FROM:
        return Axis(low=low / 1.25, high=high * 1.25, start=start, end=end, log=True)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 0.1
    low, high = low - room, high + room
    low = low if floor is None else max(floor, low)
    high = high if top is None else min(top, high)
    return Axis(low=low, high=high if high > low else low + room, start=start, end=end)


def _ticks(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw)
    first = math.ceil(low / step - 1e-9)
    count = math.floor((high - first * step) / step + 1e-9)
    return [round((first + i) * step, 12) for i in range(count + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        found = [round(d * 10.0**e, 12) for e in decades for d in digits if low <= d * 10.0**e <= high]
        if len(found) <= most + 1:
            break
    return found


# -------------------------------------------------------------------------------------------------------- the front


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The size of a drawing and of the plot in it."""

    width: int
    height: int
    left: int = 52
    right: int = 18
    top: int = 26
    bottom: int = 44


WIDE = Frame(width=720, height=400)
NARROW = Frame(width=360, height=330, left=40, right=12)
SMALL = Frame(width=430, height=190, left=54, right=14, top=10, bottom=34)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A position on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a candidate is on one split; `low` and `high` are the ends of its interval, None where it is not drawn."""

    x: float
    y: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One candidate.

    Attributes:
        search, held: where it is on the search split and on the holdout; `held` is None where it was not run there.
        arrow: from the one to the other, as a path; empty where they are too close.
        off: whether another dominates it on the holdout.
        run_on: `23/60` where it is recommended from part of the search examples, whose point is hollow.
    """

    candidate: str
    search: Spot
    held: Spot | None
    arrow: str
    kind: str
    best: bool
    off: bool
    run_on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontChart:
    """The front over one axis, in one size; `steps` and `held_steps` are its staircases on both splits."""

    key: str
    frame: Frame
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    steps: str
    held_steps: str
    others: str
    dots: tuple[Dot, ...]
    likely: tuple[LikelyDot, ...] = ()


def front_charts(report: StudyReport) -> tuple[FrontChart, ...]:
    """Quality over each other objective, wide and narrow; over cost if quality is the only one."""
    keys = [o.name for o in report.objectives if o.name in AXES] or ["cost"]
    return tuple(_front_chart(report, key, frame) for key in keys for frame in (WIDE, NARROW))


def _front_chart(report: StudyReport, key: str, frame: Frame) -> FrontChart:
    known = [m for m in report.members if m.value(key) is not None and m.quality is not None]
    front = {m.candidate for m in report.front}
    special = [m for m in known if m.candidate in front or m.incumbent]
    held = [m for m in special if m.value(key, Split.HOLDOUT) is not None]
    heights = [_y(m.ranked) for m in known] + [_y(m.held) for m in held if m.held is not None]
    if len(report.front) <= _MOST_BARS:
        seen = [*(m.ranked for m in report.front), *(m.held for m in held)]
        ends = (end for one in seen if one is not None for end in (one.quality_low, one.quality_high))
        heights += [end for end in ends if end is not None]
    expected = drawn(report.estimates, key)
    heights += [end for one in expected for end in (one.values["quality"].low, one.values["quality"].high)]
    widths = [_x(m, key) for m in known] + [_x(m, key, Split.HOLDOUT) for m in held]
    widths += [position(one.values[key], key).mean for one in expected]
    x = axis(widths, frame.left, frame.width - frame.right, floor=0.0, may_log=True)
    y = axis(heights, frame.height - frame.bottom, frame.top, floor=0.0, top=1.0)
    chosen = {m.candidate for m in special}
    others = [m for m in known if m.candidate not in chosen]
    some = others[:: -(-len(others) // _MOST_OTHERS)] if others else []
    words = _dollars if key == "cost" else _seconds
    statistic = f", {report.latency_statistic}" if key == "latency" else ""
    dots = tuple(_dots(report, special, key, x, y))
    held_steps = _steps([(d.held.x, d.held.y) for d in dots if d.held is not None and not d.off], x)
    return FrontChart(
        key=key,
        frame=frame,
        x_label=AXES[key] + statistic + (" (log scale)" if x.log else ""),
        x_ticks=tuple(Tick(at=x.at(v), text=words(v)) for v in x.ticks(4 if frame is NARROW else 7)),
        y_ticks=tuple(Tick(at=y.at(v), text=f"{v:g}") for v in y.ticks(5)),
        steps=_steps([(x.at(_x(m, key)), y.at(_y(m.ranked))) for m in known if m.candidate in front], x),
        held_steps=held_steps,
        others="".join(f"M{x.at(_x(m, key)):g} {y.at(_y(m.ranked)):g}h0" for m in some),
        dots=dots,
        likely=likely_dots(report.estimates, key, x, y),
    )


def _x(member: Member, key: str, split: Split = Split.SEARCH) -> float:
    value = member.value(key, split) or 0.0
    return plotted(value * 1000 if key == "cost" else value)


def _y(seen: Aggregate) -> float:
    return plotted(seen.quality or 0.0)


def _dots(report: StudyReport, members: Sequence[Member], key: str, x: Axis, y: Axis) -> list[Dot]:
    few, front = len(members) <= _MOST_BARS, {m.candidate for m in report.front}
    best = None if report.recommended is None else report.recommended.candidate
    found = []
    for m in members:
        bars = few or m.incumbent
        search = _spot(x.at(_x(m, key)), m.ranked, y, bars=bars)
        held = None
        if m.held is not None and m.value(key, Split.HOLDOUT) is not None:
            held = _spot(x.at(_x(m, key, Split.HOLDOUT)), m.held, y, bars=bars)
        kinds = (
            ("front", m.candidate in front), ("incumbent", m.incumbent), ("held", held is not None),
            ("estimate", m.estimate is not None),
        )  # fmt: skip
        found.append(
            Dot(
                candidate=m.candidate,
                search=search,
                held=held,
                arrow="" if held is None else _arrow(search, held),
                kind=" ".join(name for name, holds in kinds if holds),
                best=m.candidate == best,
                off=m.on_holdout_front is False,
                run_on="" if m.estimate is None else f"{m.estimate.n}/{m.estimate.of}",
            )
        )
    return sorted(found, key=lambda dot: (dot.best, "incumbent" in dot.kind, dot.search.x))


def _spot(x: float, seen: Aggregate, y: Axis, *, bars: bool) -> Spot:
    low, high = (y.at(end) if bars and end is not None else None for end in (seen.quality_low, seen.quality_high))
    return Spot(x=x, y=y.at(_y(seen)), low=low, high=high)


def _arrow(start: Spot, end: Spot) -> str:
    """An arrow that begins and ends at the edges of the two points, as a path; empty where they nearly touch."""
    dx, dy = end.x - start.x, end.y - start.y
    length = math.hypot(dx, dy)
    if length < 2 * _EDGE + _HEAD:
        return ""
    u, v = dx / length, dy / length
    tip = (end.x - _EDGE * u, end.y - _EDGE * v)
    sides = ((tip[0] - _HEAD * (u + s * 0.5 * v), tip[1] - _HEAD * (v - s * 0.5 * u)) for s in (1, -1))
    (ax, ay), (bx, by) = sides
    line = f"M{start.x + _EDGE * u:.1f} {start.y + _EDGE * v:.1f}L{tip[0]:.1f} {tip[1]:.1f}"
    return f"{line}M{ax:.1f} {ay:.1f}L{tip[0]:.1f} {tip[1]:.1f}L{bx:.1f} {by:.1f}"


def _steps(points: Sequence[tuple[float, float]], x: Axis) -> str:
    """The staircase of the points that are best in this chart (up and to the left), as a path."""
    path, best = "", float("inf")
    for px, py in sorted(points):
        if py < best:
            path += f"M{px:g} {py:g}" if not path else f"H{px:g}V{py:g}"
            best = py
    return f"{path}H{x.end:g}" if path else ""


def _dollars(value: float) -> str:
    return f"${value:,.0f}" if value >= 1000 else f"${value:g}"


def _seconds(value: float) -> str:
    return f"{value:g} s" if value >= 1 or value == 0 else f"{value * 1000:g} ms"


# ------------------------------------------------------------------------------------------------ progress over calls


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """One line over calls; `rows` are some of its points in words, and `last` the last value."""

    key: str
    frame: Frame
    title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    path: str
    area: str
    last: str
    rows: tuple[tuple[str, str], ...]


def line_charts(steps: Sequence[Step]) -> tuple[LineChart, ...]:
    """Hypervolume and spend over calls; those of which nothing is known are left out."""
    if len(steps) < 2 or steps[-1].calls <= 0:
        return ()
    volume = [(s.calls, s.hypervolume) for s in steps if s.hypervolume is not None]
    spend = [(s.calls, s.spent_usd) for s in steps if s.spent_usd is not None]
    found = []
    if volume:
        found.append(_line("hypervolume", "Hypervolume of the front", volume, _three_digits, _three_digits))
    if spend and spend[-1][1] > 0:
        found.append(_line("spend", "Spent on search runs", spend, money, _dollars))
    return tuple(found)


def _three_digits(value: float) -> str:
    return f"{value:.3g}"


def _line(key: str, title: str, points: Sequence[tuple[int, float]], words: Words, ticks: Words) -> LineChart:
    frame = SMALL
    x = Axis(low=0.0, high=float(points[-1][0]) or 1.0, start=frame.left, end=frame.width - frame.right)
    top = max(v for _, v in points) or 1.0
    y = Axis(low=0.0, high=top * 1.1, start=frame.height - frame.bottom, end=frame.top)
    path = "".join(
        f"{'M' if i == 0 else 'H'}{x.at(c):g}{' ' if i == 0 else 'V'}{y.at(v):g}" for i, (c, v) in enumerate(points)
    )
    return LineChart(
        key=key, frame=frame, title=title, path=path, last=words(points[-1][1]),
        area=f"{path}V{y.start:g}H{x.at(points[0][0]):g}Z",
        x_ticks=tuple(Tick(at=x.at(v), text=f"{v:,.0f}") for v in x.ticks(4)),
        y_ticks=tuple(Tick(at=y.at(v), text=ticks(v)) for v in y.ticks(3)),
        rows=tuple((f"{c:,}", words(v)) for c, v in points[:: -(-len(points) // 12)]),
    )  # fmt: skip
