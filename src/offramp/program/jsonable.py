"""What a program gives, as JSON values that can be stored, compared and shown as demos.

Invariant: equal values give equal JSON in every process: a set is sorted, and no text depends on a memory address.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import dspy
from dspy.adapters.utils import serialize_for_json


def json_value(value: Any) -> Any:
    """The value as JSON has it. Raises ValueError for a number that JSON cannot hold: no answer of a model is one."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} is not an answer: a number has to be finite")
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((json_value(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return json_value(_unpacked(value))


def _unpacked(value: Any) -> Any:
    """What pydantic, DSPy, numpy and the rest hold inside; text where nobody knows."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="python")
    if isinstance(value, dspy.Example):
        return dict(value.items())
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    plain = serialize_for_json(value)
    return plain if type(plain) in (str, int, float, bool, list, dict) else str(plain)
