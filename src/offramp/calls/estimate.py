"""What a request may cost before it is sent, and what it used when the provider does not say.

Tokens are bounded from characters: one for every two bytes of UTF-8, and 8 for each message's frame. English runs at
four bytes a token, most other scripts above two. An image, a recording or a file counts as a large one. Output is
bounded by the request's own limit, else the model's, else 4096. The price is the highest that a prompt of at most that
length can be billed at, at the service tier that is asked for.
"""

from __future__ import annotations

import json
from dataclasses import replace

from offramp.media import kinds_in
from offramp.records import CallReply, CallRequest, Usage

_FRAME_TOKENS = 8
_DEFAULT_OUTPUT = 4096
_MEDIA_TOKENS = {"image_url": 40_000, "input_audio": 40_000, "file": 200_000}
"""An upper estimate of one part: gpt-4o-mini bills up to 36,835 tokens for an image, a page of a PDF about 3,000.
Source: platform.openai.com/docs/guides/images-vision, "Calculating costs"."""
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def text_tokens(text: str) -> int:
    """An upper estimate of the tokens of `text`."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 2)


def input_tokens(request: CallRequest) -> int:
    """An upper estimate of the prompt, with schemas, tools and grammars that travel as params."""
    contents = [message.get("content") for message in request.messages]
    texts = [content if isinstance(content, str) else json.dumps(content) for content in contents]
    seen = sum(_MEDIA_TOKENS.get(kind, 0) for message in request.messages for kind in kinds_in(message))
    texts += [json.dumps(message["tool_calls"]) for message in request.messages if message.get("tool_calls")]
    texts += [json.dumps(value) for value in request.params.values() if isinstance(value, dict | list)]
    return len(contents) * _FRAME_TOKENS + sum(map(text_tokens, texts)) + seen


def output_tokens(request: CallRequest) -> int:
    """The most that may come back, reasoning included."""
    limits = [request.params[name] for name in LIMITS if isinstance(request.params.get(name), int)]
    most = max(limits) if limits else request.model.max_output_tokens or _DEFAULT_OUTPUT
    copies = request.params.get("n")
    return int(most) * (copies if isinstance(copies, int) and copies > 1 else 1)


def worst_usd(request: CallRequest, timeout_s: float) -> float:
    """Most that one attempt should cost; 0.0 where the price is unknown (refused under a cap in USD)."""
    price = request.price
    if price is None or not price.known:
        return 0.0
    if price.compute_usd_per_hour is not None:
        return timeout_s / 3600 * price.compute_usd_per_hour
    prices = price.up_to(input_tokens(request))
    highest = max(max(one.output_usd or 0.0, one.reasoning_usd or 0.0) for one in prices)
    return input_usd(request) + output_tokens(request) * highest / 1e6


def input_usd(request: CallRequest) -> float:
    """Most that the prompt alone should cost: booked when it may have been billed and the provider did not say."""
    price, tokens = request.price, input_tokens(request)
    if price is None or price.compute_usd_per_hour is not None:
        return 0.0
    rates = [(one.input_usd, one.cached_input_usd, one.cache_write_usd) for one in price.up_to(tokens)]
    return tokens * max(rate or 0.0 for step in rates for rate in step) / 1e6


def completed_usage(request: CallRequest, reply: CallReply) -> tuple[Usage, bool]:
    """The reply's usage, with tokens that the provider left out estimated upwards; and whether any were."""
    usage = reply.usage
    read = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
    written = usage.output_tokens + usage.reasoning_tokens
    if request.model.local and usage.compute_s is None:
        usage = replace(usage, compute_s=reply.latency_s)
    missing_in, missing_out = read == 0, written == 0 and bool(reply.text or reply.tool_calls)
    if missing_in:
        usage = replace(usage, input_tokens=input_tokens(request))
    if missing_out:
        usage = replace(
            usage, output_tokens=text_tokens(reply.text + (json.dumps(reply.tool_calls) if reply.tool_calls else ""))
        )
    return usage, missing_in or missing_out
