"""Secrets out of text that people or tables will see.

Two nets: the values of environment variables that look like secrets by name, and the shapes that keys have. Providers
quote keys in their errors ("Incorrect API key provided: sk-..."), so every error text passes here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_NAME = re.compile(r"(_API_KEY|_TOKEN|_SECRET|_PASSWORD|_ACCESS_KEY)$|^(API_KEY|PGPASSWORD)$|_SECRET_", re.IGNORECASE)
_SHAPES = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|key|ghp|pplx|r8)[-_][A-Za-z0-9_*-]{8,}"), "***"),
    (re.compile(r"\bAIza[A-Za-z0-9_-]{20,}"), "***"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), "***"),
    (re.compile(r"(?i)([?&](?:key|api[-_]?key|access_token|token|sig)=)[^&\s'\"]+"), r"\1***"),
    (re.compile(r"(?i)((?:x-)?api[-_]key['\"]?\s*[:=]\s*['\"]?)[A-Za-z0-9._~+/=-]{8,}"), r"\1***"),
    (re.compile(r"(\b\w[\w+.-]{0,30}://[^/\s:@]{0,200}:)[^/\s@]{1,500}@"), r"\1***@"),
)
_LONGEST = 2000


def scrubbed(text: str, environ: Mapping[str, str] | None = None) -> str:
    """`text` with secrets as `***`, cut to a length that fits a table and a terminal."""
    env = os.environ if environ is None else environ
    secrets = {value for name, value in env.items() if len(value) > 7 and _NAME.search(name)}
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    text = text[: 4 * _LONGEST]  # a server may send megabytes, and patterns are slow on those
    for shape, mask in _SHAPES:
        text = shape.sub(mask, text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
