"""Reading a chat completion from any server: its answer, its tokens, and the words in which servers refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from offramp.calls.failures import (
    BrokenReply,
    CallError,
    InvalidRequest,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFailed,
    TimedOut,
    TooLong,
    Unauthorized,
)
from offramp.records import CallReply, Usage

_TOO_LONG = re.compile(
    r"context.?length|context.?window|context.?size|maximum context|exceeds? the (available|maximum) context|"
    r"prompt is too long|too many (input )?tokens|input is too long|exceed_context_size",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content.?policy|content.?filter|content management policy|safety system|usage policy|responsibleai", re.IGNORECASE
)
_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|credit balance is too low|billing", re.IGNORECASE)
_NO_MODEL = re.compile(r"model_not_found|model .{0,80}(not found|does not exist)|unknown model|decommissioned", re.I)


def read_reply(body: Any, usage: Usage, latency_s: float) -> CallReply:
    """The answer in a chat completion.

    Args:
        body: the completion, as a mapping or an object with attributes.

    Raises:
        BrokenReply: there is no choice, or it holds no message; with its usage where it names any.
        Refused: the model refused, or a filter took the answer away; with its usage, which is billed.
    """
    choices, billed = _get(body, "choices"), None if usage == Usage() else usage
    if not isinstance(choices, list) or not choices:
        raise BrokenReply("the reply has no choices", usage=billed, latency_s=latency_s)
    message = _get(choices[0], "message")
    if message is None:
        raise BrokenReply("the reply's first choice has no message", usage=billed, latency_s=latency_s)
    content, reason = _text(_get(message, "content")), _get(choices[0], "finish_reason")
    refusal = _get(message, "refusal") or _get(_get(message, "provider_specific_fields"), "refusal")
    if not content and (refusal or reason == "content_filter"):
        raise Refused(str(refusal or "the provider's content filter"), usage=usage, latency_s=latency_s)
    return CallReply(
        text=content, finish_reason=None if reason is None else str(reason), usage=usage, latency_s=latency_s
    )


def token_usage(counts: Any, *, compute_s: float | None = None) -> Usage:
    """Usage of a reply, sorted into disjoint price classes.

    Providers count differently, and LiteLLM evens out most of it: `prompt_tokens` then includes what was read from and
    written to the cache, `completion_tokens` includes reasoning. Servers behind an OpenAI-compatible address may not.
    So the counts themselves decide: a part that is larger than its whole, or a total that only adds up with the part on
    top, was not included.

    Args:
        counts: the `usage` part of a reply, as a mapping or an object with attributes; None where there is none.
        compute_s: seconds of computing where the server says.
    """
    prompt, completion = _count(counts, "prompt_tokens"), _count(counts, "completion_tokens")
    total = _count(counts, "total_tokens")
    details = _get(counts, "prompt_tokens_details")
    read = (
        _count(details, "cached_tokens")
        or _count(counts, "cache_read_input_tokens")
        or _count(counts, "prompt_cache_hit_tokens")
    )
    written = (
        _count(details, "cache_write_tokens")
        or _count(details, "cache_creation_tokens")
        or _count(counts, "cache_creation_input_tokens")
    )
    cached = read + written
    cached_on_top = cached > prompt or (cached > 0 and total - completion == prompt + cached)
    reasoning = _count(_get(counts, "completion_tokens_details"), "reasoning_tokens")
    hidden_on_top = reasoning > completion or (reasoning > 0 and total == prompt + completion + reasoning)
    return Usage(
        input_tokens=prompt if cached_on_top else prompt - cached,
        cached_input_tokens=read,
        cache_write_tokens=written,
        output_tokens=completion if hidden_on_top else completion - reasoning,
        reasoning_tokens=reasoning,
        compute_s=compute_s,
    )


def failure_for(
    status: int | None, text: str, *, retry_after_s: float | None = None, latency_s: float | None = None
) -> CallError:
    """The failure that an HTTP status and its text stand for."""
    if status == 429:
        if _QUOTA.search(text):
            return QuotaExhausted(text, latency_s=latency_s)
        return RateLimited(text, retry_after_s=retry_after_s, latency_s=latency_s)
    if status in (408, 504):
        return TimedOut(text, latency_s=latency_s)
    if status is not None and 400 <= status < 500:
        return _client_failure(status, text)(text, latency_s=latency_s)
    if status is not None and status >= 500:
        if _TOO_LONG.search(text):
            return TooLong(text, latency_s=latency_s)
        return ServerFailed(text, retry_after_s=retry_after_s, latency_s=latency_s)
    return BrokenReply(text, latency_s=latency_s)


def _client_failure(status: int, text: str) -> type[CallError]:
    if status == 413 or _TOO_LONG.search(text):
        return TooLong
    if status == 402 or (status in (400, 403) and _QUOTA.search(text)):
        return QuotaExhausted
    if status in (400, 403, 422) and _POLICY.search(text):
        return Refused
    if status in (401, 403):
        return Unauthorized
    if status == 404 or _NO_MODEL.search(text):
        return ModelNotFound
    if status in (409, 425):
        return ServerFailed
    return InvalidRequest


def _text(content: Any) -> str:
    """Content as text; some servers send a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(_get(part, "text") or "") for part in content)
    return ""


def _count(holder: Any, name: str) -> int:
    value = _get(holder, name)
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
