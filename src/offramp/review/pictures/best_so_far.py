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
    """The best so far over one axis; `marks` are the points where it rose, in the order of `Best.found`.

    `rise` is the path from the last of them to one that is expected to be better, and `estimate` where that one is.
    """

    title: str
    x_label: str
    frame: Frame
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    path: str
    marks: tuple[tuple[float, float], ...]
    rise: str = ""
    estimate: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """Both charts, and who found what."""

    charts: tuple[BestChart, ...]
    found: tuple[Found, ...]


def best_so_far(
    steps: Sequence[Step], label: Callable[[str], str], origins: Mapping[str, str], linked: Callable[[str], bool],
    estimate: tuple[str, float] | None = None,
) -> Best | None:  # fmt: skip
    """The charts of a study; None where nothing was evaluated beside a first candidate.

    Args:
        steps: all of them. origins: who proposed each candidate, in words.
        linked: whether a candidate has a place to be shown in full.
        estimate: the recommended candidate with its expected quality, where it was not run on all examples.
    """
    risen = [step for step in steps if step.found]
    if not risen or len(steps) < 2 or not steps[-1].calls:
        return None
    ahead = None if estimate is None or estimate[1] <= (risen[-1].best or 0.0) else estimate[1]
    charts = [_chart("Best quality so far, over calls", "calls", steps, risen, ahead, lambda s: float(s.calls), _count)]
    if steps[-1].spent_usd:
        charts.append(_chart("Best quality so far, over money", "USD", steps, risen, ahead, _spent, money))

    def found(candidate: str, quality: str, step: Step) -> Found:
        spent = "" if step.spent_usd is None else f" and {money(step.spent_usd)}"
        return Found(
            id=candidate if linked(candidate) else "", label=label(candidate), origin=origins.get(candidate, ""),
            quality=quality, when=f"after {step.calls:,} calls{spent}",
        )  # fmt: skip

    finders = [found(step.candidate, number(step.best), step) for step in risen]
    if estimate is not None and ahead is not None:
        finders.append(found(estimate[0], f"~{number(ahead)}", steps[-1]))
    return Best(charts=tuple(charts), found=tuple(finders))


def _spent(step: Step) -> float:
    return step.spent_usd or 0.0


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _chart(
    title: str, x_label: str, steps: Sequence[Step], risen: Sequence[Step], ahead: float | None,
    at: Callable[[Step], float], words: Callable[[float], str],
) -> BestChart:  # fmt: skip
    frame = SMALL
    x = Axis(low=0.0, high=at(steps[-1]) or 1.0, start=frame.left, end=frame.width - frame.right)
    best = [s.best or 0.0 for s in risen]
    y = axis([*best, ahead or best[-1]], frame.height - frame.bottom, frame.top, floor=0.0, top=1.0)
    marks = tuple((x.at(at(s)), y.at(s.best or 0.0)) for s in risen)
    path = "".join(f"{'H' if i else 'M'}{px:g}{'V' if i else ' '}{py:g}" for i, (px, py) in enumerate(marks))
    estimate = None if ahead is None else (x.end, y.at(ahead))
    return BestChart(
        title=title, x_label=x_label, frame=frame, path=f"{path}H{x.end:g}", marks=marks, estimate=estimate,
        rise="" if estimate is None else f"M{x.end:g} {marks[-1][1]:g}V{estimate[1]:g}",
        x_ticks=tuple(Tick(at=x.at(v), text=words(v)) for v in x.ticks(4)),
        y_ticks=tuple(Tick(at=y.at(v), text=f"{v:g}") for v in y.ticks(3)),
    )  # fmt: skip
