"""Reading a chat completion from any server: its answer, its tokens, and the words in which servers refuse."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
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
from offramp.records import BATCH, CallReply, Usage

_TOO_LONG = re.compile(
    r"context.?length|context.?window|context.?size|maximum context|exceeds? the (available|maximum) context|"
    r"prompt is too long|too many (input )?tokens|input is too long|exceed_context_size",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content.?policy|content.?filter|content management policy|safety system|usage policy|responsibleai", re.IGNORECASE
)
_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|credit balance is too low|billing", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"model_(not_found|gone|retired|deprecated|decommissioned|not_available)|deployment_?not_?found"
    r"|\b(model|deployment|engine|snapshot)\b.{0,80}\b(not found|(does )?not exist|doesn't exist|is not available)"
    r"|unknown model|invalid model|no such model|not a valid model|model (identifier|id|name)\b[^.\n]{0,60}\binvalid"
    r"|marked by provider as legacy",
    re.IGNORECASE | re.DOTALL,
)
_RETIRED_CODE = re.compile(
    r"model_(gone|retired|deprecated|decommissioned)|marked by provider as legacy", re.IGNORECASE
)
_ENDED = (
    r"(?:retired|deprecated|decommissioned|discontinued|sunset(?:ted)?|shut ?down|turned off|withdrawn|removed|renamed"
    r"|replaced|superseded|end[- ]of[- ](?:life|service)|eol|no longer (?:\w+ )?(?:available|supported|offered|served))"
)
_MODEL_ENDED = re.compile(
    r"\b(?:model|deployment|engine|snapshot|version)s?\b[^\n]{0,120}?"
    rf"\b(?:has|have|had|was|were|is|are|will be|reached)\b[^\n]{{0,40}}?\b{_ENDED}\b"
    r"|\b(?:retired|deprecated|decommissioned|discontinued|unavailable|renamed|sunset) (?:model|deployment|snapshot)\b",
    re.IGNORECASE,
)
"""A model that is retired or renamed, in words; `_OF_A_PARAMETER` are the same words about something else."""
_OF_A_PARAMETER = re.compile(
    r"\b(?:param(?:eter)?s?|argument|field|option|feature|endpoint|api|tools?|functions?|temperature|top_[pk]|stop"
    r"|max_\w*tokens|logprobs|seed|\w+_penalty|response_format|reasoning_effort|thinking|prefill\w*|system)\b[`'\"]?"
    r"[^.\n]{0,40}\b(?:deprecated|no longer|not supported|removed|unsupported|discontinued)",
    re.IGNORECASE,
)
_SHORT = 40  # characters of a text that an error shows whole
_NO_TEXT = ("thinking", "redacted_thinking", "reasoning")
"""Kinds of parts of content that are not part of the answer."""
_OVERLOADED = re.compile(
    r"overloaded|over(?:_| )?capacity|at capacity|(?:out of|insufficient) capacity|capacity (?:exceeded|constraint)"
    r"|server (?:is )?(?:too )?busy|high demand|try again (?:later|in)|please retry|temporarily unavailable"
    r"|resource.?exhausted|service.?unavailable|slow ?down|too many requests|rate.?limit",
    re.IGNORECASE,
)


def read_reply(body: Any, usage: Usage, latency_s: float) -> CallReply:
    """The answer in a chat completion. A provider that failed upstream is never taken for a model with no answer.

    Args:
        body: the completion, as a mapping or an object with attributes.

    Raises:
        BrokenReply: there is no choice, it holds no message, or it is empty and nothing was counted; with its usage
            where it names any.
        ServerFailed, RateLimited, ...: an error inside a reply of status 200, as its code and text say.
        Refused: the model refused, or a filter took the answer away; with its usage, which is billed.
    """
    choices, billed = _get(body, "choices"), None if usage == Usage(compute_s=usage.compute_s) else usage
    tier = _served_tier(body)
    counted: dict[str, Any] = {"usage": billed, "latency_s": latency_s, "service_tier": tier}
    if not isinstance(choices, list) or not choices:
        if (error := _get(body, "error")) is not None:
            raise upstream_failure(error, latency_s)
        raise BrokenReply("the reply has no choices", **counted)
    choice = choices[0]
    message, beside = _get(choice, "message"), _get(choice, "provider_specific_fields")
    reason = _get(beside, "native_finish_reason") or _get(choice, "finish_reason")
    own = _get(message, "provider_specific_fields")
    if error := _get(choice, "error") or _get(beside, "error") or _get(message, "error") or _get(own, "error"):
        raise upstream_failure(error, latency_s)
    if str(reason).casefold() in ("error", "failed", "malformed_function_call"):
        raise ServerFailed(f"the provider ended its answer with finish_reason {str(reason)!r}", latency_s=latency_s)
    if message is None:
        raise BrokenReply("the reply's first choice has no message", **counted)
    content, tool_calls = _text(message, counted), _tool_calls(_get(message, "tool_calls"))
    refusal = _get(message, "refusal") or _get(own, "refusal")
    if not content and (refusal or reason == "content_filter"):
        raise Refused(str(refusal or "the provider's content filter"), **{**counted, "usage": usage})
    if not content and billed is None and usage.compute_s is None and not tool_calls:
        raise BrokenReply("the reply is empty and names no tokens", latency_s=latency_s)
    return CallReply(
        text=content,
        finish_reason=None if reason is None else str(reason),
        usage=usage,
        latency_s=latency_s,
        tool_calls=tool_calls,
        answered_by=_name(_get(body, "model")),
        fingerprint=_name(_get(body, "system_fingerprint")),
        service_tier=tier,
        logprob=_mean_logprob(choice),
    )


def _mean_logprob(choice: Any) -> float | None:
    """Mean log probability of the tokens of a choice; None where it has none, or one that is not a number."""
    tokens = _get(_get(choice, "logprobs"), "content")
    found = [_get(token, "logprob") for token in tokens] if isinstance(tokens, list) else []
    numbers = [float(one) for one in found if isinstance(one, int | float) and math.isfinite(one)]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(found) else None


_TRAFFIC = {
    "on_demand": "default", "on_demand_priority": "priority", "on_demand_flex": "flex",
    "flex": "flex", "batch": "batch",
}  # fmt: skip
"""Vertex AI's `trafficType`, as a tier. Source: `cost_calculator` of LiteLLM."""


def _served_tier(body: Any) -> str | None:
    """The tier that served a reply: of the reply itself, of its usage (Anthropic), or Vertex AI's kind of traffic.

    None for a batch: what comes in one is marked by who sent it, whatever its lines say.
    """
    found = _named_tier(body)
    return None if found == BATCH else found


def _named_tier(body: Any) -> str | None:
    for part in (body, _get(body, "usage")):
        if (tier := _name(_get(part, "service_tier"))) is not None:
            return tier.lower()
    hidden = _get(body, "_hidden_params")
    for part in (_get(hidden, "provider_specific_fields"), _get(_get(body, "usage"), "provider_specific_fields")):
        traffic = _name(_get(part, "traffic_type"))
        if traffic is not None:
            return _TRAFFIC.get(traffic.lower())
    return None


def _tool_calls(calls: Any) -> tuple[dict[str, str], ...]:
    """The tools that a message asks for; arguments that a server sends as an object become their text."""
    found = []
    for index, call in enumerate(calls if isinstance(calls, list) else []):
        function = _get(call, "function")
        given = _get(function, "arguments")
        arguments = given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)
        made = {"id": str(_get(call, "id") or f"call-{index}"), "name": str(_get(function, "name") or "")}
        found.append({**made, "arguments": arguments})
    return tuple(found)


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def upstream_failure(error: Any, latency_s: float) -> CallError:
    """The failure behind an error inside a reply of status 200; the provider bills no such reply.

    Args:
        error: its text, or an object with `message`, `type` and `code`.
    """
    text = error if isinstance(error, str) else str(_get(error, "message") or _get(error, "type") or error)
    code = _get(error, "code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    kind = " ".join(str(part) for part in (_get(error, "type"), code) if isinstance(part, str))
    found = failure_for(status, f"the provider failed: {text} {kind}".strip(), latency_s=latency_s)
    if isinstance(found, InvalidRequest | Unauthorized):  # of the provider's own request to its upstream
        return ServerFailed(str(found), latency_s=latency_s)
    return found


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
        kind = _client_failure(status, text)
        if kind is ModelNotFound:
            return ModelNotFound(text, retired=status == 410 or says_retired(text), latency_s=latency_s)
        return kind(text, latency_s=latency_s)
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
    if status == 410 or (status != 401 and ends_model(text)):
        return ModelNotFound
    if status in (400, 403, 422) and _POLICY.search(text):
        return Refused
    if status in (401, 403):
        return Unauthorized
    if status == 404:
        return ModelNotFound
    if status in (409, 425) or _OVERLOADED.search(text):
        return ServerFailed
    return InvalidRequest


def ends_model(text: str) -> bool:
    """Whether a provider says that it does not have a model: never had, retired, or under another name."""
    return bool(_NO_MODEL.search(text)) or says_retired(text)


def says_retired(text: str) -> bool:
    """Whether a provider says that a model has retired or was renamed."""
    if _RETIRED_CODE.search(text):
        return True
    return bool(_MODEL_ENDED.search(text)) and not _OF_A_PARAMETER.search(text)


def with_text(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """A chat completion with text where its content is a list of parts; None where none is, or it cannot be read."""
    choices, found = [], False
    for choice in body["choices"]:
        message = _get(choice, "message")
        if isinstance(content := _get(message, "content"), list):
            if (text := _joined(content)) is None:
                return None
            choice, found = {**choice, "message": {**message, "content": text}}, True
        choices.append(choice)
    return {**body, "choices": choices} if found else None


def misfit(body: Mapping[str, Any]) -> str | None:
    """What in a chat completion is not as the protocol says: the field, got and expected; None for nothing."""
    for field, value, expected, fits in _fields(body):
        if not fits:
            return f"the reply cannot be read: {misfit_of(field, value, expected)}"
    return None


def misfit_of(field: str, value: Any, expected: str) -> str:
    """A field with what it holds, by kind where that is long: no part of an answer stands in an error."""
    kinds: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    short = value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _SHORT)
    return f"{field}: got {repr(value) if short else kinds.get(type(value), type(value).__name__)}, expected {expected}"


def _fields(body: Mapping[str, Any]) -> Iterator[tuple[str, Any, str, bool]]:
    """Of each field that is read: its name, its value, what the protocol says, and whether that is so."""
    choices = body.get("choices")
    yield "choices", choices, "a list", isinstance(choices, list)
    for at, choice in enumerate(choices if isinstance(choices, list) else []):
        yield f"choices[{at}]", choice, "an object", isinstance(choice, dict)
        message = _get(choice, "message")
        yield f"choices[{at}].message", message, "an object", isinstance(message, dict)
        yield from _fields_of_message(f"choices[{at}].message", message)
    usage = body.get("usage")
    yield "usage", usage, "an object", isinstance(usage, dict | None)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        count = _get(usage, name)
        yield f"usage.{name}", count, "a whole number", count is None or _is_whole(count)


def _fields_of_message(where: str, message: Any) -> Iterator[tuple[str, Any, str, bool]]:
    content, calls = _get(message, "content"), _get(message, "tool_calls")
    yield f"{where}.content", content, "text or a list of parts", isinstance(content, str | list | None)
    for at, part in enumerate(content if isinstance(content, list) else []):
        name = "text" if _get(part, "text") is not None else "type"
        expected = "text" if name == "text" else "'text'"
        yield f"{where}.content[{at}].{name}", _get(part, name), expected, _joined([part]) is not None
    yield f"{where}.tool_calls", calls, "a list", isinstance(calls, list | None)


def _is_whole(count: Any) -> bool:
    """Whether it is a whole number, perhaps written as text."""
    if isinstance(count, str):
        return count.strip().isdecimal()
    return isinstance(count, int) or (isinstance(count, float) and count.is_integer() and abs(count) < 2**63)


def _text(message: Any, counted: Mapping[str, Any]) -> str:
    """Content as text; some servers send a list of parts. `counted`: usage, latency and tier, for an error.

    Raises:
        BrokenReply: it is neither.
    """
    content = _get(message, "content")
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and (text := _joined(content)) is not None:
        return text
    said = next(misfit_of(f, v, e) for f, v, e, fits in _fields_of_message("choices[0].message", message) if not fits)
    raise BrokenReply(f"the reply cannot be read: {said}", **counted)


def _joined(parts: Sequence[Any]) -> str | None:
    """The text in parts of content, without the thinking; None where one is neither."""
    found = []
    for part in parts:
        text = part if isinstance(part, str) else _get(part, "text")
        if isinstance(text, str):
            found.append(text)
        elif _get(part, "type") not in _NO_TEXT:
            return None
    return "".join(found)


def _count(holder: Any, name: str) -> int:
    value = _get(holder, name)
    return int(value) if isinstance(value, int | float) and 0 < value < math.inf else 0


def _get(holder: Any, name: str) -> Any:
    if type(holder) is dict or isinstance(holder, Mapping):  # the latter alone takes its time
        return holder.get(name)
    return None if holder is None else getattr(holder, name, None)
