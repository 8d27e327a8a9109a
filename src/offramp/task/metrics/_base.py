"""What a metric is, how its definition gets a fingerprint, and when two JSON values count as the same.

Text is compared by Unicode NFC, without case, with runs of white space as one space. A number equals text that writes
the same number, but two texts are never compared as numbers ('007' is not '7'). A boolean equals 'true' or 'false' and
no number.

Invariant: the same definition has the same fingerprint on every machine, and a changed one has a different one.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from offramp.ids import content_hash
from offramp.records import CallReply, CallRequest, Example, Score

Ask = Callable[[CallRequest], Awaitable[CallReply]]
"""Makes one call, through ledger and budget. Raises an OfframpError when there is no reply."""

How = Literal["exact", "json_fields", "token_f1", "number"]
"""The kind of a metric that compares."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?", re.IGNORECASE | re.ASCII)
_LONGEST_SHOWN = 200

VERSION = 1
"""Part of every fingerprint: raise it when the same definition starts to score differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A metric compares a gold column with an output."""

    column: str
    field: str
    how: How


class Metric(Protocol):
    """Scores predictions. The value is in [0, 1], higher is better, and is a mean over examples when aggregated.

    A missing or null output is an answer (a wrong one, unless gold is null too), never an exception. Raises
    MetricError if the metric itself is wrong, DatasetError if the example's gold is, and passes on what `ask` raises.
    Changes neither `example` nor `outputs`. May be called for many examples at the same time.
    """

    @property
    def name(self) -> str:
        """Its name in reports."""
        ...

    @property
    def fingerprint(self) -> str:
        """Content hash of the definition: scores with different fingerprints are never mixed."""
        ...

    @property
    def judge_models(self) -> tuple[str, ...]:
        """Names of the models it asks; empty for most."""
        ...

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """Score one prediction. `ask` may be None for a metric without judge models."""
        ...


def part_fingerprint(part: BaseModel, *more: str, without: Collection[str] = ()) -> str:
    """Fingerprint of one part of a space file, without its weight, its name in reports, and the keys in `without`."""
    return content_hash([VERSION, part.model_dump(mode="json", exclude={"weight", "name", *without}), *more])


def earlier_fingerprint(metric: Metric) -> str:
    """The fingerprint that a study has which ran before the files that a user's metric imports counted."""
    return str(getattr(metric, "earlier_fingerprint", metric.fingerprint))


# ------------------------------------------------------------------------------------------------ values


def as_text(value: Any) -> str:
    """How a value reads: text as it is, null as nothing, a list one item a line, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "\n".join(as_text(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def shown(value: Any) -> str:
    """A value for feedback: JSON, cut to 200 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def normal(text: str, *, case_sensitive: bool = False) -> str:
    """NFC, one space for white space, none at the ends, and case folded unless `case_sensitive`."""
    flat = " ".join(unicodedata.normalize("NFC", text).split())
    return flat if case_sensitive else unicodedata.normalize("NFC", flat.casefold())


def is_empty(value: Any) -> bool:
    """Whether it is null, blank text, a list without items, or an object whose fields are all empty."""
    if isinstance(value, Mapping):
        return all(is_empty(item) for item in value.values())
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], ())


def same(a: Any, b: Any, *, case_sensitive: bool = False) -> bool:
    """Whether two JSON values are the same; lists by order, objects by key with null as missing."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = {key for key in (*a, *b) if a.get(key) is not None or b.get(key) is not None}
        return all(same(a.get(key), b.get(key), case_sensitive=case_sensitive) for key in keys)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        pairs = zip(a, b, strict=False)
        return len(a) == len(b) and all(same(x, y, case_sensitive=case_sensitive) for x, y in pairs)
    if isinstance(a, dict | list | tuple) or isinstance(b, dict | list | tuple):
        return False
    if a is None or b is None:
        return a is b
    if isinstance(a, bool) or isinstance(b, bool):
        return bool(as_text(a).strip().casefold() == as_text(b).strip().casefold())
    if isinstance(a, int | float) or isinstance(b, int | float):
        left, right = _decimal(a), _decimal(b)
        return left is not None and left == right
    return normal(as_text(a), case_sensitive=case_sensitive) == normal(as_text(b), case_sensitive=case_sensitive)


def _decimal(value: Any) -> Decimal | None:
    """The exact number that a value writes: 0.1 is the text '0.1', not its nearest binary fraction."""
    text = str(value).strip()
    if isinstance(value, str) and not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
