"""What no promotion may hold: anything that could send a key, or a prompt, to where the app did not say.

A file that is shared and loaded decides what is asked, never where. Refused when a promotion is made and again when it
is loaded, since a file may come from a stranger with a hash that fits.

Invariant: after `refuse_unsafe`, the only addresses that a request can reach are those of the vendor that its route
names, of the local server, and of what the app itself states.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from offramp.errors import PromotionError, problem
from offramp.promote.promotion import Promotion

_ROUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*(/[A-Za-z0-9][A-Za-z0-9._:@+-]*)*\Z")
_WORDS = (
    "api", "url", "uri", "base", "host", "proxy", "endpoint", "header", "auth", "key", "secret", "credential", "cookie",
    "organization", "project", "region", "client", "provider", "callback", "deployment", "mock", "aws", "azure",
    "vertex", "cert", "ssl", "model", "message", "fallback", "retrie", "retry", "extra", "stream", "tool",
    "function", "timeout", "web",
)  # fmt: skip
_FINE = frozenset({"prompt_cache_key", "dry_base"})


def refuse_unsafe(promotion: Promotion) -> None:
    """Raises PromotionError for a route or a parameter that could redirect a request."""
    where = f"{promotion.feature} {promotion.version}".strip()
    for model in (promotion.model, *promotion.fallbacks):
        if not _ROUTE.match(model.route) or ":/" in model.route:
            expected = "a model's name, such as openai/gpt-4.1-mini"
            raise PromotionError(problem(where, "route", got=model.route, expected=expected))
    _check_params(promotion.request_params, where)
    if promotion.rendering is not None:
        _check_params(promotion.rendering.params, where)


def _check_params(params: Mapping[str, Any], where: str) -> None:
    for name in params:
        words = re.split(r"[^a-z]+", name.lower())
        if name.lower() not in _FINE and any(word in _WORDS or word.rstrip("s") in _WORDS for word in words):
            what = "a request parameter that may say where a request goes"
            raise PromotionError(problem(where, what, got=name, do="Set it in the app that loads the promotion."))
