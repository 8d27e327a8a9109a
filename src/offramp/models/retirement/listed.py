"""Which models LiteLLM's table has had: evidence that a name has left it, where a name alone is none.

A name that the table lacks may be a deployment of one's own, a model newer than the table, or misspelt.
"""

from __future__ import annotations

import functools
from importlib.resources import files

from offramp.models.names import folded, stem

_VENDORS = ("openai", "anthropic", "gemini", "mistral", "xai")
"""Whose names are written without them, too."""


def was_listed(name: str) -> bool:
    """Whether a table had the model: with its provider also without its date, without a provider only as it is."""
    names, stems = _listed()
    plain = folded(name)
    if "/" in name:
        return plain in names or plain in stems
    return any(f"{vendor}/{plain}" in names for vendor in _VENDORS)


@functools.cache
def _listed() -> tuple[frozenset[str], frozenset[str]]:
    """The names, and the same without their dates."""
    text = files(__package__).joinpath("listed_models.txt").read_text(encoding="utf-8")
    names = [line for line in text.splitlines() if line and not line.startswith("#")]
    return frozenset(map(folded, names)), frozenset(folded(stem(name)) for name in names)
