"""Reading an answer: one reader of labels, numbers, booleans and JSON, whatever the message format around them.

Models decorate: `Theft.`, `«theft»`, a label with an explanation below, `**Answer:** theft`, JSON in a code fence. What
an answer says plainly is read the same way in every format, so that comparing formats compares models and not parsers.
The rules, each with examples, are in docs/answers.md.

An answer that names two different labels or numbers where one is asked for is not read: that would be a guess. With
`strict` an answer has to be exactly of its type, for apps that parse strictly.

Invariant: a value that `strict` reads is read as the same value without it.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args, get_origin

import json_repair
from dspy.adapters.utils import parse_value
from pydantic import TypeAdapter

from offramp.program.values import base_of, plain_text

NULLS = ("null", "none", "", "n/a", "nil")
"""Words for null, the one to write first."""
_AROUND_NULL = " \t\r\n\"'`*_.()"
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})
_FENCE = re.compile(r"^\s*(```|~~~)[\w+-]*[ \t]*\n?(.*?)\n?[ \t]*\1\s*$", re.S)
_ANSWER = re.compile(
    r"^(?:the\s+)?(?:(?:final|correct|best|most likely|my)\s+)?"
    r"(?:answer|label|category|class|classification|output|result|prediction|choice)\s*(?:is\b|[:=\uff1a])\s*",
    re.I,
)
_NUMBER = re.compile(
    r"(?<![\w.])([+-]?)(?:[$\u20ac\u00a3\u00a5]\s?)?"
    r"(\d{1,3}(?:[,_'\u2019\u2009\u202f\u00a0 ]\d{3})+(?!\d)|\d+|(?=\.\d))"
    r"(\.\d+|\.(?!\w))?(e[+-]?\d{1,3})?(?![\w,.]*\w|\s?%)",
    re.I,
)
_TAGGED = re.compile(r"^\s*(?:<(\w+)>(.*?)</\1>|\\boxed\{(?:\\text\{)?([^{}]*)\}*)[.\s]*$", re.S)
_MARK = re.compile(r"\[\[\s*##\s*([\w ]+?)\s*##\s*\]\]")


class _Text(str):
    """What stands in an answer for a field, as opposed to a text in JSON."""


class Unreadable(ValueError):
    """An answer that does not say a value of the type that was asked for."""


def read_value(text: str, annotation: Any, *, name: str = "", strict: bool = False) -> Any:
    """The value that a text gives for a field.

    Args:
        annotation: type of the field: a Literal, str, int, float, bool, a JSON type, or one of these or None.
        name: of the field, which an answer may repeat (`category: theft`).
        strict: read nothing that is not exactly of the type.

    Raises:
        Unreadable: it gives none, or more than one.
    """
    base, nullable = base_of(annotation)
    if base is str and not nullable:
        return text.strip()
    if strict:
        return _read_strictly(text.strip(), base, nullable, annotation)
    options = get_args(base) if get_origin(base) is Literal else ()
    if nullable and _is_null(text, base) and not names_option(text, options):
        return None
    if base is str:
        return unquoted(text)
    if get_origin(base) is Literal:
        return _label(text, options, name)
    if base is bool:
        return _label(text, [*sorted(_TRUE), *sorted(_FALSE)], name) in _TRUE
    if base in (int, float):
        return _number(text, base, name)
    return _json(text, annotation)


def read_found(found: Any, annotation: Any, *, name: str = "", strict: bool = False) -> Any:
    """As `read_value`, of a value that may have come as JSON: a text, a number, a list.

    Args:
        strict: a value that came as JSON has to be of the type itself: `"3"` is not a number, `Theft` no label `theft`.

    Raises:
        Unreadable, ValueError, TypeError: it is not of the type.
    """
    base, _ = base_of(annotation)
    if strict:
        if isinstance(found, _Text):
            return read_value(found, annotation, name=name, strict=True)
        return TypeAdapter(annotation).validate_json(json.dumps(found), strict=True)
    if isinstance(found, str):
        return read_value(found, annotation, name=name)
    if get_origin(base) is Literal and found is not None and not isinstance(found, list | dict):
        return read_value(plain_text(found), annotation, name=name)
    return parse_value(found, annotation)


# ------------------------------------------------------------------------------------------------ strictly


def _read_strictly(text: str, base: Any, nullable: bool, annotation: Any) -> Any:
    if nullable and text == "null":
        return None
    if base is str:
        return text
    if get_origin(base) is Literal:
        hits = [option for option in get_args(base) if plain_text(option) == text]
        if len(hits) == 1:
            return hits[0]
        raise Unreadable(f"{text[:80]!r} is not one of {list(get_args(base))}")
    try:
        if base is bool:
            return {"true": True, "false": False}[text.casefold()]
        if base in (int, float):
            return base(text) if base is int else _finite(float(text), text)
        return parse_value(json.loads(text), annotation)
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{text[:80]!r} is not a {getattr(base, '__name__', 'value of its type')}") from error


# ------------------------------------------------------------------------------------------------- labels


def _label(text: str, options: Sequence[Any], name: str) -> Any:
    """The option that an answer names: as a whole, else on its first line, else before its explanation."""
    for part in _parts(text, name):
        if found := names_option(part, options):
            return found[0]
    for part in _parts(text, name):
        if first := _leading(part, options):
            return first[0]
    raise Unreadable(f"{text.strip()[:80]!r} does not name exactly one of {list(options)}")


def names_option(text: str, options: Sequence[Any]) -> tuple[Any] | tuple[()]:
    """The option that the whole text is: exactly, else whatever the case, else whatever punctuation is around it."""
    for form in (str, unquoted, _folded, _bare, _spaced):
        wanted = form(text)
        hits = [
            option
            for option in options
            if form(plain_text(option)) == wanted and (wanted or form not in (_bare, _spaced))
        ]
        if len(hits) == 1:
            return (hits[0],)
    return ()


def _is_null(text: str, base: Any) -> bool:
    """Whether the answer is null; of a text that may be null only bare: `"none"` in quotes is the text none."""
    return (text.strip() if base is str else text.strip().strip(_AROUND_NULL)).casefold() in NULLS


def _parts(text: str, name: str) -> Iterator[str]:
    """The answer, then what stands inside of its decoration: fences, JSON around it, a repeated name; then one line."""
    text = text.strip()
    yield text
    inside = _unfenced(text)
    if inside != text:
        yield inside
    value = _wrapped(inside, name)
    if value is not None:
        yield value
        return
    unnamed = _unnamed(inside, name)
    if unnamed != inside:
        yield unnamed
    lines = [line for line in unnamed.splitlines() if _bare(line)]
    if len(lines) > 1:
        yield lines[0]
        first = _unnamed(lines[0].strip(), name)
        if first != lines[0].strip():
            yield first


def _leading(line: str, options: Sequence[Any]) -> tuple[Any] | tuple[()]:
    """`theft, because ...`: the option at the beginning of a line that names no other."""
    if "\n" in line.strip():
        return ()
    words = _folded(line)
    named = {}
    for option in options:
        bare = _bare(plain_text(option))
        if bare and (found := re.search(rf"(?<![\w-]){re.escape(bare)}(?![\w]|-\w)", words)) is not None:
            named[bare] = (found.start(), option)
    bares = [_bare(plain_text(option)) for option in options]
    longest = {n: v for n, v in named.items() if not any(n != other and n in other for other in named)}
    if len(longest) != 1 or bares.count(next(iter(longest))) > 1:
        return ()
    ((bare, (_, option)),) = longest.items()
    rest = words.lstrip(_edges(words))
    after = rest.removeprefix(bare)
    return (option,) if rest.startswith(bare) and _bare(after[:1] or " ") == "" and _separates(after) else ()


def _separates(after: str) -> bool:
    """Whether an explanation is set apart from the label before it: `theft, ...`, `theft (...)`, `theft - ...`."""
    text = after.lstrip("\"'`*_\u201d\u2019\u00bb ")
    return not text or not (text[0].isalnum())


def _wrapped(text: str, name: str) -> str | None:
    """The value of a JSON object around it: under the field's name, or the only one there is."""
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    hits = [value for key, value in found.items() if _folded(key) == _folded(name)] or list(found.values())
    return plain_text(hits[0]) if len(hits) == 1 and not isinstance(hits[0], dict | list) else None


def _unnamed(text: str, name: str) -> str:
    """Without `category:`, `Answer:`, `**Label:**` or `The answer is` in front."""
    plain = text.lstrip("*_`# \t")
    if name:
        words = re.escape(name).replace("_", r"[_ ]")
        match = re.match(rf"(?:the\s+)?{words}[*_`]*\s*(?:[:=\uff1a]|is\b)[*_`]*\s*", plain, re.I)
        if match:
            return plain[match.end() :].strip()
    match = _ANSWER.match(re.sub(r"^([^:\n*_`]{0,40})[*_`]+(\s*[:=\uff1a])", r"\1\2", plain))
    if not match:
        return text
    rest = re.sub(r"^([^:\n*_`]{0,40})[*_`]+(\s*[:=\uff1a])", r"\1\2", plain)[match.end() :]
    return rest.lstrip("*_` \t").strip()


def _unfenced(text: str) -> str:
    """Without a code fence, `<answer>...</answer>` or `\\boxed{...}` around it."""
    if match := _FENCE.match(text):
        return match.group(2).strip()
    tagged = _TAGGED.match(text)
    return (tagged.group(2) or tagged.group(3) or "").strip() if tagged else text


def unquoted(text: str) -> str:
    """The text that a JSON string writes; anything else as it is, without space around it."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _folded(text: str) -> str:
    """NFKC, no case, one space for white space and underscores kept, nothing invisible."""
    visible = "".join(
        char for char in unicodedata.normalize("NFKC", unquoted(text)) if unicodedata.category(char) != "Cf"
    )
    return " ".join(visible.split()).casefold()


def _bare(text: str) -> str:
    """Folded, without the punctuation, quotes and marks around it."""
    folded = _folded(text)
    return folded.strip(_edges(folded))


def _spaced(text: str) -> str:
    """Bare, with `late-delivery` and `late_delivery` as late delivery."""
    return " ".join(re.split(r"[\s_\-\u2010\u2011]+", _bare(text)))


def _edges(text: str) -> str:
    """The characters of a text that may surround an answer: punctuation, symbols and white space."""
    kept = "+-$%" if any(char.isdigit() for char in text) else ""
    return "".join({char for char in text if unicodedata.category(char)[0] in "PSZ" and char not in kept}) or " "


# ------------------------------------------------------------------------------------------------ numbers


def _number(text: str, base: type, name: str) -> Any:
    """The only number of the answer, or of its first line; several different ones are not an answer."""
    for part in _parts(text, name):
        if "\n" in part.strip():
            continue
        line = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in part).replace("\N{MINUS SIGN}", "-")
        found = {_decimal(match) for match in _NUMBER.finditer(line)} - {None}
        if len(found) == 1 and not any(char.isdigit() for char in _NUMBER.sub("", line)):
            return _as(base, found.pop(), text)
    raise Unreadable(f"{text.strip()[:80]!r} does not give exactly one number")


def _decimal(match: re.Match[str]) -> Decimal | None:
    sign, whole, fraction, exponent = match.groups(default="")
    digits = re.sub(r"[^0-9]", "", whole)
    if not (digits or fraction.strip(".")):
        return None
    try:
        return Decimal(f"{sign}{digits or '0'}{'' if fraction == '.' else fraction}{exponent}")
    except InvalidOperation:
        return None


def _as(base: type, number: Decimal | None, text: str) -> Any:
    if number is None:
        raise Unreadable(f"{text[:80]!r} is not a number")
    if base is int:
        if number != number.to_integral_value():
            raise Unreadable(f"{text.strip()[:80]!r} is not a whole number")
        return int(number)
    return _finite(float(number), text)


def _finite(number: float, text: str) -> float:
    if not math.isfinite(number):
        raise Unreadable(f"{text.strip()[:80]!r} is not a finite number")
    return number


# --------------------------------------------------------------------------------------------------- JSON


def _json(text: str, annotation: Any) -> Any:
    """JSON, in a fence or between words of prose, with the slips that models make (a trailing comma, single quotes)."""
    inside = _unfenced(text.strip())
    fenced = re.search(r"(?:```|~~~)\w*\s*\n(.*?)\n\s*(?:```|~~~)", inside, re.S)
    tried = [inside, *([fenced.group(1)] if fenced else []), *_outermost(inside)]
    error: Exception | None = None
    for part in tried:
        try:
            return parse_value(json.loads(part), annotation)
        except (ValueError, TypeError, RecursionError) as raised:
            error = raised
    for part in tried:
        repaired = json_repair.loads(part)
        if repaired != "":
            try:
                return parse_value(repaired, annotation)
            except (ValueError, TypeError) as raised:
                error = raised
    try:
        return parse_value(text.strip(), annotation)  # types of DSPy that read themselves
    except (ValueError, TypeError, RecursionError):
        raise Unreadable(f"{text.strip()[:80]!r} is not JSON of its type") from error


def _outermost(text: str) -> list[str]:
    """What stands from the first opening bracket to the last closing one, where there are any."""
    starts = [text.find(char) for char in "{[" if char in text]
    ends = [text.rfind(char) for char in "}]" if char in text]
    return [text[min(starts) : max(ends) + 1]] if starts and ends and max(ends) > min(starts) else []


# ------------------------------------------------------------------------------------------------- fields


def chat_fields(names: Sequence[str], completion: str, *, strict: bool = False) -> dict[str, str]:
    """The text of each field in DSPy's chat format, wherever on a line its mark stands; the first one counts.

    One field alone may come without its mark: the whole answer is then its text. With `strict` a mark is exactly
    `[[ ## name ## ]]` at the beginning of a line, and never missing.
    """
    if strict:
        parts = re.split(r"(?m)^\[\[ ## (\w+) ## \]\]", completion)
        pairs = list(zip(parts[1::2], parts[2::2], strict=True))
        return {name: _Text(text.strip()) for name, text in reversed(pairs) if name in names}
    by_folded = {_folded(name): name for name in names}
    found: dict[str, str] = {}
    marks = [(m, by_folded.get(_folded(m.group(1)).replace(" ", "_"))) for m in _MARK.finditer(completion)]
    for i, (mark, name) in enumerate(marks):
        if name is not None and name not in found:
            end = marks[i + 1][0].start() if i + 1 < len(marks) else len(completion)
            found[name] = completion[mark.end() : end].strip()
    if not marks and len(names) == 1 and completion.strip():
        return {names[0]: completion.strip()}
    return found


def json_fields(names: Sequence[str], completion: str, *, strict: bool = False) -> dict[str, Any]:
    """The value of each field in an answer in JSON; keys are found whatever their case.

    One field alone may come bare: the whole answer is then its text. With `strict` the answer is one JSON object and
    nothing else, with exactly these keys.
    """
    text = completion.strip()
    if strict:
        parsed = json.loads(text)
        if not isinstance(parsed, dict):
            raise Unreadable(f"{text[:80]!r} is not a JSON object")
        return {name: parsed[name] for name in names if name in parsed}
    found: Any = None
    for part in (text, _unfenced(text), *_outermost(text)):
        try:
            found = json.loads(part)
            break
        except (ValueError, RecursionError):
            continue
    if not isinstance(found, dict):
        for part in (_unfenced(text), *_outermost(text)):
            repaired = json_repair.loads(part) if "{" in part else None
            if isinstance(repaired, dict):
                found = repaired
                break
    if not isinstance(found, dict):
        return {names[0]: found if isinstance(found, str | int | float) else text} if len(names) == 1 and text else {}
    by_key: Mapping[str, Any] = {_folded(str(key)): value for key, value in reversed(found.items())}
    return {name: by_key[_folded(name)] for name in names if _folded(name) in by_key}
