"""Which texts in a file are names of models, judged by the table and by the text around them.

A name with a number in it such as `gpt-4o-mini` stands for a model wherever it stands alone. A short or plain one
(`o1`, `deepseek-chat`) counts only as the whole of a quoted text or as the value of something called model. Old or
dated names of large vendors that the table does not have (`gpt-4-0314`) are models that are gone, new, or misspelt;
they count where they are values. So are names behind a provider of the table (`groq/llama-3.3-70b-versatile`) that it
does not have: as the value of something called model, or where the provider has a family of that name.

Names are also read as other tools and hosts spell them (`models/spellings.py`). What differs from the table in case, or
in a dot for a dash, counts where it is a value: `GPT-4o` in a sentence is a product.

Invariant: a name that is part of a longer word is not a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from offramp.models.gguf_files import BY_NAME
from offramp.models.names import family, tuned_base
from offramp.models.retirement.listed import was_listed
from offramp.models.spellings import may_be_read, readings
from offramp.models.table import Table

_TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:@+-]*")
_DIGIT = re.compile(r"\d")
_MODELS_PATH = re.compile(r"(?:^|/)models/([A-Za-z0-9][\w.@-]*)")
_DISTINCT = re.compile(r"(?=.*\d)(?=.*[A-Za-z])(?=.*-).{6,}")
_MODEL_KEY = re.compile(r"model(s|_?name|_?id)?[\w.\])-]*[\"'`]?\s*(:=|=>|[:=(,])\s*[\"'`\[{]*\s*$", re.IGNORECASE)
_OLD = re.compile(
    r"(text|code)-davinci-\d+|gpt-(3\.5|4)-[\w.-]+|claude-(instant|v?[12])[\w.-]*|gemini-1\.[\w.-]+|o1-(mini|preview)[\w.-]*"
    r"|(gpt|o\d|claude|gemini|mistral|command)-[\w.-]*[-@](20\d{6}|20\d\d-\d\d-\d\d|\d\d-20\d\d)"
)
_VENDORS = frozenset({"openai", "anthropic", "gemini", "vertex_ai", "mistral", "azure", "cohere", "bedrock"})
_QUOTES = "\"'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A name on a line.

    Attributes:
        name: as written, without what stands around it.
        column: 1-based.
        known: whether the table (or the embedded models) has it, or the base that it was tuned from.
        meant: the name by which the table knows it, for dates and prices; `name` itself in most cases.
    """

    name: str
    column: int
    known: bool
    meant: str


class KnownNames:
    """The names of a table, ready to be looked for."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known = {*table.by_key, *table.by_route, *table.aliases, *BY_NAME}
        self._families: dict[str, set[str]] = {}
        for row in table.chat_rows():
            self._families.setdefault(row.provider, set()).add(family(row.route))

    def mentions(self, line: str) -> Iterator[Mention]:
        """The models named on one line, from left to right."""
        for found in _TOKEN.finditer(line):
            text = found[0].rstrip(".:/-+@")
            mention = self._mention(line, found.start(), text)
            if mention is not None:
                yield mention

    def _mention(self, line: str, start: int, text: str) -> Mention | None:
        if text.isidentifier() and text not in self._known:  # most of a program
            return None
        spelled = ":" in text or "/" in text
        other = spelled or ("-" in text and ("." in text or "@" in text or not text.islower()))
        meanings = list(readings(text, self._table)) if other and may_be_read(text, self._table) else [text]
        for meant in meanings:
            if meant in self._known or ("ft:" in meant and tuned_base(meant) in self._known):
                plain = meant in text or (spelled and text == text.casefold())
                distinct = plain and (self._distinct(meant) or _says_provider(text, meant))
                sure = distinct or _is_value(line, start, text)
                return Mention(name=text, column=start + 1, known=True, meant=meant) if sure else None
        if (inner := _MODELS_PATH.search(text)) is not None:
            return self._in_path(inner[1], start + inner.start(1))
        for meant in meanings:
            old = _is_old(meant) or (_DIGIT.search(meant) is not None and was_listed(meant))
            if (old or self._is_of_provider(line, start, text, meant)) and _is_value(line, start, text):
                return Mention(name=text, column=start + 1, known=False, meant=meant)
        return None

    def _is_of_provider(self, line: str, start: int, text: str, meant: str) -> bool:
        """Whether it can only be a model of a provider: the value of a model, or of one of the provider's families.

        With a colon (`mistral:7b` may be a file of Ollama's) only the family tells.
        """
        provider, _, rest = meant.partition("/")
        if not rest or provider not in self._families or not re.search(r"\d", rest):
            return False
        if text == meant and _MODEL_KEY.search(line[:start]):
            return True
        return family(meant) in self._families[provider]

    def _in_path(self, name: str, start: int) -> Mention | None:
        """`models/gemini-1.5-pro`, as Google's own interface writes it and as it stands in addresses."""
        for spelling in (name, f"gemini/{name}"):
            if spelling in self._known and _DISTINCT.fullmatch(name):
                return Mention(name=spelling, column=start + 1, known=True, meant=spelling)
        return None

    def _distinct(self, name: str) -> bool:
        """Whether a name can hardly mean anything else, wherever it stands."""
        provider, _, rest = name.partition("/")
        if rest and provider in _VENDORS and (("-" in rest and len(rest) > 5) or _DISTINCT.fullmatch(rest)):
            return True
        return _DISTINCT.fullmatch(rest or provider) is not None and not re.match(r"\d", rest or provider)


def _says_provider(text: str, meant: str) -> bool:
    """Whether it is `provider:name` with a number in the name, which nothing else is."""
    return ":" in text and meant != text and re.search(r"\d", meant.partition("/")[2]) is not None


def _is_old(text: str) -> bool:
    text = tuned_base(text) or text if "ft:" in text else text
    provider, _, rest = text.partition("/")
    if rest and provider in _VENDORS:
        return _OLD.fullmatch(rest) is not None
    return _OLD.fullmatch(text) is not None


def _is_value(line: str, start: int, text: str) -> bool:
    """Whether it is the whole value of something called model, or a whole quoted text with a number or hyphen in it."""
    before, after = line[:start], line[start + len(text) :]
    ends = not after or after[0] in _QUOTES + " \t\r,;)]}#"
    if ends and _MODEL_KEY.search(before):
        return True
    quoted = before[-1:] in set(_QUOTES) and after[:1] == before[-1:]
    return quoted and bool(re.search(r"\d|-", text))
