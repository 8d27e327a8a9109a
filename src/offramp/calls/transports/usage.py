"""One reply's tokens, sorted into disjoint price classes.

Providers count differently, and LiteLLM evens out most of it: `prompt_tokens` then includes what was read from and
written to the cache, `completion_tokens` includes reasoning. Servers behind an OpenAI-compatible address may not. So
the counts themselves decide: a part that is larger than its whole, or a total that only adds up with the part on top,
was not included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offramp.records import Usage


def token_usage(counts: Any, *, compute_s: float | None = None) -> Usage:
    """Usage of a reply.

    Args:
        counts: the `usage` part of a reply, as a mapping or an object with attributes; None where there is none.
        compute_s: seconds of computing where the server says.
    """
    prompt, completion = _count(counts, "prompt_tokens"), _count(counts, "completion_tokens")
    total = _count(counts, "total_tokens")
    read, written = _cache(counts)
    details = _get(counts, "completion_tokens_details")
    reasoning = _count(details, "reasoning_tokens")
    fresh = _fresh(prompt, read, written, total - completion)
    hidden_on_top = reasoning > completion or (reasoning > 0 and total == prompt + completion + reasoning)
    return Usage(
        input_tokens=fresh,
        cached_input_tokens=read,
        cache_write_tokens=written,
        output_tokens=completion if hidden_on_top else completion - reasoning,
        reasoning_tokens=reasoning,
        compute_s=compute_s,
    )


def _fresh(prompt: int, read: int, written: int, total_input: int) -> int:
    cached = read + written
    apart = cached > prompt or (cached > 0 and total_input == prompt + cached)
    return prompt if apart else prompt - cached


def _cache(counts: Any) -> tuple[int, int]:
    """Tokens read from the cache and written to it, under whichever of their names."""
    details = _get(counts, "prompt_tokens_details")
    read = _count(details, "cached_tokens") or _count(counts, "cache_read_input_tokens")
    written = _count(details, "cache_write_tokens") or _count(details, "cache_creation_tokens")
    return (
        read or _count(counts, "prompt_cache_hit_tokens"),
        written or _count(counts, "cache_creation_input_tokens"),
    )


def _count(holder: Any, name: str) -> int:
    value = _get(holder, name)
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
