"""Texts that promptfoo sends and compares as they are, whatever is in them.

promptfoo fills in templates (`{{ 7*7 }}`, `{% include %}`, `{# #}`, `{{ env.HOME }}`) in the texts of a config, and
reads files for those that begin with an address (`file://`, `package:`). Texts of a dataset may contain either.
"""

from __future__ import annotations

import re

_MARKS = re.compile(r"\{(?=[{%#])|#(?=\})")
_ADDRESS = re.compile(r"^(?=\s*[A-Za-z][\w+.-]*:)")
_CUTS = re.compile(
    r"(?<=\{)(?=[{%#])|(?<=^file)(?=:)|(?<=^package)(?=:)|(?<=^python)(?=:)|(?<=^javascript)(?=:)|(?<=^exec)(?=:)"
)


def inert(text: str) -> str:
    """A template that renders to the text, in which neither a template nor an address is found before."""
    marked = _MARKS.sub(lambda match: f'{{{{ "{match[0]}" }}}}', text)
    return _ADDRESS.sub('{{ "" }}', marked)


def pieces(text: str) -> list[str]:
    """The text in pieces, in none of which anything is found; `{{ name | join }}` puts them together."""
    return _CUTS.split(text)


def plain_label(text: str) -> str:
    """A text for people in which nothing is found: marks are set apart."""
    return re.sub(r"^(file|package):", r"\1 :", _MARKS.sub(r"\g<0> ", text))
