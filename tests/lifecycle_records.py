"""Models in use, as a promotion would give them."""

from __future__ import annotations

from typing import Any

from offramp.lifecycle.in_use import ModelInUse
from offramp.models.table import load_table
from offramp.records import Usage


def in_use(route: str, **changes: Any) -> ModelInUse:
    """A model of the feature `f`; its price then is that of the table."""
    row = load_table().find(route)
    facts: dict[str, Any] = {
        "feature": "f",
        "label": "production",
        "version": "0123456789ab",
        "name": route,
        "route": route,
        "own": False,
        "request_params": {"temperature": 0.0, "max_tokens": 50},
        "json_schema": False,
        "usage_1k": Usage(input_tokens=400_000, output_tokens=20_000),
        "price_then": row.price if row else None,
    }
    return ModelInUse(**{**facts, **changes})
