"""What a running job reports while it runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from offramp.calls.attempts import CallStats
from offramp.job.resolved import ResolvedJob
from offramp.job.session import Session
from offramp.records import Candidate, Result, Scalar
from offramp.search.holdout.reserve import FEWEST
from offramp.search.outcome import Options
from offramp.search.state import StudyState
from offramp.space.check import MOST_TRIALS
from offramp.store.studies import RunUnderWay
from offramp.study.domain.members import Member
from offramp.study.domain.pace import Pace, Used, pace
from offramp.study.study_report import StudyReport

AFTER = ("holdout", "probe")
"""Phases after the search."""
RECORDED_EVERY_S = 5.0
"""How often a study keeps how far its run is, for those who watch it."""


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
        search_left: runs that the search still makes at most; None where more candidates may join. holdout_left: those
            of the holdout evaluation that are to come, by the front as it is now.
        begun_s: when the candidate that is running was begun, in seconds of this run.
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
    search_left: int | None = None
    holdout_left: int = 0
    begun_s: float = 0.0

    @property
    def spent_usd(self) -> float:
        """Of the whole study, by now."""
        return 0.0 if self.stats is None else self.stats.spent_usd

    @property
    def pace(self) -> Pace:
        """How much of the job is done, and how long the rest takes."""
        work = None if self.search_left is None else self.runs + self.search_left
        search = (
            Used(now=self.trials, cap=self.trials_wanted, before=self.trials_before), Used(now=self.runs, cap=work)
        )  # fmt: skip
        return pace(
            Used(now=self.study_calls, cap=self.calls, before=self.calls_before),
            Used(now=self.spent_usd, cap=self.usd, before=self.usd_before),
            elapsed_s=self.elapsed_s, minutes=self.minutes, search=() if self.phase in AFTER else search,
            then_s=self.holdout_left * self._run_s,
        )  # fmt: skip

    @property
    def _run_s(self) -> float:
        """Seconds from one run to the next: of the candidate on the holdout, once it says, else of all."""
        if self.phase in AFTER and self.done >= FEWEST:
            return (self.elapsed_s - self.begun_s) / self.done
        return self.elapsed_s / self.runs if self.runs else 0.0


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
        self._total: int | None = None
        self._recorded_s = 0.0
        now = self._now(begun)
        self._progress = replace(
            begun, trials_before=now.trials, calls_before=now.study_calls, usd_before=now.spent_usd
        )  # fmt: skip

    @property
    def runs(self) -> int:
        """Examples run by this run of the job so far."""
        return self._progress.runs

    def begin(self, candidate: Candidate, of: int, *, phase: str = "search") -> None:
        """A candidate is run on so many examples from here on."""
        now_s = self._session.clock.elapsed_s
        self._progress = replace(
            self._progress, phase=phase, candidate=candidate.params, done=0, of=of, begun_s=now_s
        )  # fmt: skip

    def racing(self, begun: int, cells: int, left: int | None) -> None:
        """So many candidates were begun, with so many runs in all that were decided on, and so many left at most."""
        self._progress = replace(self._progress, phase="search", candidate=None, begun=begun, of=cells)
        total = None if left is None else self._progress.runs + left  # too many: some of them have run by now
        self._total = total if total is None or self._total is None else min(total, self._total)

    def begin_proposals(self) -> None:
        """Instructions are being written."""
        self._progress = replace(self._progress, phase="proposals", candidate=None, done=0, of=0)
        self.publish()

    def on_result(self, result: Result) -> None:
        """One more example is done."""
        self._progress = replace(self._progress, done=self._progress.done + 1, runs=self._progress.runs + 1)
        self.publish()

    def publish(self) -> None:
        """Tells the observer, and from time to time the study's record, how things stand."""
        due = self._session.clock.elapsed_s >= self._recorded_s + RECORDED_EVERY_S
        if self._observer is None and not due:
            return
        progress = self._now(self._progress)
        if due:
            self._recorded_s = progress.elapsed_s
            self._state.keep_run(_recorded(progress))
        if self._observer is not None:
            self._observer(progress)

    @property
    def run(self) -> RunUnderWay:
        """How far the run is, for whoever watches the study."""
        return _recorded(self._now(self._progress))

    def _now(self, progress: Progress) -> Progress:
        report = self._state.report()
        done = progress.done if progress.phase == "holdout" else 0
        left = None if self._total is None else max(0, self._total - progress.runs)
        return replace(
            progress, trials=len(self._state.tried), stats=self._session.stats(), front=report.front,
            study_calls=self._session.budget.seen.calls, elapsed_s=self._session.clock.elapsed_s, search_left=left,
            holdout_left=max(0, runs_to_come(report, self._state.job) - done),
        )  # fmt: skip


def _recorded(progress: Progress) -> RunUnderWay:
    at, found = dt.datetime.now(dt.UTC).isoformat(), progress.pace
    return RunUnderWay(at=at, share=found.share, remaining_s=found.remaining_s, most_s=found.most_s)


def runs_to_come(report: StudyReport, job: ResolvedJob) -> int:
    """Examples of the holdout evaluation to come: of the two that a decision is about, at least, and the rest."""
    examples, both = len(job.task.splits.holdout), report.decisive
    those = report.standing if job.space.verify.front else both
    lacking = sum(examples - (member.holdout.n if member.holdout is not None else 0) for member in those)
    unknown = max(0, 2 - len(both)) if not report.members or len(report.members) > 1 else 0
    return lacking + unknown * examples
