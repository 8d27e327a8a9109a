"""1 when the last number in the answer is within tolerance of gold.

The last one, because an answer that shows its steps ends with its result. What stands there has to be one plain number:
digits with a decimal point, and perhaps commas between groups of three digits, a sign, an exponent, a currency or per
cent sign, or a unit. Anything else (`10,50`, `1 000`, `3/4`, `12:30`, `2026-01-31`, `0x10`) is not a number: read in
part, it would look like one. Neither is a value that books take for a negative one: `(5)` and `5-`.

The patterns mean the same to Python and to JavaScript, where exports use them.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.errors import DatasetError, problem
from offramp.records import Example, Score
from offramp.task.metrics._base import Ask, as_text, shown

EXPECTED = "a number with a decimal point, and commas only between groups of three digits"
_DASHES = r"\u2010-\u2015"
_MONEY = r"[$\u20ac\u00a3\u00a5]"
_DIGITS = r"(?:\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+(?!\d)|\d+)"
_JOINED = (
    rf"(?:%?[,.:\/_'\u2019+*^~\\\u00b1\u00b7\u00d7\u00f7\u2212{_DASHES}\-]+{_MONEY}?(?=\d)"
    r"|[eE][+\-](?=\d)|[A-Za-z]+(?=\d))"
)
NUMBER_LIKE = (
    rf"((?<!\w)[+\-\u2212{_DASHES}])?{_MONEY}?"
    rf"(0[xX][0-9A-Fa-f]+|(?:(?<![\w.])\.)?{_DIGITS}(?:{_JOINED}{_DIGITS})*)"
    r"([\u00b2\u00b3\u00b9\u00bc-\u00be\u2044\u2070-\u209c\u2150-\u218b])?"
)
"""Groups: the sign, digits with whatever joins them, and a power or fraction behind them."""
PLAIN = r"^(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][+\-]?\d{1,3})?$"
"""Digits that are one number."""
READING = "number-2"
"""Part of the fingerprint: change it with the rules of `last_number`."""
SIGNS = "+-\u2212"
_BESIDE = r"[ \t\r\n\u00a0\u202f$\u20ac\u00a3\u00a5%+\-\u2212]*"
BOOKED = rf"^{_BESIDE}(?:\({_BESIDE}[\d.,]+{_BESIDE}\){_BESIDE}|[\d.,]+[ \u00a0%]*[\-\u2212][ \t\r\n]*)$"
"""A whole value that books take for a negative number."""
_NUMBER_LIKE, _PLAIN, _BOOKED = (re.compile(pattern, re.ASCII) for pattern in (NUMBER_LIKE, PLAIN, BOOKED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """Within `absolute`, or within `relative` times the size of gold, whichever is wider.

    `earlier_fingerprint`: that of releases which read `10,50` as 50.
    """

    name: str
    fingerprint: str
    field: str
    gold: str
    absolute: float
    relative: float
    earlier_fingerprint: str
    judge_models: tuple[str, ...] = ()

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """1.0 or 0.0; an answer without a number scores 1.0 only if gold and answer are both null.

        Raises:
            DatasetError: gold is not a number.
        """
        gold, answer = example.values.get(self.gold), outputs.get(self.field)
        unread = ""
        if gold is None:
            right = answer is None
        else:
            number, wanted = last_number(answer), last_number(gold)
            if wanted is None:
                what = f"row {example.row}: {self.gold!r}"
                raise DatasetError(problem(self.name, what, got=shown(gold), expected=EXPECTED))
            tolerance = max(self.absolute, self.relative * abs(wanted))
            right = number is not None and abs(number - wanted) <= tolerance
            unread = f", which does not end in {EXPECTED}" if number is None and as_text(answer).strip() else ""
        feedback = None if right else f"{self.field}: expected {shown(gold)}, got {shown(answer)}{unread}"
        return Score(value=float(right), feedback=feedback)


def last_number(value: Any) -> float | None:
    """The number that a value's text ends with; None where that is not finite, or not one plain number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _finite(value)
    text = as_text(value)
    last = next(iter(deque(_NUMBER_LIKE.finditer(text), maxlen=1)), None)
    if last is None or _BOOKED.search(text):
        return None
    sign, digits, more = last[1] or "", last[2], last[3]
    if more or sign not in SIGNS or not _PLAIN.search(digits):
        return None
    size = _finite(digits.replace(",", ""))
    return -size if size is not None and sign not in ("", "+") else size


def _finite(value: int | float | str) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
