"""The seam for racing: after what is known of a candidate, evaluate which examples next, or stop.

The engine asks the policy before every block and obeys it. `FullEvaluation` runs every example in one block; a racing
policy gives growing blocks and stops a candidate that can no longer reach the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from offramp.records import Candidate, Evaluation, Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Evaluate the candidate on these examples next."""

    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """No more examples for this candidate.

    Attributes:
        complete: whether it was evaluated on everything; only complete evaluations are compared with each other.
        reason: in words, for the record.
    """

    complete: bool
    reason: str


class BlockPolicy(Protocol):
    """Decides how far a candidate is evaluated.

    `next` is called with the evaluation so far (empty at first) and must end in a `Stop`. It never changes what it is
    given, sees the search split only, and gives each example at most once. `finished` holds complete evaluations of
    earlier candidates. FAILED results in `evaluation` are no evidence against the candidate.
    """

    def next(
        self, candidate: Candidate, evaluation: Evaluation, examples: Sequence[Example], finished: Sequence[Evaluation]
    ) -> Block | Stop:
        """The next block, or the end."""
        ...


class FullEvaluation:
    """Every candidate on every example, in one block."""

    def next(
        self, candidate: Candidate, evaluation: Evaluation, examples: Sequence[Example], finished: Sequence[Evaluation]
    ) -> Block | Stop:
        """All examples that have no result yet, then the end."""
        seen = {result.example for result in evaluation.results}
        rest = tuple(example for example in examples if example.id not in seen)
        return Block(examples=rest) if rest else Stop(complete=True, reason="all examples done")
