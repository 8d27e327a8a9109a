"""Content hashes: the same content has the same id on every machine and in every process.

Invariant: an id depends on content alone: never on position, time, memory address or hash seed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and no spaces. Raises TypeError on what JSON cannot hold, ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any, *, length: int = 64) -> str:
    """Hex sha256 of the canonical JSON of `value`, cut to `length` characters."""
    text = canonical_json(value).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:length]


def derived_seed(seed: int, *parts: object) -> int:
    """A 32-bit seed that depends on `seed` and on every part; seed 0 is a seed like any other."""
    text = canonical_json([seed, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
