"""Texts that are too long to keep: their beginning, with their length and hash.

A model that repeats itself until its limit answers with megabytes, again and again. Scores are computed on the whole
answer before anything is cut. What was cut says so, and is never taken for an answer afterwards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from offramp.records import Result
from offramp.scrubbing import scrubbed
from offramp.store.tables import json_text

MOST_CHARS = 262_144
"""Characters of one text that are kept, unless the space file says otherwise."""

_PART = 65_536
_CUT = re.compile(r"\n\[cut by offramp: \d+ characters, sha256 [0-9a-f]{64}\]\Z")


def cut_text(text: str, most: int) -> str:
    """The text; its beginning with its length and hash where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    begins = scrubbed(text[: most + _PART])[:most]
    return f"{begins}\n[cut by offramp: {len(text)} characters, sha256 {sha256_of(text)}]"


def sha256_of(text: str) -> str:
    """The hash of a text as UTF-8, without a copy of the whole."""
    found = hashlib.sha256()
    for start in range(0, len(text), _PART):
        found.update(text[start : start + _PART].encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def cut_texts(value: Any, most: int) -> Any:
    """A JSON value with every long text in it cut; the same object where there is none."""
    if isinstance(value, str):
        return cut_text(value, most)
    if isinstance(value, Mapping):
        made = {key: cut_texts(item, most) for key, item in value.items()}
        return made if any(made[key] is not item for key, item in value.items()) else value
    if isinstance(value, list | tuple):
        items = [cut_texts(item, most) for item in value]
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    return value


def cut_result(result: Result, most: int) -> Result:
    """The result with long outputs and a long reason cut; an output that is not a text becomes the JSON text of it."""
    reason = None if result.reason is None else cut_text(result.reason, most)
    outputs: Mapping[str, Any] | None = None
    if result.outputs is not None:
        outputs = {name: _cut_output(value, most) for name, value in result.outputs.items()}
        if all(outputs[name] is value for name, value in result.outputs.items()):
            outputs = result.outputs
    if outputs is result.outputs and reason is result.reason:
        return result
    return replace(result, outputs=outputs, reason=reason)


def _cut_output(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return cut_text(value, most)
    if isinstance(value, int | float | None):
        return value
    text = json_text(value)
    return value if len(text) <= most else cut_text(text, most)


def is_cut(result: Result) -> bool:
    """Whether some output of a result is not whole."""
    return any(isinstance(value, str) and _CUT.search(value[-120:]) for value in (result.outputs or {}).values())
