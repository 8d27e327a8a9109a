"""Whether a program keeps answers from one run to the next (a dict of its file, `functools.cache`, a file on disk).

Such a program asks the models for a part of its work only once, with whatever candidate comes first; all others are
scored by that. It shows when a run is repeated: the same row, with the same replies, and fewer requests. The repeat is
given the replies of the run itself, so it costs nothing.

Invariant: nothing is sent. A program that does not repeat itself (a random choice, the time in its prompt) is not
accused of anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from offramp.errors import JobError
from offramp.program.program import Outcome, Program
from offramp.program.routing import Undeclared
from offramp.program.run_log import Exchange
from offramp.records import CallReply, CallRequest, Example

MOST_ROWS = 3
"""Rows that are repeated in a job."""
REPEATS = 4
"""Times that all of them ask for less, so that a program that asks at random does not pass for one that keeps."""


class _NotRecorded(Undeclared):
    """A request that the run did not make: nothing can be said of a repeat that makes it."""


class KeptAnswers:
    """Looks at the first runs of a job. For one event loop."""

    def __init__(self) -> None:
        self._rows: set[str] = set()

    async def refuse(self, program: Program, example: Example, outcome: Outcome) -> None:
        """Raises JobError where repeats of the run ask for less than it did: the program keeps answers."""
        exchanges, sound = outcome.exchanges, outcome.outputs is not None
        if not (program.own and sound and exchanges) or example.id in self._rows or len(self._rows) >= MOST_ROWS:
            return
        self._rows.add(example.id)
        missing = await _not_asked_again(program, example, exchanges)
        if missing is not None:
            at = f" ({missing.predictor})" if missing.predictor else ""
            raise JobError(
                f"row {example.row} ({example.id}): a second run of the program did not ask again what the first one "
                f"asked{at}: it keeps answers, and one candidate would be scored by those of another. Take the cache "
                "out of it, or keep answers in the module itself (`self.seen = {}`), of which each run has a copy; "
                "offramp asks for nothing twice"
            )


async def _not_asked_again(program: Program, example: Example, exchanges: Sequence[Exchange]) -> Exchange | None:
    """One of the exchanges that each repeat goes without; None where a repeat makes them all, or other ones."""
    replies = {exchange.request.hash: exchange.reply for exchange in exchanges}
    left = set(replies)

    async def recorded(request: CallRequest, attempt: int = 1) -> CallReply:
        if request.hash not in replies:
            raise _NotRecorded("not asked in the run that is repeated")
        return replies[request.hash]

    for _ in range(REPEATS):
        again = await program.run(example, send=recorded)
        if again.infrastructure_error is not None:
            return None
        left -= {exchange.request.hash for exchange in again.exchanges}
        if not left:
            return None
    return next(exchange for exchange in exchanges if exchange.request.hash in left)
