"""Where a request leaves the process: LiteLLM for providers, llama.cpp for models on this machine."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from offramp.records import CallReply, CallRequest, Model


class Transport(Protocol):
    """Sends one request once.

    Contract: `send` returns a reply that was received, or raises one of `calls/failures.py`; anything else that it
    raises is recorded as a crash. It never changes the request, and cancelling it is safe at any await. A transport may
    also have `aclose()`, which the caller awaits when it is closed.
    """

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The reply to `request`. `attempt`: the number of the try, counted from 1."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A transport that has slow things to do before the first request to a model."""

    async def prepare(self, model: Model) -> None:
        """Get ready; cheap when it is. Its time belongs to no request."""
        ...
