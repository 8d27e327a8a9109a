"""The bootstrapped demos of a candidate, made again from the ledger, which has every answer that they were made from.

No model is asked. The program itself runs, so this loads its libraries: seconds, the first time.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from offramp.errors import OfframpError
from offramp.program.background import BACKGROUND
from offramp.records import Candidate
from offramp.review.shown import as_text
from offramp.store.engine import Store

if TYPE_CHECKING:
    from offramp.job.loaded import LoadedStudy

Shown = tuple[tuple[str, str], ...]
"""One demo: fields and their values."""


class OwnDemos:
    """The bootstrapped demos of a study's candidates."""

    def __init__(self, store: Store, study: str) -> None:
        self._store, self._study = store, study

    def of(self, candidate: Candidate) -> tuple[Shown, ...]:
        """Its demos, with the predictor's name where there are several; empty where they cannot be had any more."""
        try:
            return BACKGROUND.wait(self._made(candidate))
        except (OfframpError, OSError):
            return ()

    async def _made(self, candidate: Candidate) -> tuple[Shown, ...]:
        from offramp.job.session import open_session

        job = self._loaded.job
        async with open_session(job, store=self._store, study=self._study) as session:
            found = await session.evaluator.demos(candidate)
        if session.recorded.unknown or not job.space.store_text:
            return ()
        several = len(found) > 1
        return tuple(
            (*([("predictor", name)] if several else []), *((field, as_text(value)) for field, value in row.items()))
            for name, rows in found.items()
            for row in rows
        )

    @cached_property
    def _loaded(self) -> LoadedStudy:
        from offramp.job.loaded import load_study

        return load_study(self._store, self._study)
