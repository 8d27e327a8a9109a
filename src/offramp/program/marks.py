"""Where a field begins in an answer of several: a line that starts with its name and a colon.

The name may be dressed up as Markdown does (`**Name**:`, `- name:`, `### name:`) and written in any case, where that
leaves no doubt which field is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_DRESS = " \t#>*`-\u2022"
_MOST = 200
"""Longer text before a colon names no field."""


def mark_of(line: str, names: Sequence[str]) -> str | None:
    """The field that a line marks the beginning of."""
    label, colon, _ = line[:_MOST].partition(":")
    if not colon:
        return None
    for form in (label.strip(), label.strip(_DRESS), label.strip(_DRESS + "_")):
        hits = [name for name in names if name == form] or [n for n in names if n.casefold() == form.casefold()]
        if len(hits) == 1:
            return hits[0]
    return None


def split_fields(names: Sequence[str], answer: str) -> dict[str, str]:
    """Text after each mark up to the next one. The first mark of a field counts; text before all marks is left out."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in answer.split("\n"):
        name = mark_of(line, names)
        if name is None:
            current.append(line)
        else:
            current = [_undressed(line, names)]
            found.setdefault(name, current)
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def _undressed(line: str, names: Sequence[str]) -> str:
    """What stands after the colon; in `**name:** value` and `**name: value**` the stars belong to the name."""
    label, _, rest = line.partition(":")
    dress = re.match(r"[ \t#>\u2022-]*([*_`]*)", label)
    mark = dress.group(1) if dress else ""
    if not mark or label.strip() in names or label.rstrip().endswith(mark):
        return rest
    return rest.removeprefix(mark) if rest.startswith(mark) else rest.rstrip().removesuffix(mark)
