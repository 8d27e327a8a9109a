"""What a running job reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from offramp.calls.attempts import CallStats
from offramp.job.session import Session
from offramp.records import Candidate, Result, Scalar
from offramp.search.outcome import Options
from offramp.search.state import StudyState
from offramp.study.domain.members import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A snapshot.

    Attributes:
        phase: `search`, `proposals`, `holdout` or `probe`.
        trials, trials_wanted: different candidates done, and the cap.
        front: so far, on the search split.
        candidate: params of the one that is running; None before the first.
        done, of: examples of it.
        runs: examples run by this job so far, those from the ledger included.
        stats: calls and money; None before the first.
        elapsed_s: of this run; minutes: its cap, None for none.
    """

    study: str
    trials_wanted: int
    minutes: float | None
    phase: str = "search"
    trials: int = 0
    front: tuple[Member, ...] = ()
    candidate: Mapping[str, Scalar] | None = None
    done: int = 0
    of: int = 0
    runs: int = 0
    stats: CallStats | None = None
    elapsed_s: float = 0.0


class Reporter:
    """Keeps an observer informed; without one it does nothing but count."""

    def __init__(
        self, observer: Callable[[Progress], None] | None, options: Options, state: StudyState, session: Session
    ) -> None:
        self._observer, self._state, self._session = observer, state, session
        self._progress = Progress(study=state.name, trials_wanted=options.trials, minutes=options.minutes)

    def begin(self, candidate: Candidate, of: int, *, phase: str = "search") -> None:
        """A candidate is run on so many examples from here on."""
        self._progress = replace(self._progress, phase=phase, candidate=candidate.params, done=0, of=of)

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
            self._observer(
                replace(
                    self._progress,
                    trials=len(self._state.tried),
                    front=self._state.report().front,
                    stats=self._session.stats(),
                    elapsed_s=self._session.clock.elapsed_s,
                )
            )
