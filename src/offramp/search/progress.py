"""What a running job reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from offramp.calls.attempts import CallStats
from offramp.job.session import Session
from offramp.records import Candidate, Result, Scalar
from offramp.search.outcome import Options
from offramp.search.state import StudyState
from offramp.space.check import MOST_TRIALS
from offramp.study.domain.members import Member

SOON_S = 10.0
LEAST_SHARE = 0.05
"""A pace is stated from so many seconds, and so much of the job, on."""


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
        done_before: `share_done` when this run began.
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
    done_before: float = 0.0
    stats: CallStats | None = None
    elapsed_s: float = 0.0

    @property
    def share_done(self) -> float:
        """How much of the job is done, 0..1: by the cap that is nearest."""
        spent = 0.0 if self.stats is None else self.stats.spent_usd
        used: list[tuple[float, float | None]] = [
            (self.trials, self.trials_wanted), (self.elapsed_s / 60, self.minutes), (self.study_calls, self.calls),
            (spent, self.usd),
        ]  # fmt: skip
        return min(1.0, max((amount / cap for amount, cap in used if cap), default=0.0))

    @property
    def remaining_s(self) -> float | None:
        """Seconds that the rest takes at the pace so far; None while too little is done to say."""
        done = self.share_done
        if self.elapsed_s < SOON_S or done - self.done_before < LEAST_SHARE:
            return None
        return self.elapsed_s * (1 - done) / (done - self.done_before)


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
        self._progress = replace(begun, done_before=self._now(begun).share_done)

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
