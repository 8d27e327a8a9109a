"""Axes: where a value lies, and which round numbers are written beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_LOG_FROM = 12.0  # values whose largest is this many times the smallest are easier to tell apart on a log axis


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


Words = Callable[[float], str]
"""How a value is written."""
