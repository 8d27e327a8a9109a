"""The pictures of a study as coordinates; templates draw them as SVG, so that they need no script and print well.

The front is drawn in two pictures, quality over cost and quality over latency. Points of the front are shapes of their
own; the many others are one path, so that ten thousand candidates cost a few kilobytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.review.scales import Axis, Words, axis
from offramp.stats import Interval
from offramp.study.domain.members import Member
from offramp.study.domain.trajectory import Step
from offramp.study.wording import money

_MOST_BARS = 60  # fronts larger than this are drawn with intervals at a few points alone
_MOST_OTHERS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A position on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One candidate; `low` and `high` are the ends of its interval, None where it is not drawn."""

    candidate: str
    x: float
    y: float
    low: float | None
    high: float | None
    kind: str
    best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The size of a drawing and of the plot in it."""

    width: int
    height: int
    left: int = 52
    right: int = 18
    top: int = 26
    bottom: int = 44


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontChart:
    """The front over one axis, in one size."""

    key: str
    frame: Frame
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    steps: str
    others: str
    dots: tuple[Dot, ...]


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


WIDE = Frame(width=720, height=400)
NARROW = Frame(width=360, height=330, left=40, right=12)
SMALL = Frame(width=430, height=190, left=54, right=14, top=10, bottom=34)
AXES: Mapping[str, tuple[str, str]] = {
    "cost": ("cost of 1,000 runs", "Cost"),
    "latency": ("seconds per run", "Latency"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Whom a front chart shows: everybody, and who of them is special."""

    members: Sequence[Member]
    front: Sequence[Member]
    incumbent: Member | None
    recommended: Member | None
    intervals: Mapping[str, Interval]


def front_charts(crowd: Crowd, objectives: Sequence[str]) -> tuple[FrontChart, ...]:
    """Quality over each other objective, wide and narrow; over cost where quality is alone."""
    keys = [name for name in objectives if name in AXES] or ["cost"]
    return tuple(_front_chart(crowd, key, frame) for key in keys for frame in (WIDE, NARROW))


def _front_chart(crowd: Crowd, key: str, frame: Frame) -> FrontChart:
    known = [m for m in crowd.members if m.value(key) is not None and m.quality is not None]
    x = axis([_x(m, key) for m in known], frame.left, frame.width - frame.right, floor=0.0, may_log=True)
    y = axis(_heights(crowd, known), frame.height - frame.bottom, frame.top, floor=0.0, top=1.0)
    front = {m.candidate for m in crowd.front}
    special = front | ({crowd.incumbent.candidate} if crowd.incumbent else set())
    others = [m for m in known if m.candidate not in special]
    words: Words = _dollars if key == "cost" else _seconds
    return FrontChart(
        key=key,
        frame=frame,
        x_label=AXES[key][0] + (" (log scale)" if x.log else ""),
        x_ticks=tuple(Tick(at=x.at(v), text=words(v)) for v in x.ticks(4 if frame is NARROW else 7)),
        y_ticks=tuple(Tick(at=y.at(v), text=f"{v:g}") for v in y.ticks(5)),
        steps=_steps([(x.at(_x(m, key)), y.at(m.quality or 0.0)) for m in known if m.candidate in front], x),
        others="".join(f"M{x.at(_x(m, key)):g} {y.at(m.quality or 0.0):g}h0" for m in _some(others)),
        dots=tuple(_dots(crowd, [m for m in known if m.candidate in special], key, x, y)),
    )


def _dollars(value: float) -> str:
    return f"${value:,.0f}" if value >= 1000 else f"${value:g}"


def _seconds(value: float) -> str:
    return f"{value:g} s" if value >= 1 or value == 0 else f"{value * 1000:g} ms"


def _x(member: Member, key: str) -> float:
    value = member.value(key) or 0.0
    return value * 1000 if key == "cost" else value


def _heights(crowd: Crowd, known: Sequence[Member]) -> list[float]:
    drawn = crowd.front if len(crowd.front) <= _MOST_BARS else []
    shown = [crowd.intervals[m.candidate] for m in drawn if m.candidate in crowd.intervals]
    return [*(m.quality or 0.0 for m in known), *(i.low for i in shown), *(i.high for i in shown)]


def _some(members: Sequence[Member]) -> Sequence[Member]:
    return members[:: -(-len(members) // _MOST_OTHERS)] if members else members


def _dots(crowd: Crowd, members: Sequence[Member], key: str, x: Axis, y: Axis) -> list[Dot]:
    few, front = len(members) <= _MOST_BARS, {m.candidate for m in crowd.front}
    found = []
    for m in members:
        interval = crowd.intervals.get(m.candidate) if few or m.incumbent else None
        found.append(
            Dot(
                candidate=m.candidate,
                x=x.at(_x(m, key)),
                y=y.at(m.quality or 0.0),
                low=None if interval is None else y.at(interval.low),
                high=None if interval is None else y.at(interval.high),
                kind=" ".join(name for name, on in (("front", m.candidate in front), ("incumbent", m.incumbent)) if on),
                best=crowd.recommended is not None and crowd.recommended.candidate == m.candidate,
            )
        )
    return sorted(found, key=lambda dot: (dot.best, "incumbent" in dot.kind, dot.x))


def _steps(points: Sequence[tuple[float, float]], x: Axis) -> str:
    """The staircase of the points that are best in this picture (up and to the left), as a path."""
    path, best = "", float("inf")
    for px, py in sorted(points):
        if py < best:
            path += f"M{px:g} {py:g}" if not path else f"H{px:g}V{py:g}"
            best = py
    return f"{path}H{x.end:g}" if path else ""


def line_charts(steps: Sequence[Step]) -> tuple[LineChart, ...]:
    """Hypervolume and spend over calls; those of which nothing is known are left out."""
    if len(steps) < 2 or steps[-1].calls <= 0:
        return ()
    volume = [(s.calls, s.hypervolume) for s in steps if s.hypervolume is not None]
    spend = [(s.calls, s.spent_usd) for s in steps if s.spent_usd is not None]
    found = []
    if volume:
        found.append(_line("hypervolume", "Hypervolume of the front", volume, _three, _three))
    if spend and spend[-1][1] > 0:
        found.append(_line("spend", "Spent on search runs", spend, money, _dollars))
    return tuple(found)


def _three(value: float) -> str:
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


__all__ = ["AXES", "Crowd", "Dot", "FrontChart", "LineChart", "Tick", "front_charts", "line_charts"]
