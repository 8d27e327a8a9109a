"""Texts of strangers for a terminal, a log or a spreadsheet: every character is shown, and none acts.

A dataset row, a model's answer or a file's name may contain escape sequences, which a terminal obeys (it can be told to
hide lines, rename its window or type), marks that reorder what stands beside them, or a spreadsheet's formula.
"""

from __future__ import annotations

import unicodedata
from typing import Any

_HIDDEN = frozenset(
    "\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064"
    "\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f\ufeff\ufff9\ufffa\ufffb"
)
"""Marks of direction, invisible spaces and separators: valid text that nobody can see."""
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def acts(char: str) -> bool:
    """Whether a character does something other than to be seen: controls, halves of surrogate pairs, hidden marks."""
    return char in _HIDDEN or "\U000e0000" <= char <= "\U000e007f" or unicodedata.category(char) in ("Cc", "Cs")


def printable(value: object, *, keep: str = "") -> str:
    """A text with every character that acts spelled out as in Python, such as `\\x1b`; those in `keep` stay."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if c not in keep and acts(c) else c for c in text)


def safe_cell(value: Any) -> Any:
    """A cell of a CSV: without controls but line ends, and quoted where a spreadsheet would take it for a formula."""
    if not isinstance(value, str):
        return value if value is None or isinstance(value, int | float) else printable(value)
    text = printable(value.replace("\r\n", "\n"), keep="\n")
    return f"'{text}" if value.strip()[:1] in _FORMULA or value[:1] in ("\t", "\r") else text
