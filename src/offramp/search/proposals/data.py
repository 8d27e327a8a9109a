"""Proposing from the task: the model sees a summary of the data, train examples and what was tried, as in DSPy.

Source: Opsahl-Ong et al. 2024, Optimizing Instructions and Demonstrations for Multi-Stage Language Model Programs.
"""

from __future__ import annotations

from collections.abc import Sequence

from offramp.ids import derived_seed
from offramp.program.grounded import Grounded, ProposerError, tips
from offramp.records import Example
from offramp.search.proposals._base import Brief, NothingProposed

SUMMARY_EXAMPLES = 20


class FromData:
    """The proposer of kind `data`."""

    kind = "data"

    def __init__(self, *, grounded: Grounded, train: Sequence[Example], examples: int, seed: int) -> None:
        self._grounded, self._train, self._examples, self._seed = grounded, tuple(train), examples, seed

    async def propose(self, brief: Brief) -> str:
        """A new instruction; see `Proposer`."""
        try:
            summary = await self._grounded.summary(self._drawn("summary", count=SUMMARY_EXAMPLES))
            hints = tips()
            return await self._grounded.instruction(
                brief.parent,
                brief.predictor,
                examples=self._drawn("data", brief.number, count=self._examples),
                summary=summary,
                history=brief.history,
                tip=hints[derived_seed(self._seed, "tip", brief.number) % len(hints)],
                max_chars=brief.max_chars,
                replicate=brief.number,
            )
        except ProposerError as error:
            raise NothingProposed(str(error)) from error

    def _drawn(self, *salt: object, count: int) -> list[Example]:
        """Train examples, others for another salt."""
        return sorted(self._train, key=lambda e: derived_seed(self._seed, *salt, e.content_hash))[:count]
