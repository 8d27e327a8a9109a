"""Runs without a request: a row that a rule of the program answers counts, and costs nothing; a kept answer does not.

A program may look at its input before it asks a model (`if not message.strip(): return ...`). It may also keep answers
(a dict, `functools.cache`), so that one candidate is scored by the answer of another, or ask past DSPy, where nothing
is counted. What the job has seen distinguishes a rule from those: a row that no run asked a model about, of a program
that asks about others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from offramp.program.effects import first_request
from offramp.program.engine import Send
from offramp.program.program import NO_REQUEST, Program
from offramp.records import Candidate, Example

MOST_ROWS = 20
"""Rows that are looked at for one about which the program asks a model."""

KEPT = (
    "the program answered without a request a row that it asked a model about before: it keeps answers, and one "
    "candidate would be scored by that of another. Take the cache out of it: offramp asks for nothing twice"
)


class FreeRuns:
    """What the runs of one job asked about, by row. For one event loop.

    Args:
        make: gives a candidate's program over what it is to send through.
        rows: some of the job, in order.
    """

    def __init__(self, make: Callable[[Candidate, Send], Program], rows: Sequence[Example]) -> None:
        self._make, self._rows = make, rows[:MOST_ROWS]
        self._asked: set[str] = set()
        self._asks: bool | None = None
        self._looking = asyncio.Lock()

    def note(self, example: Example) -> None:
        """A run asked a model about it."""
        self._asked.add(example.id)

    async def refusal(self, candidate: Candidate, example: Example) -> str | None:
        """Why an answer to it without a request does not count; None where it does."""
        if example.id in self._asked:
            return KEPT
        async with self._looking:
            if self._asks is None:
                asks = bool(self._asked) or await first_request(partial(self._make, candidate), self._rows) is not None
                self._asks = asks
        return None if self._asks else NO_REQUEST
