"""The contract of a proposer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from offramp.errors import JobError, OfframpError
from offramp.records import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What one instruction is wanted for.

    Attributes:
        number: which proposal of the study this is, from 0. The same brief asks for the same answer; another number
            asks the model again.
        predictor: whose instruction it will be.
        parent: a good candidate of the search so far; its instruction is the one to improve.
        max_chars: a longer text is dropped.
        history: instructions of this predictor that were tried, each with its best quality in 0..1; the best last.
    """

    number: int
    predictor: str
    parent: Candidate
    max_chars: int
    history: tuple[tuple[str, float], ...] = ()

    @property
    def text(self) -> str:
        """The parent's instruction."""
        return self.parent.instructions[self.predictor]


class NothingProposed(OfframpError):
    """There is no instruction, though nothing failed; stored as a dropped proposal with this reason."""


class ProposalFailed(JobError):
    """An infrastructure error while an instruction was written; the job stops, and the next run continues there."""


class Proposer(Protocol):
    """Writes one instruction.

    - It reads examples of the train split only, and what candidates do on them.
    - Every request that it causes goes through the caller with `Purpose.PROPOSER` (a judge's with its own), so it is in
      the ledger, in the budget and under the caps. It sends none any other way.
    - It is a function of the brief, the train split, the seed and the models' answers: the same brief sends the same
      requests, so a job that was killed gets its answers from the ledger.
    - It does not judge. The text may be empty, too long, a copy, or give examples away; the caller screens it.
    """

    kind: str
    """`data` or `reflection`: the word in the space file and in the study's record."""

    async def propose(self, brief: Brief) -> str:
        """The instruction as the model wrote it, without what surrounds it in the reply.

        Raises:
            NothingProposed: with the reason; the round continues.
            InfrastructureError: no answer after all attempts.
            JobError, FatalCallError: the job cannot continue (a cap, no access).
        """
        ...
