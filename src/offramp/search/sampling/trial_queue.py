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
    """What to try first, and where every candidate comes from."""

    def __init__(self, state: StudyState) -> None:
        self._state = state
        self._warm = state.study.details.warm
        self._given: set[str] = set()

    def next(self) -> Assignment | None:
        """The next assignment whose candidate was not tried; None when it is the sampler's turn.

        Each is given once: one that comes back as another candidate would be given for ever.
        """
        for candidate, params in self._all():
            if self._state.job.is_parked(params):
                continue
            if candidate not in self._state.known and candidate not in self._given:
                self._given.add(candidate)
                return params
        return None

    def _all(self) -> Iterator[tuple[str, Assignment]]:
        if self._warm is not None:
            yield from ((first.candidate, first.params) for first in self._warm.first)
        for row in self._state.variants:
            if row.joined and row.params is not None:
                yield self._state.job.candidate(row.params).id, row.params

    def origin(self, candidate: Candidate, *, incumbent: bool = False) -> dict[str, Any]:
        """Where a candidate comes from, for its record; with `cells`, how many results are the other study's.

        Of a candidate all of whose results are, it says what was sent there.
        """
        found = {"kind": "incumbent"} if incumbent else self._origin(candidate)
        if self._warm is None or not (reused := self._warm.reused.get(candidate.id)):
            return found
        sent = self._warm.sent.get(candidate.id, {})
        return {**found, **sent, "cells": {"study": self._warm.study, "n": reused}}

    def _origin(self, candidate: Candidate) -> dict[str, Any]:
        parents = {} if self._warm is None else {first.candidate: first.parent for first in self._warm.first}
        if self._warm is not None and candidate.id in parents:
            return {"kind": "study", "study": self._warm.study, "parents": [parents[candidate.id]]}
        chosen = {(row.predictor, row.name): row for row in self._state.variants if row.joined and row.round}
        params = {predictor: candidate.params.get(instruction_param(predictor)) for predictor in candidate.instructions}
        rows = [chosen[pair] for pair in params.items() if pair in chosen]
        if not rows:
            return {"kind": "sampler"}
        after = sorted({parent for row in rows for parent in row.parents})
        return {"kind": "proposal", "variants": [row.name for row in rows], "parents": after}
