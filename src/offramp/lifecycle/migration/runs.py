"""The runs of a migration: each is a separate study, so that a killed migration continues where it was.

Money and calls are capped for all runs together, and for the same command again: what the storage has booked for the
studies of the migration is not available to the next one. Minutes are those of one command, as for `optimize`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from offramp.calls.transports import Transport
from offramp.errors import JobError
from offramp.ids import content_hash
from offramp.job.clock import Interrupted, Timing
from offramp.lifecycle.migration.record import Spent
from offramp.lifecycle.migration.studies import Studies
from offramp.records import Candidate, Result, Split
from offramp.search.api import JobResult, Progress, optimize
from offramp.space.load import LoadedSpace
from offramp.store.budget import read_budget
from offramp.store.candidates import CandidateStore
from offramp.store.engine import open_store
from offramp.store.results import ResultStore

Observer = Callable[[Progress], None]
LEAST_USD = 1e-9
LEAST_CALLS = 1
LEAST_MINUTES = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What all runs together may use, minutes: those of this command; None: no cap of that kind."""

    usd: float | None = None
    calls: int | None = None
    minutes: float | None = None

    def left(self, others: Spent, own: Spent | None, elapsed_s: float) -> dict[str, Any]:
        """What a study may use, with what it has used already.

        One that began before is read as it stands where nothing remains for it: it may use what it has used already.

        Args:
            others: what is booked for the other studies. own: what is booked for this one; None where it is new.
            elapsed_s: of this command.

        Raises:
            CapReached: nothing remains of a cap for a new study, or of the time.
        """
        found: dict[str, Any] = {}
        if self.usd is not None:
            found["usd"] = _at_least(self.usd - others.usd, None if own is None else own.usd, LEAST_USD)
        if self.calls is not None:
            found["calls"] = _at_least(self.calls - others.calls, None if own is None else own.calls, LEAST_CALLS)
        if self.minutes is not None:
            found["minutes"] = self.minutes - elapsed_s / 60
        least = {"usd": LEAST_USD, "calls": LEAST_CALLS, "minutes": LEAST_MINUTES}
        for name, value in found.items():
            if value < least[name]:
                raise CapReached(f"the cap on {name} is reached")
        return found


def _at_least(left: Any, used: Any, least: Any) -> Any:
    return left if used is None else max(left, used, least)


class CapReached(JobError):
    """Nothing remains for another run; what was found so far is kept."""


@dataclass(slots=True, kw_only=True)
class Runs:
    """Runs studies in one storage, within caps that they share.

    Attributes:
        studies: those of the migration, by run.
        spent: by this command so far.
    """

    storage: str
    results_folder: Path
    caps: Caps
    studies: Studies
    observer: Observer | None = None
    transport: Transport | None = None
    timing: Timing | None = None
    spent: Spent = field(default_factory=Spent)

    def run(
        self, space: LoadedSpace, *, from_study: str | None = None, trials: int | None = None, seed: int | None = None
    ) -> JobResult:
        """One study to its end, its holdout evaluation included.

        Raises:
            UsageError: it cannot be run as it is. CapReached: nothing is left for it. Interrupted: a person stopped it.
        """
        run = content_hash([space.space.model_dump(mode="json"), from_study, seed])

        def seen(progress: Progress) -> None:
            self.studies.keep(run, progress.study)
            if self.observer is not None:
                self.observer(progress)

        known = self.studies.get(run)
        others = self._booked(name for name in self.studies.names if name != known)
        own = None if known is None else self._booked([known])
        result = optimize(
            space, storage=self.storage, results=self.results_folder, observer=seen, from_study=from_study,
            trials=trials, seed=seed, transport=self.transport, timing=self.timing,
            **self.caps.left(others, own, self.spent.elapsed_s),
        )  # fmt: skip
        self.studies.keep(run, result.report.study)
        self.spent += Spent(
            calls=result.calls, cached_calls=result.cached_calls, usd=result.spent_usd, elapsed_s=result.elapsed_s
        )
        if isinstance(result.error, Interrupted):
            raise result.error
        return result

    def in_all(self) -> Spent:
        """Calls and money of the migration: this command and the same one before; cached calls and time of this one."""
        booked = self._booked(self.studies.names)
        return replace(self.spent, calls=booked.calls, usd=booked.usd)

    def _booked(self, studies: Iterable[str]) -> Spent:
        """What the storage has booked for studies, with what is reserved; studies that it lost took nothing."""
        found = Spent()
        if names := sorted(set(studies)):
            with open_store(self.storage, write_probe=False) as store:
                for state in filter(None, (read_budget(store, name) for name in names)):
                    usd = state.spent_usd + state.reserved_usd
                    found += Spent(calls=state.calls + state.reserved_calls, usd=usd)
        return found

    def candidate(self, study: str, candidate: str) -> Candidate:
        """A candidate of a study."""
        with open_store(self.storage, write_probe=False) as store:
            (row,) = CandidateStore(store).all(study, only=[candidate])
        return row.candidate

    def results(self, study: str, candidate: str, split: Split) -> Mapping[str, Result]:
        """Results of a candidate, by example."""
        with open_store(self.storage, write_probe=False) as store:
            return ResultStore(store).get(study, split, candidate)
