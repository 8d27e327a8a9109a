"""The dialects that requests are sent in without LiteLLM's work for each call: OpenAI's, Anthropic's and Gemini's.

A dialect knows the messages and the plain answer: one text that ended by itself or at the limit, with its tokens.
Everything else, such as calls of tools, media where they are translated, refusals and errors, is LiteLLM's to write and
to read; so is any field that is not known here.

Invariant: what is read here is read as LiteLLM reads it (tests/calls/test_wire.py compares the two).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.calls.transports.replies import read_reply, token_usage
from offramp.records import CallReply

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to ask and to answer.

    Attributes:
        path: how the address of a request ends.
        fields: the parts of the body that come of the messages; None for messages that only LiteLLM can write.
        read: the reply in the body of a plain answer, given seconds; None for any other body.
    """

    path: str
    fields: Callable[[Messages], dict[str, Any] | None]
    read: Callable[[Mapping[str, Any], float], CallReply | None]


def _openai_fields(messages: Messages) -> dict[str, Any]:
    return {"messages": list(messages)}


def _anthropic_fields(messages: Messages) -> dict[str, Any] | None:
    if (found := _turns(messages)) is None:
        return None
    system, turns = found
    asked = [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
    return {"messages": asked, **({} if system is None else {"system": [{"type": "text", "text": system}]})}


def _gemini_fields(messages: Messages) -> dict[str, Any] | None:
    if (found := _turns(messages)) is None:
        return None
    system, turns = found
    roles = {"user": "user", "assistant": "model"}
    asked = [{"role": roles[turn["role"]], "parts": [{"text": turn["content"]}]} for turn in turns]
    return {"contents": asked, **({} if system is None else {"system_instruction": {"parts": [{"text": system}]}})}


def _turns(messages: Messages) -> tuple[str | None, Messages] | None:
    """The system's text and the turns after it, where they are plain: texts of user and assistant in turns."""
    texts = all(message.keys() == {"role", "content"} and _is_text(message["content"]) for message in messages)
    if not texts or not messages:
        return None
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    turns = messages if system is None else messages[1:]
    in_turns = all(turn["role"] == ("user", "assistant")[index % 2] for index, turn in enumerate(turns))
    return (system, turns) if in_turns and len(turns) % 2 else None


def _is_text(content: Any) -> bool:
    return isinstance(content, str) and content != "" and content == content.strip()


# ------------------------------------------------------------------------------------------------ plain answers

_BODY = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"})
_TOKENS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_DETAILS: Mapping[str, frozenset[str]] = {
    "prompt_tokens_details": frozenset({"cached_tokens", "audio_tokens"}),
    "completion_tokens_details": frozenset(
        {"reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"}
    ),
}


def _openai_read(body: Mapping[str, Any], latency_s: float) -> CallReply | None:
    choice = _only(body.get("choices"))
    message, usage = (choice or {}).get("message"), body.get("usage")
    if choice is None or not isinstance(message, dict) or not isinstance(usage, dict):
        return None
    known = _empty_but(body, _BODY) and _empty_but(choice, frozenset({"index", "message", "finish_reason"}))
    known = known and _empty_but(message, frozenset({"role", "content"})) and message.get("role") == "assistant"
    known = known and choice.get("finish_reason") in ("stop", "length") and _is_name(body.get("model"))
    named = all(isinstance(body.get(n), str | None) for n in ("id", "object", "system_fingerprint", "service_tier"))
    if not (known and named and isinstance(body.get("created"), int) and _is_answer(message.get("content"))):
        return None
    return read_reply(body, token_usage(usage), latency_s) if _counts(usage, _TOKENS, _DETAILS) else None


_ANTHROPIC_REASONS = {"end_turn": "stop", "max_tokens": "length"}
_ANTHROPIC_BODY = frozenset({"id", "type", "role", "model", "content", "stop_reason", "usage"})
_ANTHROPIC_TOKENS = frozenset({"input_tokens", "output_tokens"})
_ANTHROPIC_CACHE = ("cache_creation_input_tokens", "cache_read_input_tokens")


def _anthropic_read(body: Mapping[str, Any], latency_s: float) -> CallReply | None:
    part, usage = _only(body.get("content")), body.get("usage")
    reason = _ANTHROPIC_REASONS.get(str(body.get("stop_reason")))
    if part is None or reason is None or not isinstance(usage, dict) or not _empty_but(body, _ANTHROPIC_BODY):
        return None
    if part.get("type") != "text" or not _empty_but(part, frozenset({"type", "text"})) or not _is_name(body.get("id")):
        return None
    tier = usage.get("service_tier")
    counts = {name: value for name, value in usage.items() if name != "service_tier" and value is not None}
    known = _counts(counts, _ANTHROPIC_TOKENS, {}, _ANTHROPIC_CACHE) and isinstance(tier, str | None)
    plain = body.get("type") == "message" and body.get("role") == "assistant" and _is_answer(part.get("text"))
    if not (known and plain and _is_name(body.get("model"))):
        return None
    written, read = (counts.get(name, 0) for name in _ANTHROPIC_CACHE)
    prompt, completion = counts["input_tokens"] + written + read, counts["output_tokens"]
    return _reply(
        part["text"], reason, body["model"], prompt=prompt, read=read, written=written, completion=completion,
        tier=tier, latency_s=latency_s,
    )  # fmt: skip


_GEMINI_TOKENS = frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount"})


def _gemini_read(body: Mapping[str, Any], latency_s: float) -> CallReply | None:
    candidate, usage = _only(body.get("candidates")), body.get("usageMetadata")
    part = _only(((candidate or {}).get("content") or {}).get("parts"))
    if candidate is None or part is None or not isinstance(usage, dict):
        return None
    known = _empty_but(body, frozenset({"candidates", "usageMetadata", "modelVersion", "responseId"}))
    known = known and _empty_but(candidate, frozenset({"content", "finishReason", "index"}))
    known = known and _empty_but(candidate["content"], frozenset({"parts", "role"})) and part.keys() == {"text"}
    known = known and candidate["content"].get("role") == "model" and candidate.get("index") in (0, None)
    counts = {name: value for name, value in usage.items() if name != "promptTokensDetails"}
    details = usage.get("promptTokensDetails") or []
    text_alone = all(isinstance(one, dict) and one.get("modality") == "TEXT" for one in details)
    if not (known and text_alone and _counts(counts, _GEMINI_TOKENS, {}) and _is_answer(part["text"])):
        return None
    if candidate.get("finishReason") not in ("STOP", "MAX_TOKENS") or not _is_name(body.get("modelVersion")):
        return None
    prompt, completion = counts["promptTokenCount"], counts["candidatesTokenCount"]
    if counts["totalTokenCount"] != prompt + completion or not _is_name(body.get("responseId")):
        return None
    return _reply(
        part["text"], candidate["finishReason"], body["modelVersion"], prompt=prompt, completion=completion,
        latency_s=latency_s,
    )  # fmt: skip


def _reply(
    text: str, reason: str, model: str, *, prompt: int, completion: int, latency_s: float, read: int = 0,
    written: int = 0, tier: str | None = None,
) -> CallReply:  # fmt: skip
    """The reply as a chat completion says it, so that it is read by the same rules."""
    details = {"cached_tokens": read, "cache_creation_tokens": written}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
    body = {"choices": [choice], "model": model, "usage": {**usage, "service_tier": tier}}
    return read_reply(body, token_usage({**usage, "prompt_tokens_details": details}), latency_s)


def _only(parts: Any) -> dict[str, Any] | None:
    """The only part of a list."""
    return parts[0] if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict) else None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_answer(text: Any) -> bool:
    """Whether it is text without thinking in it, which LiteLLM takes out."""
    return isinstance(text, str) and text != "" and not ("<" in text and "think" in text.lower())


def _empty_but(part: Mapping[str, Any], names: frozenset[str]) -> bool:
    return all(name in names or value is None or value == [] for name, value in part.items())


def _counts(
    usage: Mapping[str, Any], needed: frozenset[str], details: Mapping[str, frozenset[str]],
    more: Sequence[str] = (),
) -> bool:  # fmt: skip
    """Whether usage has the plain counts, perhaps more of them, and details that are counts."""
    for name, value in usage.items():
        if name in details:
            if value is not None and not (isinstance(value, dict) and _are_counts(value, details[name])):
                return False
        elif name not in needed and name not in more:
            return False
    return all(_is_count(usage.get(name)) for name in needed) and all(_is_count(usage.get(n, 0)) for n in more)


def _are_counts(details: Mapping[str, Any], names: frozenset[str]) -> bool:
    return all(value is None or (name in names and _is_count(value)) for name, value in details.items())


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


DIALECTS: Mapping[str, Dialect] = {
    "openai": Dialect("/chat/completions", _openai_fields, _openai_read),
    "anthropic": Dialect("/messages", _anthropic_fields, _anthropic_read),
    "gemini": Dialect(":generateContent", _gemini_fields, _gemini_read),
}
"""By the provider, as LiteLLM calls it."""
