"""Keys of this process never leave it in a text: their values become `***` wherever a text is kept or shown.

Which values: those of every environment variable that a model names as its key (`api_key_env`, or its provider's
usual one), whatever it is called, and of variables that are secret by name and whose value looks generated. In which
forms: as it is, escaped as JSON, Python, HTML or a URL, in hex, and as any part of a base64 text, such as a header of
basic authorization.

The seams that call this: `OfframpError`, `CallReply` and `Result` when they are made, text columns of the storage on
the way in and out, Optuna's attributes, the logger `offramp`, and the command line's traceback. Values shorter than
four characters, and words that say that a server needs no key, are not secret. One below twelve is masked only where
it stands alone, so that a key called `pass` leaves `passed` as it is.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import threading
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from offramp.printable import printable

MASK = "***"
_SHORTEST, _ALONE_BELOW, _GENERATED = 4, 12, 16
SECRET_NAME = re.compile(
    r"(_API_KEY|_TOKEN|_SECRET|_PASSWORD|_ACCESS_KEY)$|^(API_KEY|PGPASSWORD)$|_SECRET_", re.IGNORECASE
)
"""Names of environment variables that say that the value is a secret."""
_NO_KEY = {
    "anything", "dummy", "empty", "fake", "local", "lm-studio", "no-key", "no-key-needed", "none", "not-needed", "null",
    "ollama", "placeholder", "sk-no-key-required", "test", "todo", "true", "unused",
}  # fmt: skip
"""Values that servers without keys are given, in lower case."""


@dataclass(frozen=True, slots=True)
class _Forms:
    """What to look for: `anywhere` in a text, or `alone`; `pattern` finds each, the longest first."""

    anywhere: tuple[str, ...]
    alone: tuple[str, ...]
    pattern: re.Pattern[str]

    def may_be_in(self, text: str) -> bool:
        return any(form in text for form in self.anywhere) or any(form in text for form in self.alone)

    def masked(self, text: str) -> str:
        return self.pattern.sub(MASK, text) if self.may_be_in(text) else text


_lock = threading.Lock()
_variables: set[str] = set()
_public: set[str] = set()
_values: frozenset[str] | None = None
_forms: _Forms | None = None


def know_variable(name: str | None, public: Collection[str | None] = ()) -> None:
    """From now on the value of this environment variable is a key.

    Args:
        name: None where there is none.
        public: what is shown anyway, such as the model's name; a short value that is a part of it is not secret.
    """
    if name is not None:
        with _lock:
            _variables.add(name)
            _public.update(text for text in public if text)
        refresh()


def refresh() -> None:
    """Looks at the environment again. The seams do it, so that a key that was set late is known when it is used."""
    global _forms, _values
    with _lock:
        values = _known_values(dict(os.environ))
        if values != _values:
            _values, _forms = values, _forms_of(values)


def _known_values(environ: Mapping[str, str]) -> frozenset[str]:
    named = {environ.get(name, "").strip() for name in _variables}
    generated = {
        value.strip()
        for name, value in environ.items()
        if len(value) >= _GENERATED and SECRET_NAME.search(name) and _looks_generated(value)
    }
    found = {v for v in named | generated if len(v) >= _SHORTEST and v.lower() not in _NO_KEY}
    return frozenset(v for v in found if len(v) >= _ALONE_BELOW or not any(v in text for text in _public))


def _looks_generated(value: str) -> bool:
    return re.search(r"\d", value) is not None and re.search(r"[A-Za-z]", value) is not None and " " not in value


def _forms_of(values: Collection[str]) -> _Forms | None:
    if not values:
        return None
    anywhere: set[str] = set()
    alone: set[str] = set()
    for value in values:
        escaped = _escaped(value)
        (alone if len(value) < _ALONE_BELOW else anywhere).update(escaped)
        if len(value) >= 8:
            anywhere |= _encoded(value)
    long_first = sorted(anywhere, key=len, reverse=True)
    parts = [re.escape(form) for form in long_first]
    parts += [rf"(?<![0-9A-Za-z]){re.escape(form)}(?![0-9A-Za-z])" for form in sorted(alone, key=len, reverse=True)]
    return _Forms(tuple(long_first), tuple(alone - anywhere), re.compile("|".join(parts)))


def _escaped(value: str) -> set[str]:
    """The value as it stands in texts, JSON, Python, HTML and URLs."""
    how = "surrogatepass"
    quoted = {quote(value, "", errors=how), quote(value, errors=how), quote_plus(value, errors=how)}
    forms = {value, repr(value)[1:-1], html.escape(value), html.escape(value, quote=False)} | quoted
    forms |= {re.sub(r"%..", lambda found: found[0].lower(), text) for text in quoted}
    for _ in range(2):  # JSON, and JSON within JSON
        forms |= {json.dumps(text, ensure_ascii=ascii_)[1:-1] for text in forms for ascii_ in (True, False)}
    return forms


def _encoded(value: str) -> set[str]:
    """Its hex, and what base64 makes of it wherever it begins in the bytes that are encoded."""
    data = value.encode("utf-8", "surrogatepass")
    found = {data.hex(), data.hex().upper()}
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * before + data).decode("ascii")
            found.add(text[-(-before * 8 // 6) : (before + len(data)) * 8 // 6])
    return found


def scrubbed(text: str) -> str:
    """The text with every known key as `***`."""
    return text if _forms is None else _forms.masked(text)


def holds_key(text: str) -> bool:
    """Whether a known key is in the text."""
    return scrubbed(text) != text


def scrubbed_value(value: Any) -> Any:
    """A JSON value with every text in it scrubbed, keys of mappings too; the same object where there is nothing."""
    if _forms is None:
        return value
    if isinstance(value, str):
        return _forms.masked(value)
    if isinstance(value, Mapping):
        made = {scrubbed_value(key): scrubbed_value(item) for key, item in value.items()}
        return value if list(made.items()) == list(value.items()) else made
    if isinstance(value, list | tuple):
        items = [scrubbed_value(item) for item in value]
        return value if items == list(value) else items if isinstance(value, list) else tuple(items)
    return value


def scrubbed_traceback(error: BaseException) -> str:
    """The error's traceback as Python prints it, scrubbed."""
    refresh()
    return scrubbed("".join(traceback.format_exception(error)))


class _LogFilter(logging.Filter):
    """Scrubs what is logged, arguments and tracebacks included, and leaves nothing in it that a terminal obeys."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record through."""
        refresh()
        text = record.getMessage()
        if (clean := printable(scrubbed(text), keep="\n\t")) != text:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = printable(scrubbed_traceback(record.exc_info[1]), keep="\n\t").rstrip("\n")
        return True


logging.getLogger("offramp").addFilter(_LogFilter())
