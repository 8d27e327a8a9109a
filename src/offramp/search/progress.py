"""What a running job reports while it runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from offramp.calls.attempts import CallStats
from offramp.job.session import Session
from offramp.records import Candidate, Result, Scalar
from offramp.search.outcome import Options
from offramp.search.state import StudyState
from offramp.space.check import MOST_TRIALS
from offramp.store.studies import RunBegun
from offramp.study.domain.members import Member
from offramp.study.domain.pace import Pace, Used, pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A snapshot.

    Attributes:
        phase: `search`, `proposals`, `holdout` or `probe`.
        trials, trials_wanted: different candidates done, and the cap; None where only other caps decide.
        front: so far, on the search split.
        candidate: params of the one that is running; None before the first.
        done, of: examples of it.
        begun: candidates that were run on some example at least.
        runs: examples run by this job so far, those from the ledger included.
        stats: calls and money; None before the first.
        usd, calls: caps of the whole study, None for none. study_calls: of all its runs.
        trials_before, calls_before, usd_before: what the study had used when this run began.
        elapsed_s: of this run; minutes: its cap, None for none.
    """

    study: str
    trials_wanted: int | None
    minutes: float | None
    phase: str = "search"
    trials: int = 0
    front: tuple[Member, ...] = ()
    candidate: Mapping[str, Scalar] | None = None
    done: int = 0
    of: int = 0
    begun: int = 0
    runs: int = 0
    usd: float | None = None
    calls: int | None = None
    study_calls: int = 0
    trials_before: int = 0
    calls_before: int = 0
    usd_before: float = 0.0
    stats: CallStats | None = None
    elapsed_s: float = 0.0

    @property
    def spent_usd(self) -> float:
        """Of the whole study, by now."""
        return 0.0 if self.stats is None else self.stats.spent_usd

    @property
    def pace(self) -> Pace:
        """How much of the job is done, and how long the rest takes."""
        return pace(
            Used(now=self.trials, cap=self.trials_wanted, before=self.trials_before),
            Used(now=self.study_calls, cap=self.calls, before=self.calls_before),
            Used(now=self.spent_usd, cap=self.usd, before=self.usd_before),
            elapsed_s=self.elapsed_s, minutes=self.minutes,
        )  # fmt: skip


class Reporter:
    """Keeps an observer informed; without one it does nothing but count."""

    def __init__(
        self, observer: Callable[[Progress], None] | None, options: Options, state: StudyState, session: Session
    ) -> None:
        self._observer, self._state, self._session = observer, state, session
        capped = options.trials < MOST_TRIALS
        begun = Progress(
            study=state.name, trials_wanted=options.trials if capped else None, minutes=options.minutes,
            usd=options.usd, calls=options.calls,
        )  # fmt: skip
        now = self._now(begun)
        self._progress = replace(
            begun, trials_before=now.trials, calls_before=now.study_calls, usd_before=now.spent_usd
        )  # fmt: skip

    @property
    def run(self) -> RunBegun:
        """What whoever watches the run has to know of it."""
        at, begun = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self._session.clock.elapsed_s), self._progress
        return RunBegun(
            at=at.isoformat(), trials=begun.trials_wanted, minutes=begun.minutes, trials_before=begun.trials_before,
            calls_before=begun.calls_before, usd_before=begun.usd_before,
        )  # fmt: skip

    def begin(self, candidate: Candidate, of: int, *, phase: str = "search") -> None:
        """A candidate is run on so many examples from here on."""
        self._progress = replace(self._progress, phase=phase, candidate=candidate.params, done=0, of=of)

    def racing(self, begun: int, cells: int) -> None:
        """So many candidates were begun, with so many runs in all that were decided on."""
        self._progress = replace(self._progress, phase="search", candidate=None, begun=begun, of=cells)

    def begin_proposals(self) -> None:
        """Instructions are being written."""
        self._progress = replace(self._progress, phase="proposals", candidate=None, done=0, of=0)
        self.publish()

    def on_result(self, result: Result) -> None:
        """One more example is done."""
        self._progress = replace(self._progress, done=self._progress.done + 1, runs=self._progress.runs + 1)
        self.publish()

    def publish(self) -> None:
        """Tells the observer how things stand."""
        if self._observer is not None:
            self._observer(replace(self._now(self._progress), front=self._state.report().front))

    def _now(self, progress: Progress) -> Progress:
        return replace(
            progress, trials=len(self._state.tried), stats=self._session.stats(),
            study_calls=self._session.budget.seen.calls, elapsed_s=self._session.clock.elapsed_s,
        )  # fmt: skip
