"""The best quality so far, over calls and over money, with which candidate reached it and who proposed that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from offramp.review.charts import SMALL, Axis, Frame, Tick, axis
from offramp.study.domain.trajectory import Step
from offramp.study.wording import money, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A candidate that was better than all before it.

    Attributes:
        label, origin: what it is called, and who proposed it.
        when: after which calls and money, in words.
    """

    id: str
    label: str
    origin: str
    quality: str
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BestChart:
    """The best so far over one axis; `marks` are the points where it rose, in the order of `Best.found`."""

    title: str
    x_label: str
    frame: Frame
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    path: str
    marks: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """Both charts, and who found what."""

    charts: tuple[BestChart, ...]
    found: tuple[Found, ...]


def best_so_far(
    steps: Sequence[Step], label: Callable[[str], str], origins: Mapping[str, str], linked: Callable[[str], bool]
) -> Best | None:
    """The charts of a study; None where fewer than two candidates were evaluated in full.

    Args:
        steps: all of them. origins: who proposed each candidate, in words.
        linked: whether a candidate has a place to be shown in full.
    """
    risen = [step for step in steps if step.found]
    if not risen or len(steps) < 2 or not steps[-1].calls:
        return None
    charts = [_chart("Best quality so far, over calls", "calls", steps, risen, lambda s: float(s.calls), _count)]
    if steps[-1].spent_usd:
        charts.append(_chart("Best quality so far, over money", "USD", steps, risen, _spent, money))
    found = [
        Found(
            id=step.candidate if linked(step.candidate) else "",
            label=label(step.candidate),
            origin=origins.get(step.candidate, ""),
            quality=number(step.best),
            when=f"after {step.calls:,} calls" + ("" if step.spent_usd is None else f" and {money(step.spent_usd)}"),
        )
        for step in risen
    ]
    return Best(charts=tuple(charts), found=tuple(found))


def _spent(step: Step) -> float:
    return step.spent_usd or 0.0


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _chart(
    title: str, x_label: str, steps: Sequence[Step], risen: Sequence[Step], at: Callable[[Step], float],
    words: Callable[[float], str],
) -> BestChart:  # fmt: skip
    frame = SMALL
    x = Axis(low=0.0, high=at(steps[-1]) or 1.0, start=frame.left, end=frame.width - frame.right)
    y = axis([s.best or 0.0 for s in risen], frame.height - frame.bottom, frame.top, floor=0.0, top=1.0)
    marks = tuple((x.at(at(s)), y.at(s.best or 0.0)) for s in risen)
    path = "".join(f"{'H' if i else 'M'}{px:g}{'V' if i else ' '}{py:g}" for i, (px, py) in enumerate(marks))
    return BestChart(
        title=title, x_label=x_label, frame=frame, path=f"{path}H{x.end:g}", marks=marks,
        x_ticks=tuple(Tick(at=x.at(v), text=words(v)) for v in x.ticks(4)),
        y_ticks=tuple(Tick(at=y.at(v), text=f"{v:g}") for v in y.ticks(3)),
    )  # fmt: skip
