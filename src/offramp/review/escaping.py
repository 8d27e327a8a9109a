"""Texts of strangers, made safe to show: escaped, and with nothing in them that hides or reorders what one reads.

A dataset row or a model's answer may contain markup, quotes, control characters, or characters that change the reading
direction of the text around them. All of it is shown, none of it acts.

Invariant: what `shown` and `embedded` return contains no markup or script but their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from markupsafe import Markup, escape

from offramp import media
from offramp.printable import acts

_longest: ContextVar[int | None] = ContextVar("offramp_longest_text", default=None)


@contextmanager
def texts_up_to(characters: int) -> Iterator[None]:
    """While what is shown is cut after so many characters, with how many more there are."""
    token = _longest.set(characters)
    try:
        yield
    finally:
        _longest.reset(token)


def shown(value: object) -> Markup:
    """A text as HTML that shows every character: hidden or acting ones are written as `U+202E` in a box."""
    text, most = str(value), _longest.get()
    if most is not None and len(text) > most:
        return shown(text[:most]) + Markup(f' <span class="hint">… and {len(text) - most:,} more characters</span>')
    parts: list[str] = []
    run: list[str] = []
    for char in text:
        if char not in "\n\t" and acts(char):
            parts += [str(escape("".join(run))), f'<span class="mark">U+{ord(char):04X}</span>']
            run = []
        else:
            run.append(char)
    return Markup("".join([*parts, str(escape("".join(run)))]))


def embedded(value: Any) -> Markup:
    """JSON that is safe inside a script element: ASCII only, without `<`, `>` and `&`."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def as_text(value: object) -> str:
    """A value of a dataset or an answer as text: strings as they are, anything else as JSON."""
    if isinstance(value, str):
        return media.described(value) if media.is_reference(value) else value
    if isinstance(value, list) and value and all(map(media.is_reference, value)):
        return "\n".join(map(media.described, value))
    return json.dumps(value, ensure_ascii=False, indent=None if _flat(value) else 1, default=str)


def _flat(value: object) -> bool:
    return not isinstance(value, dict | list) or len(str(value)) < 80
