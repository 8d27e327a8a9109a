"""What a search leaves of its caps, so that the evaluation on the holdout can still be paid and waited for.

That evaluation runs two candidates, the incumbent and the recommended one, and has a judge grade them where the metric
has one. What it takes is estimated from the runs so far: of the incumbent, and of whichever of those that may be
recommended takes most. Before a candidate is complete there is nothing to evaluate, and nothing is reserved.

Invariants: money and calls are reserved by observed runs, whichever reply came first; what is reserved covers the
judge, and the bound that the last request is reserved with.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from statistics import fmean, median

from offramp.calls.estimate import worst_usd
from offramp.evaluate.replicates import lacking, may_vary
from offramp.job.clock import MOST_RESERVED, Clock
from offramp.job.resolved import ResolvedJob
from offramp.job.session import Session
from offramp.records import CallRequest, Candidate, Example, Purpose, Replicate, Result, ResultState, Split, Usage
from offramp.search.judging import Judges, Judging
from offramp.search.outcome import Options
from offramp.search.racing.waves import UNDER_WAY
from offramp.search.state import StudyState
from offramp.store.ledger import Effort, StudyEffort
from offramp.study.domain.members import Member
from offramp.study.study_report import StudyReport

FEWEST = 5
"""Runs of a candidate that say what one takes, after its first, whose prompt is in no cache yet."""
SAFETY = 1.2
"""What is expected by a mean is reserved with a fifth more."""


@dataclass(slots=True)
class Warm:
    """Sums over runs that found most of the prompt in the model's cache."""

    n: int = 0
    seconds: float = 0.0

    def add(self, run: Result | Replicate) -> None:
        """One more run; another kind is left out."""
        if run.usage.cached_input_tokens > run.usage.input_tokens:
            self.n += 1
            self.seconds += run.latency_s or 0.0


@dataclass(slots=True, kw_only=True)
class Runs:
    """Sums over the runs of one candidate, without its judge.

    Attributes:
        answers: of models, those from the ledger included.
        prompt_tokens: of the run that read most.
        sampled: whether an example is run several times.
    """

    candidate: Candidate
    n: int = 0
    sampled: bool = False
    usd: float = 0.0
    answers: int = 0
    latencies_s: list[float] = field(default_factory=list)
    warm: Warm = field(default_factory=Warm)
    prompt_tokens: int = 0

    def add(self, result: Result) -> None:
        """One more example; an infrastructure error says nothing about the next."""
        if result.state is ResultState.INFRASTRUCTURE_ERROR:
            return
        self.sampled = self.sampled or result.replicates is not None
        for run in result.runs:
            self.n += 1
            self.usd += run.cost_usd or 0.0
            self.answers += run.calls + run.cached_calls
            self.latencies_s.append(run.latency_s or 0.0)
            self.warm.add(run)
            self.prompt_tokens = max(self.prompt_tokens, run.usage.prompt_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A candidate that may be recommended.

    Attributes:
        results: of its observed cells. usd: what a run is expected to cost where these are few.
    """

    candidate: Candidate
    results: Sequence[Result]
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one run takes, without its judge; `bound_usd` is what its most expensive request is reserved with.

    `runs` is how often an example is run at most.
    """

    usd: float = 0.0
    answers: float = 0.0
    bound_usd: float = 0.0
    runs: int = 1

    def most(self, other: Need) -> Need:
        """The greater of each."""
        return Need(
            usd=max(self.usd, other.usd),
            answers=max(self.answers, other.answers),
            bound_usd=max(self.bound_usd, other.bound_usd),
            runs=max(self.runs, other.runs),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the study's requests say beside the results.

    Attributes:
        retries: attempts for one answer of the program.
        surplus: of the budget: money is reserved so many times its bound.
    """

    judging: Judging = field(default_factory=Judging)
    retries: float = 1.0
    surplus: float = 1.0


class Pace:
    """Wall clock of the attempts of this process, waiting included. Spells without any do not count."""

    def __init__(self, clock: Clock, sent: int) -> None:
        self._clock, self._sent, self._last_s = clock, sent, clock.elapsed_s
        self._seconds, self._attempts = 0.0, 0

    @property
    def attempt_s(self) -> float:
        """Seconds from one attempt to the next; 0 before the first."""
        return self._seconds / self._attempts if self._attempts else 0.0

    def mark(self, sent: int) -> None:
        """So many attempts have been sent until now."""
        now_s = self._clock.elapsed_s
        if sent > self._sent:
            self._seconds, self._attempts = self._seconds + now_s - self._last_s, self._attempts + sent - self._sent
        self._sent, self._last_s = sent, now_s


class HoldoutReserve:
    """What the caps of one job have to leave for the holdout while it searches."""

    def __init__(self, options: Options, state: StudyState, session: Session, effort: StudyEffort) -> None:
        self._o, self._state, self._budget, self._clock = options, state, session.budget, session.clock
        self._p, self._effort = state.job, effort
        self._judges = Judges(state.job)
        self._pace = Pace(session.clock, _sent(effort.by_purpose))
        self._runs: dict[str, Runs] = {}
        self._begun: dict[str, Runs] = {}
        self._incumbent: Need | None = None
        self._incumbent_todo = 0
        self._other = Need()
        self._measured = Measured()
        self._searching, self.kept = False, (0.0, 0.0)
        self._recent: deque[tuple[float, float]] = deque(maxlen=UNDER_WAY)
        self._incumbent_s, self._recommended_s = 0.0, 0.0
        self._warm: defaultdict[str, Warm] = defaultdict(Warm)

    def reserve(self, rivals: Sequence[Rival] = (), *, running: bool = False) -> None:
        """Reserves enough of the caps for the holdout, by the observed runs; called before every wave.

        Args:
            rivals: who may be recommended beside the incumbent, first the one that is expected to be best.
            running: whether cells that were decided on before may still be running; the budget does not refuse them.
        """
        if (self._o.usd, self._o.calls, self._o.minutes) == (None, None, None):
            return
        report = self._learn()
        self._begun = {name: runs for name, runs in self._begun.items() if name not in self._state.known}
        today = None if report.incumbent is None else report.incumbent.candidate
        needs = [self._need_of(rival) for rival in rivals] if self._runs else []
        if report.recommended is not None and report.recommended.candidate != today:
            needs.append(need_of(self._p, self._runs[report.recommended.candidate]))
        self._other = reduce(Need.most, needs, Need())
        self._searching, self.kept = True, self._needed(self._other)
        if not running:
            self._recent.clear()
        self._recent.append(self.kept)
        usd, calls = (min(kept) for kept in zip(*self._recent, strict=True))
        left = search_share(self._o.calls, calls)
        self._budget.set_caps(search_share(self._o.usd, usd), None if left is None else int(left))
        if self._o.minutes is not None:
            self._incumbent_s, self._recommended_s = (self._member_s(m) for m in (report.incumbent, report.recommended))
            if report.incumbent == report.recommended:
                self._recommended_s = 0.0
            for rival in rivals[:1]:  # one without a run takes no time
                found = self._state.results.of(Split.SEARCH, rival.candidate.id)
                self._recommended_s = max(self._recommended_s, self._run_s(runs_of(rival.candidate, found.values())))
        self._narrow()

    def on_result(self, result: Result) -> None:
        """One more run of the search: a candidate that takes long has to leave more time, as it may be recommended."""
        self._warm[self._state.candidates[result.candidate].model].add(result)
        if not self._searching or not self._runs or result.candidate in self._runs or len(result.runs) > 1:
            return
        runs = self._begun.get(result.candidate)
        if runs is None:  # the first reads a prompt that is in no cache yet
            self._begun[result.candidate] = Runs(candidate=self._state.candidates[result.candidate])
            return
        runs.add(result)
        if runs.n >= FEWEST:
            self._narrow()

    def beyond_usd(self, usd: float) -> float:
        """What a candidate with such a cost of one run takes on the holdout beyond what is reserved for another."""
        return max(0.0, SAFETY * (usd - self._other.usd) * self._p.space.replicates * len(self._p.task.splits.holdout))

    def release(self) -> None:
        """The holdout evaluation begins: nothing is reserved any more."""
        self._learn()
        self._searching = False
        self._budget.set_caps(self._o.usd, self._o.calls)
        self._clock.reserve(0.0)

    def fit(self, members: Sequence[tuple[Member, int]], *, judged: bool = True) -> bool:
        """Whether so many more runs of each member, graded or only timed, can be expected to end within the caps."""
        self._measure()
        state, remaining_s = self._budget.seen, self._clock.remaining_s
        judging = self._measured.judging if judged else Judging()
        taken = [
            (need_of(self._p, self._runs[m.candidate]), self._run_s(self._runs[m.candidate]), n) for m, n in members
        ]
        usd = sum(runs * self._usd_per_run(need, judging) for need, _, runs in taken)
        usd += self._reservation_usd([need for need, _, _ in taken], judging)
        calls = sum(runs * self._calls_per_run(need, judging) for need, _, runs in taken)
        return (
            (state.cap_usd is None or state.spent_usd + state.reserved_usd + usd <= state.cap_usd)
            and (state.cap_calls is None or state.calls + state.reserved_calls + calls <= state.cap_calls)
            and (remaining_s is None or SAFETY * sum(run_s * runs for _, run_s, runs in taken) < remaining_s)
        )

    def runs_lacking(self, member: Member, known: Mapping[str, Result]) -> int:
        """Runs that a member still takes at most on the holdout, with these results of it."""
        return runs_lacking(self._p.task.splits.holdout, known, need_of(self._p, self._runs[member.candidate]).runs)

    def _learn(self) -> StudyReport:
        incumbent = None if self._p.incumbent is None else self._p.incumbent.id
        for name, evaluation in self._state.finished.items():
            if name not in self._runs:
                runs = self._runs[name] = runs_of(self._state.candidates[name], evaluation.results)
                if name == incumbent:
                    self._incumbent = need = need_of(self._p, runs)
                    known = self._state.results.of(Split.HOLDOUT, name)  # of an earlier run
                    self._incumbent_todo = runs_lacking(self._p.task.splits.holdout, known, need.runs)
        report = self._state.report()
        best = report.recommended
        if best is not None and best.candidate in self._state.stopped:  # an estimate
            found = self._state.stopped[best.candidate].results
            self._runs[best.candidate] = runs_of(self._state.candidates[best.candidate], found)
        self._measure()
        return report

    def _measure(self) -> None:
        effort = self._effort.by_purpose
        asked = effort.get(Purpose.PROGRAM, Effort())
        self._pace.mark(_sent(effort))
        self._measured = Measured(
            judging=self._judges.take(effort.get(Purpose.JUDGE, Effort())),
            retries=asked.attempts / asked.questions if asked.questions else 1.0,
            surplus=self._budget.seen.surplus,
        )

    def _narrow(self) -> None:
        """Leaves the search the time that the holdout does not need."""
        begun_s = max((self._run_s(runs) for runs in self._known_begun()), default=0.0)
        others = len(self._p.task.splits.holdout) * self._p.space.replicates * max(self._recommended_s, begun_s)
        self._clock.reserve(SAFETY * (self._incumbent_todo * self._incumbent_s + others))

    @property
    def last_usd(self) -> float:
        """What the last request of the search has to find in the budget, beyond what the others paid."""
        needs = [need for need, _ in self._needs(self._other)]
        return self._reservation_usd(needs, self._measured.judging) if needs else 0.0

    def _needed(self, other: Need) -> tuple[float, float]:
        """USD and calls of the holdout evaluation: the incumbent's runs, and those of the other."""
        needs, judging = self._needs(other), self._measured.judging
        if not needs:
            return 0.0, 0.0
        usd = sum(runs * self._usd_per_run(need, judging) for need, runs in needs)
        calls = sum(runs * self._calls_per_run(need, judging) for need, runs in needs)
        return usd + self._reservation_usd([need for need, _ in needs], judging), calls

    def _needs(self, other: Need) -> list[tuple[Need, int]]:
        """What a run takes and how many are to come: of the incumbent, and of the other.

        Before there is another it is taken to be as expensive as the incumbent.
        """
        if self._incumbent is not None and other == Need():
            other = self._incumbent
        incumbent = [] if self._incumbent is None else [(self._incumbent, self._incumbent_todo)]
        return [*incumbent, *([] if other == Need() else [(other, other.runs * len(self._p.task.splits.holdout))])]

    def _need_of(self, rival: Rival) -> Need:
        runs = runs_of(rival.candidate, rival.results)
        runs.sampled = runs.sampled or may_vary(rival.candidate)
        need = need_of(self._p, runs)
        return need if runs.n >= FEWEST else replace(need, usd=rival.usd)

    def _known_begun(self) -> list[Runs]:
        """Of the candidates that have not ended those with most runs, as far as these say what one takes.

        They are the nearest to their end. Of the others many were only looked at, and the slowest of them says nothing
        about which will be recommended.
        """
        most = max((runs.n for runs in self._begun.values()), default=0)
        return [runs for runs in self._begun.values() if runs.n >= max(FEWEST, most)]

    def _usd_per_run(self, need: Need, judging: Judging) -> float:
        return SAFETY * (need.usd + judging.usd)

    def _reservation_usd(self, needs: Sequence[Need], judging: Judging) -> float:
        """What the last request has to find in the budget."""
        return self._measured.surplus * max(judging.bound_usd, *(need.bound_usd for need in needs))

    def _calls_per_run(self, need: Need, judging: Judging) -> float:
        """Attempts of one run: as many as it asks for, until some failed."""
        expected = need.answers * self._measured.retries + judging.calls
        return SAFETY * expected if expected > need.answers + judging.judges else expected

    def _member_s(self, member: Member | None) -> float:
        return 0.0 if member is None else self._run_s(self._runs[member.candidate])

    def _run_s(self, runs: Runs) -> float:
        """Wall clock: its own runs at the job's concurrency, or what attempts took with all waiting, if more.

        Embedded models run one request at a time; on the holdout each prompt but the first is in the cache, as in the
        runs of a block but its first, or in those of the same model where the candidate has only few.
        """
        own, judging = runs.latencies_s or [0.0], self._measured.judging
        if self._p.models[runs.candidate.model].local:
            warm = runs.warm if runs.warm.n >= FEWEST else self._warm[runs.candidate.model]
            own_s = warm.seconds / warm.n if warm.n else median(own)
            if not judging.judges:
                return own_s
        else:
            own_s = fmean(own) / self._o.concurrency
        return max(own_s, self._calls_per_run(need_of(self._p, runs), judging) * self._pace.attempt_s)


def runs_of(candidate: Candidate, results: Iterable[Result]) -> Runs:
    """The sums over these results."""
    runs = Runs(candidate=candidate)
    for result in results:
        runs.add(result)
    return runs


def need_of(job: ResolvedJob, runs: Runs) -> Need:
    """What one more run takes, by those that were."""
    model, n = job.models[runs.candidate.model], max(1, runs.n)
    bare = CallRequest(model=model, messages=(), params=runs.candidate.request_params)
    read = 2 * runs.prompt_tokens
    prompt = None if bare.price is None else bare.price.reply_usd(Usage(input_tokens=read))
    return Need(
        usd=runs.usd / n,
        answers=max(job.predictors, runs.answers / n),
        bound_usd=worst_usd(bare, job.space.calls.timeout_s) + (prompt or 0.0),
        runs=job.space.replicates if runs.sampled else 1,
    )


def runs_lacking(examples: Iterable[Example], known: Mapping[str, Result], runs: int) -> int:
    """How many runs these examples still take at most, where each is run so often."""
    found = (known.get(example.id) for example in examples)
    return sum(runs if result is None or result.score is None else len(lacking(result, runs)) for result in found)


def _sent(effort: Mapping[Purpose, Effort]) -> int:
    return sum(found.attempts for found in effort.values())


def search_share(cap: float | None, holdout: float) -> float | None:
    """How much of a cap the search may use when the holdout needs `holdout` of it. None: no cap."""
    return None if cap is None else cap - min(holdout, MOST_RESERVED * cap)
