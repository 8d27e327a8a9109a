"""The instruction inside of what a model wrote: what surrounds it is taken off, and places for values are found.

Models announce an instruction, fence it, quote it or put it into JSON, however they are asked. And some write a prompt
template, with a place for the input; offramp sends inputs by itself, so such a place would be sent as it is.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

_SCORE = re.compile(r"\s*\| Score: [\d.]+\Z")
_FENCE = re.compile(r"\A(```+|~~~+)(?:[\w+-]*[ \t]*\n|(?=[^\n]*\1))(.*)\1\s*\Z", re.DOTALL)
_FENCED_FIRST = re.compile(r"\A(```+|~~~+)[\w+-]*[ \t]*\n(.*)\n\1", re.DOTALL)
_TAGS = re.compile(r"\A<(\w*(?:instruction|prompt|answer|output)\w*)>(.*)</\1>\Z", re.DOTALL | re.IGNORECASE)
_MARKS = re.compile(r"\A\[\[ ## \w+ ## \]\](.*?)(?:\[\[ ## completed ## \]\])?\Z", re.DOTALL)
_LANGUAGE = re.compile(r"\A(?:json|text|txt|markdown|md|plaintext)\s+(?=[{\"'])", re.IGNORECASE)
_NAMED = r"(?:instructions?|prompts?)"
_WORDS = (
    r"(?:(?:the|an?|my|your|our|one|proposed|new|improved|revised|updated|final|better|optimi[sz]ed|rewritten|refined"
    r"|suggested|enhanced|possible|concise|system|task)\s+)*"
)
_ANNOUNCED = re.compile(
    r"\A(?:(?:sure|certainly|of course|okay|ok|absolutely|great|yes)\b[^\w\n]*\s*)?(?:"
    r"(?:here(?:['\u2019]s| is| are)|below (?:is|are)|(?:the )?following (?:is|are)|this is|i (?:suggest|propose))\s+"
    rf"{_WORDS}(?:{_NAMED}|version|proposal|revision|suggestion|draft)\b"
    r"(?:[\s,]+(?:for|that|to|you|of|based|with|which|below|i|as|from|in|addressing|taking)\b[^\n:]{0,100})?"
    r"|i(?: have|['\u2019]ve)?\s+(?:rewrote|rewritten|improved|revised|refined|updated|written)\b[^\n:]{0,100}"
    r")\s*:[*_]*\s+",
    re.IGNORECASE,
)
_HEADING = re.compile(rf"\A[#*_\s]*{_WORDS}{_NAMED}[*_]*\s*(?::[*_]*\s+|\n+)", re.IGNORECASE)
_QUOTES = {
    '"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u201e": "\u201c\u201d",
    "\u201a": "\u2018\u2019", "\u00ab": "\u00bb", "\u00bb": "\u00ab", "\u2039": "\u203a", "\u300c": "\u300d",
    "\u300e": "\u300f", "\u300a": "\u300b",
}  # fmt: skip
_ASIDE = re.compile(r"reason|explanation|rationale|current|previous|old|original|basic", re.IGNORECASE)
_KEYS = ("text", "content", "output", "answer", "result", "response", "value", "proposal")


def tidy(text: str) -> str:
    """The text without what models put around it: an announcement, fences, JSON, tags, quotes, and a score."""
    text = _SCORE.sub("", text.strip()).strip()
    while (inner := _inside(text)) != text:
        text = inner
    return text


def _inside(text: str) -> str:
    """The text without its outermost wrapping; itself where there is none."""
    if (match := _FENCE.match(text)) and not _closes_early(match[2], match[1]):
        return match[2].strip()
    if match := _TAGS.match(text):
        return match[2].strip()
    if match := _MARKS.match(text):
        return match[1].strip()
    for start in (_ANNOUNCED, _HEADING):
        if (match := start.match(text)) and (rest := text[match.end() :].strip()):
            fenced = _FENCED_FIRST.match(rest)
            return fenced[2].strip() if fenced else rest
    text = _LANGUAGE.sub("", text)
    if text[:1] in ("{", "[", '"') and (found := _from_json(_parsed(text))):
        return found.strip()
    lines = text.splitlines()
    if lines and all(line.startswith(">") for line in lines if line.strip()):
        return "\n".join(line.removeprefix(">").removeprefix(" ") for line in lines).strip()
    return _unquoted(text)


def _closes_early(inner: str, fence: str) -> bool:
    """Whether the first fence inside closes the one around: then the text has several blocks, and is none."""
    inside = [line.strip() for line in inner.splitlines() if line.strip().startswith(fence)]
    return bool(inside) and inside[0] == fence


def _unquoted(text: str) -> str:
    for around in ('"""', "'''", "**"):
        if len(text) > 2 * len(around) and text.startswith(around) and text.endswith(around):
            inner = text[len(around) : -len(around)]
            return text if around in inner else inner.strip()
    first, last, inner = text[:1], text[-1:], text[1:-1]
    if len(text) > 1 and first in _QUOTES and last in _QUOTES[first] and not {first, last} & set(inner):
        return inner.strip()
    return text


def _parsed(text: str) -> Any:
    """The value of a text that is JSON, or nearly; None where it is not."""
    for attempt in (text, re.sub(r",\s*([}\]])", r"\1", text)):
        try:
            return json.loads(attempt, strict=False)
        except (ValueError, RecursionError):
            continue
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _from_json(value: Any) -> str | None:
    """The instruction in a JSON value: a text, or what stands under a name for it; None where none is recognised."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _from_json(value[0]) if len(value) == 1 else None
    if not isinstance(value, dict):
        return None
    keys = sorted((key for key in value if isinstance(key, str) and not _ASIDE.search(key)), key=len)
    named = [key for kind in ("instruction", "prompt") for key in keys if kind in key.casefold()]
    named += [key for key in keys if len(value) == 1 and key.casefold() in _KEYS]
    inner = value[named[0]] if named else None
    if isinstance(inner, list) and all(isinstance(line, str) for line in inner):
        return "\n".join(inner)
    return inner if isinstance(inner, str) else _from_json(inner)


def is_broken_json(text: str) -> bool:
    """Whether a text is an instruction in JSON that cannot be read, so that nobody knows where it ends."""
    return bool(re.match(rf"\A\{{\s*[\"']\w*{_NAMED}\w*[\"']\s*:", text, re.IGNORECASE)) and _parsed(text) is None


# ------------------------------------------------------------------------------------------------- templates

_NAME = r"[^\W\d]\w*"
_ASKED = r"(?:input|message|question|document|query)(?:[ \t]+(?:text|here|goes here))?[ \t]*"
_ANY_HOLE = re.compile(
    r"\{\{\{?[ \t]*[#/^&>!~*-]?[ \t]*[^\W\d][^{}\"\n:]*\}\}\}?"  # {{text}}, {{#if text}}, {{ the message }}
    rf"|\{{\{{[ \t]*{_NAME}[ \t]*\|[^{{}}\n]*\}}\}}"  # {{text | default("x")}}
    r"|\{%[^\n]*?%\}|<%[^\n]*?%>"  # {% if text %}, <%= text %>
    rf"|<<[ \t]*{_NAME}[ \t]*>>"
    rf"|[$#@%]\{{[ \t]*{_NAME}[^{{}}\n]*\}}|\{{[$@][ \t]*{_NAME}[^{{}}\n]*\}}"  # ${text}, {$text}
    rf"|%\({_NAME}\)[sdr]|</?(?:curr_param|side_info|curr_instructions|inputs_outputs_feedback)>"
    rf"|[\[<{{(][ \t]*(?:insert|paste|fill in)\b[^\[\]<>{{}}()\n]{{0,40}}\b{_ASKED}[\]>}})]"  # [insert message here]
    rf"|[\[<{{][ \t]*(?:the|your)[ \t]+{_ASKED}[\]>}}]",
    re.IGNORECASE,
)
_INPUTS = ("input", "inputs", "input_text", "user_input", "user_message", "placeholder")
"""Names that templates give to what is asked, whatever the fields are called."""


def holes(text: str, fields: Iterable[str] = ()) -> list[str]:
    """The places of a text that a template engine, or a format string, would put a value into, as they are written.

    A name in single braces counts where it is a field, since JSON and lists of choices have braces too.
    """
    plain = unicodedata.normalize("NFKC", text)
    names = "|".join(
        re.escape(name).replace("_", "[ _-]?") for name in sorted({*fields, *_INPUTS}, key=len, reverse=True)
    )
    suffix = r"(?:(?:\.|\[|![rsa]|\|)[^{}\n]*)?"  # {text.body}, {text[0]}, {text!r}
    named = re.compile(
        rf"\{{[ \t]*(?:{names}){suffix}[ \t]*\}}"
        rf"|\$(?:{names})\b|%(?:{names})%|\[\[[ \t]*(?:{names})[ \t]*\]\]",
        re.IGNORECASE,
    )
    found = [match for pattern in (_ANY_HOLE, named) for match in pattern.finditer(plain)]
    return [match[0] for match in sorted(found, key=lambda match: match.start())]
