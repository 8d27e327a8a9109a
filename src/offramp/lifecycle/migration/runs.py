"""The runs of a migration: each is a separate study, so that a killed migration continues where it was.

Caps hold for all runs together: what one run has used is not available to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offramp.calls.transports import Transport
from offramp.errors import JobError
from offramp.job.clock import Interrupted, Timing
from offramp.lifecycle.migration.record import Spent
from offramp.records import Candidate, Result, Split
from offramp.search.api import JobResult, Progress, optimize
from offramp.space.load import LoadedSpace
from offramp.store.candidates import CandidateStore
from offramp.store.engine import open_store
from offramp.store.results import ResultStore

Observer = Callable[[Progress], None]
LEAST_CALLS = 1
LEAST_MINUTES = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What all runs together may use; None: no cap of that kind."""

    usd: float | None = None
    calls: int | None = None
    minutes: float | None = None

    def left(self, spent: Spent) -> dict[str, Any]:
        """What the next run may use. Raises CapReached where nothing remains of a cap."""
        found: dict[str, Any] = {}
        if self.usd is not None:
            found["usd"] = self.usd - spent.usd
        if self.calls is not None:
            found["calls"] = self.calls - spent.calls
        if self.minutes is not None:
            found["minutes"] = self.minutes - spent.elapsed_s / 60
        least = {"usd": 1e-9, "calls": LEAST_CALLS, "minutes": LEAST_MINUTES}
        for name, value in found.items():
            if value < least[name]:
                raise CapReached(f"the cap on {name} is reached")
        return found


class CapReached(JobError):
    """Nothing remains for another run; what was found so far is kept."""


class Runs:
    """Runs studies in one storage, within caps that they share.

    Attributes:
        spent: by all runs so far.
    """

    def __init__(
        self, storage: str, results: Path, caps: Caps, observer: Observer | None = None, *,
        transport: Transport | None = None, timing: Timing | None = None,
    ) -> None:  # fmt: skip
        self.storage, self._results, self._caps, self._observer = storage, results, caps, observer
        self._transport, self._timing = transport, timing
        self.spent = Spent()

    def run(
        self, space: LoadedSpace, *, from_study: str | None = None, trials: int | None = None, seed: int | None = None
    ) -> JobResult:
        """One study to its end, its holdout evaluation included.

        Raises:
            UsageError: it cannot be run as it is. CapReached: nothing is left for it. Interrupted: a person stopped it.
        """
        result = optimize(
            space, storage=self.storage, results=self._results, observer=self._observer, from_study=from_study,
            trials=trials, seed=seed, transport=self._transport, timing=self._timing, **self._caps.left(self.spent),
        )  # fmt: skip
        self.spent += Spent(
            calls=result.calls, cached_calls=result.cached_calls, usd=result.spent_usd, elapsed_s=result.elapsed_s
        )
        if isinstance(result.error, Interrupted):
            raise result.error
        return result

    def candidate(self, study: str, candidate: str) -> Candidate:
        """A candidate of a study."""
        with open_store(self.storage, write_probe=False) as store:
            (row,) = CandidateStore(store).all(study, only=[candidate])
        return row.candidate

    def results(self, study: str, candidate: str, split: Split) -> Mapping[str, Result]:
        """Results of a candidate, by example."""
        with open_store(self.storage, write_probe=False) as store:
            return ResultStore(store).get(study, split, candidate)
