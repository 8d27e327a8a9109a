"""What a proposer is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from offramp.errors import JobError, OfframpError
from offramp.records import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What one text is wanted for.

    Attributes:
        number: which proposal of the study this is, from 0. Equal briefs ask the same; another number asks again.
        predictor: whose instruction it will be.
        parent: a good candidate of the search so far; its instruction is what has to get better.
        max_chars: a longer text is dropped.
        history: texts of this predictor that were tried, each with its best quality in 0..1, the best last.
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
    """There is no text, though nothing failed: kept with its reason as a dropped proposal."""


class ProposalFailed(JobError):
    """The infrastructure failed while a text was written; the job stops and can go on from there."""


class Proposer(Protocol):
    """Writes one instruction.

    - It reads examples of the train split only, and what candidates do on them.
    - Every request it causes goes through the caller with `Purpose.PROPOSER` (a judge's with its own): it is in the
      ledger, in the budget, and under the caps. It asks nobody else.
    - It is a function of the brief, the train split, the seed and the models' answers: the same brief again asks for
      the same, so that a job that was killed has its answers from the ledger.
    - It judges nothing. The text may be empty, too long, a copy, or give examples away: whoever asked screens it.
    """

    kind: str
    """`data` or `reflection`: the word in the space file and in the study's record."""

    async def propose(self, brief: Brief) -> str:
        """The text, as the model wrote it but for what is around it.

        Raises:
            NothingProposed: with the reason in words; the round goes on.
            InfrastructureError: no answer after all attempts.
            JobError, FatalCallError: the job cannot go on (a cap, no access).
        """
        ...
