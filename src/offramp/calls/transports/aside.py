"""What libraries say beside a reply, in warnings and logs: it may quote the reply, and with it a key.

Pydantic warns of a field of another type with a part of its value, cut anywhere, so that masking finds no key in it.
Therefore no warning of a library is shown while a request is under way. What asyncio and the clients log is scrubbed
like what offramp logs.

Invariant: a warning outside of our requests, such as one of the user's own code, is shown as ever, but for keys.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from offramp.printable import printable
from offramp.scrubbing import refresh, scrubbed

_LOGGERS = ("asyncio", "aiohttp.client", "httpx", "httpcore", "openai._base_client", "anthropic._base_client")
_log = logging.getLogger("offramp")
_within: ContextVar[bool] = ContextVar("offramp_within_a_request", default=False)
"""A variable of the context, not of the process: other tasks and threads go on as they were."""


@contextmanager
def warnings_aside() -> Iterator[None]:
    """Within, warnings are not shown; the log says at level debug of which kind they were, and where."""
    _set_up()
    token = _within.set(True)
    try:
        yield
    finally:
        _within.reset(token)


class _Shown:
    """In place of `warnings.showwarning`: shows a warning as `before` does, unless a request is under way."""

    def __init__(self, before: Callable[..., None]) -> None:
        self._before = before

    def __call__(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: Any, **named: Any
    ) -> None:
        if _within.get():
            _log.debug("%s:%d: a %s, not shown: it may quote a reply", filename, lineno, category.__name__)
            return
        refresh()
        clean = scrubbed(str(message))
        shown = message if clean == str(message) else printable(clean, keep="\n\t")
        self._before(shown, category, filename, lineno, *more, **named)


def _set_up() -> None:
    """At each request, since `warnings.catch_warnings` anywhere takes back what was set within it."""
    if not isinstance(warnings.showwarning, _Shown):
        warnings.showwarning = _Shown(warnings.showwarning)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        for scrubs in _log.filters:
            logger.addFilter(scrubs)  # one that is there already is not added again
