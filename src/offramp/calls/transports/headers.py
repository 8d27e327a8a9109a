"""What the headers of a reply say about the end of its model: `Deprecation` (RFC 9745) and `Sunset` (RFC 8594).

Both are read as the standards write them, and as servers in use do: `true`, an HTTP date or an ISO date.

Invariant: a value that cannot be read is passed over; no header ever fails a call.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from offramp.records import HeaderNotice

_PREFIX = "llm_provider-"
"""LiteLLM puts it before the headers of the provider."""
_DEPRECATION = ("deprecation", "x-api-deprecated")
_LINK = re.compile(r"<(https?://[^>\s]+)>\s*;[^,]*?\brel=\"?(?:deprecation|sunset)\b", re.IGNORECASE)
_YES = frozenset({"true", "?1", "1", "yes"})


def notice_in(reply: Any) -> HeaderNotice | None:
    """What LiteLLM's reply has in its headers; None where they say nothing of an end."""
    hidden = getattr(reply, "_hidden_params", None)
    beside = hidden.get("additional_headers") if isinstance(hidden, Mapping) else None
    found: dict[str, str] = {}
    for given in (beside, getattr(reply, "_response_headers", None)):
        if isinstance(given, Mapping):
            found |= {str(name).lower().removeprefix(_PREFIX): str(value) for name, value in given.items()}
    return notice_of(found)


def notice_of(headers: Mapping[str, str]) -> HeaderNotice | None:
    """The notice in headers whose names are lower case; None without one."""
    said = next((headers[name].strip() for name in _DEPRECATION if headers.get(name)), "")
    since, sunset = _day(said), _day(headers.get("sunset", "").strip())
    deprecated = since is not None or said.lower() in _YES
    if not deprecated and sunset is None:
        return None
    link = _LINK.search(headers.get("link", ""))
    return HeaderNotice(deprecated=deprecated, since=since, sunset=sunset, link=link[1] if link else None)


def _day(text: str) -> str | None:
    """The UTC day of `@1777507200`, of an HTTP date or of an ISO date."""
    if not text:
        return None
    try:
        if re.fullmatch(r"@-?\d{1,14}", text):
            return datetime.datetime.fromtimestamp(int(text[1:]), datetime.UTC).date().isoformat()
        if re.match(r"\d{4}-", text):
            when = datetime.datetime.fromisoformat(text)
        else:
            when = parsedate_to_datetime(text)
        return (when.astimezone(datetime.UTC) if when.tzinfo else when).date().isoformat()
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        return None
