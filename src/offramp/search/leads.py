"""Assignments that go before the sampler's own: the front of the study that this one starts from, then new proposals.

Invariant: what comes next depends on the study's record, the texts that joined and the candidates that are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from offramp.job.resolve import ResolvedJob
from offramp.records import Candidate, Scalar
from offramp.space.dimensions import instruction_param
from offramp.store.variants import Variant

Assignment = Mapping[str, Scalar]


class Leads:
    """What to try first, and where every candidate comes from.

    Args:
        warm: `extra["warm"]` of the study's record; None where it starts from nothing.
    """

    def __init__(self, warm: Mapping[str, Any] | None = None, variants: Sequence[Variant] = ()) -> None:
        self.warm = warm or {}
        self._variants = tuple(variants)
        self._given: set[str] = set()

    def learn(self, variants: Sequence[Variant]) -> None:
        """Takes up the variants as they are now."""
        self._variants = tuple(variants)

    def next(self, job: ResolvedJob, known: Collection[str]) -> Assignment | None:
        """The next assignment whose candidate is not among the `known` ids; None when the sampler may go on.

        Each is given once: one that comes back as another candidate would be given for ever.
        """
        for candidate, params in self._all(job):
            if candidate not in known and candidate not in self._given:
                self._given.add(candidate)
                return params
        return None

    def _all(self, job: ResolvedJob) -> Iterator[tuple[str, Assignment]]:
        yield from ((lead["candidate"], lead["params"]) for lead in self.warm.get("first", ()))
        for row in self._variants:
            if row.joined and row.params is not None:
                yield job.candidate(row.params).id, row.params

    def origin(self, candidate: Candidate, *, incumbent: bool = False) -> dict[str, Any]:
        """Where a candidate comes from, for its record; with `cells`, whose results are the other study's."""
        found = {"kind": "incumbent"} if incumbent else self._origin(candidate)
        cells = self.warm.get("cells", {}).get(candidate.id)
        return {**found, "cells": {"study": self.warm["study"], "n": cells}} if cells else found

    def _origin(self, candidate: Candidate) -> dict[str, Any]:
        for lead in self.warm.get("first", ()):
            if lead["candidate"] == candidate.id:
                return {"kind": "study", "study": self.warm["study"], "parents": [lead["parent"]]}
        chosen = {(row.predictor, row.name): row for row in self._variants if row.joined and row.round}
        params = {predictor: candidate.params.get(instruction_param(predictor)) for predictor in candidate.instructions}
        rows = [chosen[pair] for pair in params.items() if pair in chosen]
        if not rows:
            return {"kind": "sampler"}
        parents = sorted({parent for row in rows for parent in row.parents})
        return {"kind": "proposal", "variants": [row.name for row in rows], "parents": parents}
