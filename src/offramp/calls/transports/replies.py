"""Reading a chat completion, whoever sent it, and the words by which servers refuse one."""

from __future__ import annotations

import re
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
from offramp.calls.transports.usage import _get
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
