"""What is dropped of what was proposed, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable

from offramp.search.proposals.leaks import LeakCheck, words_of

_FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)
_SCORE = re.compile(r"\s*\| Score: [\d.]+\Z")
_QUOTES = {'"': '"', "'": "'", "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}"}


def tidy(text: str) -> str:
    """The text without a fence, quotes or white space around it, or the score that a tried one was shown with."""
    text = _SCORE.sub("", text.strip()).strip()
    fenced = _FENCE.match(text)
    text = fenced[1].strip() if fenced else text
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def why_dropped(text: str, *, max_chars: int, others: Iterable[str], leaks: LeakCheck) -> str | None:
    """Why a text does not join; None for one that does.

    Args:
        others: the texts that this predictor has already.
    """
    if not words_of(text):
        return "it is empty"
    if len(text) > max_chars:
        return f"it has {len(text)} characters, more than {max_chars}"
    if any(words_of(other) == words_of(text) for other in others):
        return "it says what another instruction says"
    return leaks.reason(text)
