"""Where candidates that are expected on the front, and are not complete, are in its picture: with their intervals.

Invariant: they are hollow, say how many examples they rest on, and are on no staircase: nothing is compared with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offramp.study.domain.likely import Expected, LikelyMember
from offramp.study.wording import likely_words, plain, shared_params, short_params

if TYPE_CHECKING:
    from offramp.review.charts import Axis

MOST = 30
_MOST_LABELS, _LABEL_WIDE, _LABEL_HIGH = 6, 40.0, 13.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyDot:
    """One of them.

    Attributes:
        x, y: its expected values. bars: both 95% intervals, as a path.
        label: `12/40` beside the point; empty where there are many, or where it would cover another.
        words: for whoever does not see it.
    """

    candidate: str
    x: float
    y: float
    bars: str
    label: str
    words: str


def drawn(likely: Sequence[LikelyMember], key: str) -> tuple[LikelyMember, ...]:
    """Those that a chart over this objective shows: the highest expected utility first."""
    return tuple(one for one in likely if key in one.values and "quality" in one.values)[:MOST]


def position(seen: Expected, key: str) -> Expected:
    """An expected value in the unit of the axis: USD for 1,000 runs, or seconds."""
    factor = 1000 if key == "cost" else 1
    return Expected(mean=seen.mean * factor, low=seen.low * factor, high=seen.high * factor)


def likely_dots(likely: Sequence[LikelyMember], key: str, x: Axis, y: Axis) -> tuple[LikelyDot, ...]:
    """The points of a chart. Intervals that reach beyond an axis end there."""
    return tuple(_dots(drawn(likely, key), key, x, y))


def _dots(likely: Sequence[LikelyMember], key: str, x: Axis, y: Axis) -> Iterator[LikelyDot]:
    names, labelled = labels_of_likely(likely), list[tuple[float, float]]()
    for one in likely:
        wide, high, words = position(one.values[key], key), one.values["quality"], likely_words(one)
        px, py, low, top = x.at(wide.mean), y.at(high.mean), y.at(high.low), y.at(high.high)
        left, right = x.at(wide.low), x.at(wide.high)
        upright = f"M{px:g} {low:g}V{top:g}M{px - 4:g} {low:g}h8M{px - 4:g} {top:g}h8"
        flat = f"M{left:g} {py:g}H{right:g}M{left:g} {py - 4:g}v8M{right:g} {py - 4:g}v8"
        told = [f"expected quality {words.quality} ({words.quality_interval})"]
        told += [words.cost and f"{words.cost} per 1,000 runs", words.latency]
        told += [f"run on {one.n} of {one.of} examples, not complete"]
        free = all(abs(px - a) > _LABEL_WIDE or abs(py - b) > _LABEL_HIGH for a, b in labelled)
        labelled += [(px, py)] if free else []
        yield LikelyDot(
            candidate=one.candidate, x=px, y=py, bars=upright + flat,
            words=f"{names[one.candidate]}: {', '.join(filter(None, told))}",
            label=words.n if free and len(likely) <= _MOST_LABELS else "",
        )  # fmt: skip


def labels_of_likely(likely: Sequence[LikelyMember]) -> dict[str, str]:
    """Each in a few words: what is not the same for all of them."""
    shared = shared_params(likely) - {"model"} if len(likely) > 1 else set()
    return {
        one.candidate: plain(short_params({name: v for name, v in one.shown.items() if name not in shared}))
        for one in likely
    }


def likely_data(likely: Sequence[LikelyMember]) -> list[dict[str, Any]]:
    """What the page's script shows of them beside the picture."""
    names = labels_of_likely(likely)
    found = []
    for one in likely[:MOST]:
        words = likely_words(one)
        rows = [
            ("expected quality", f"{words.quality} ({words.quality_interval})"),
            ("1,000 runs", words.cost and f"{words.cost} ({words.cost_interval})"),
            ("latency", words.latency and f"{words.latency} ({words.latency_interval})"),
            ("run on", f"{one.n} of {one.of} examples"), ("chance of the front", words.trust),
        ]  # fmt: skip
        found.append({"id": one.candidate, "label": names[one.candidate], "rows": [row for row in rows if row[1]]})
    return found
