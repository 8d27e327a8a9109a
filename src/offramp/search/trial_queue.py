"""What is tried before the sampler proposes: the front of the study that this one starts from, then new instructions.

Invariant: what comes next depends on the study's record, the texts that joined and the candidates that were tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from offramp.records import Candidate, Scalar
from offramp.search.state import StudyState
from offramp.space.params import instruction_param

Assignment = Mapping[str, Scalar]


class TrialQueue:
    """What to try first, and where every candidate comes from.

    Attributes:
        warm: what the study's record says of the study that it starts from; empty for a start from nothing.
    """

    def __init__(self, state: StudyState) -> None:
        self._state = state
        self.warm: Mapping[str, Any] = state.study.extra.get("warm") or {}
        self._given: set[str] = set()

    def next(self) -> Assignment | None:
        """The next assignment whose candidate was not tried; None when it is the sampler's turn.

        Each is given once: one that comes back as another candidate would be given for ever.
        """
        for candidate, params in self._all():
            if candidate not in self._state.tried and candidate not in self._given:
                self._given.add(candidate)
                return params
        return None

    def _all(self) -> Iterator[tuple[str, Assignment]]:
        yield from ((first["candidate"], first["params"]) for first in self.warm.get("first", ()))
        for row in self._state.variants:
            if row.joined and row.params is not None:
                yield self._state.job.candidate(row.params).id, row.params

    def origin(self, candidate: Candidate, *, incumbent: bool = False) -> dict[str, Any]:
        """Where a candidate comes from, for its record; with `cells`, how many results are the other study's."""
        found = {"kind": "incumbent"} if incumbent else self._origin(candidate)
        reused = self.warm.get("cells", {}).get(candidate.id)
        return {**found, "cells": {"study": self.warm["study"], "n": reused}} if reused else found

    def _origin(self, candidate: Candidate) -> dict[str, Any]:
        for first in self.warm.get("first", ()):
            if first["candidate"] == candidate.id:
                return {"kind": "study", "study": self.warm["study"], "parents": [first["parent"]]}
        chosen = {(row.predictor, row.name): row for row in self._state.variants if row.joined and row.round}
        params = {predictor: candidate.params.get(instruction_param(predictor)) for predictor in candidate.instructions}
        rows = [chosen[pair] for pair in params.items() if pair in chosen]
        if not rows:
            return {"kind": "sampler"}
        parents = sorted({parent for row in rows for parent in row.parents})
        return {"kind": "proposal", "variants": [row.name for row in rows], "parents": parents}
