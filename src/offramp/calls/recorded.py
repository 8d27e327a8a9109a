"""Answers from the ledger alone, for work that may not make a call: a promotion's capture, a page that shows demos.

Invariant: nothing is sent and nothing is written.
"""

from __future__ import annotations

from offramp.calls.failures import Refused
from offramp.records import CallReply, CallRequest
from offramp.store.ledger import Ledger


class RecordedAnswers:
    """A sender that knows the ledger's answers and refuses every other request.

    Attributes:
        asked: requests so far. unknown: those that were never answered, so that nothing can be said of them.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.asked = self.unknown = 0

    async def send(self, request: CallRequest) -> CallReply:
        """The recorded answer. Raises Refused where there is none, or its text was not kept."""
        self.asked += 1
        reply = self._ledger.find(request.hash)
        if reply is not None:
            return reply
        if not self._ledger.knows(request.hash):
            self.unknown += 1
        raise Refused("the ledger has no text for this request")
