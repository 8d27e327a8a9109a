"""What a search may still use of its caps, in cells, USD or seconds, whichever is tightest.

Used is counted from the results that the race has observed, and what is on its way from what a cell usually takes, so
that it does not matter which reply came first. Only time is read from the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from offramp.job.batching import paid_share
from offramp.job.clock import Clock
from offramp.records import Candidate, Purpose, Replicate, Result, ResultState, Usage
from offramp.search.holdout.reserve import HoldoutReserve
from offramp.search.judging import Judges
from offramp.search.live.seconds import Seconds
from offramp.search.outcome import Options
from offramp.search.racing import Allowance, Race
from offramp.search.state import StudyState
from offramp.stats.pareto import Floats, Ints
from offramp.store.ledger import Effort, StudyEffort

MOST_CELLS = 1e9
FEWEST = 3
"""Cells of a candidate that say what one costs; before, it is what one of its model does."""


@dataclass(slots=True)
class _Sums:
    """Sums over observed cells."""

    n: int = 0
    usd: float = 0.0
    priced: int = 0
    answers: int = 0

    def add(self, result: Result | Replicate) -> None:
        self.n += 1
        self.answers += result.calls + result.cached_calls
        if result.cost_usd is not None:
            self.usd += result.cost_usd
            self.priced += 1


@dataclass(slots=True, kw_only=True)
class SearchAllowance:
    """What remains for the search of one job.

    Attributes:
        candidates: by index in the race.
        again: runs that a candidate takes at most beyond its cells, before it is complete.
        again_pending: runs on their way of cells that were run before, by index.
        runs: that this run of the job has made so far, the incumbent's included.
    """

    options: Options
    state: StudyState
    reserve: HoldoutReserve
    effort: StudyEffort
    clock: Clock
    race: Race
    candidates: Sequence[Candidate]
    again: Callable[[int], int]
    again_pending: Counter[int] = field(default_factory=Counter)
    runs: int = 0
    _judges: Judges = field(init=False)
    _seconds: Seconds = field(init=False)
    _all: _Sums = field(init=False, default_factory=_Sums)
    _usage: Usage = field(init=False, default_factory=Usage)
    _by_candidate: dict[str, _Sums] = field(init=False, default_factory=dict)
    _by_model: dict[str, _Sums] = field(init=False, default_factory=dict)
    _calls: float = field(init=False, default=0.0)
    _usd: float = field(init=False, default=0.0)
    _observed: Counter[int] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        self._judges = Judges(self.state.job)
        self._seconds = Seconds([name for name, model in self.state.job.models.items() if model.local])

    def observe(self, candidate: Candidate, results: Iterable[Result | Replicate]) -> None:
        """Counts runs that the race knows from here on."""
        judging = self._judges.take(self.effort.by_purpose.get(Purpose.JUDGE, Effort()))
        for result in results:
            if result.state is ResultState.INFRASTRUCTURE_ERROR:
                self._calls += result.calls
                continue
            for sums in (
                self._all, self._by_candidate.setdefault(candidate.id, _Sums()),
                self._by_model.setdefault(candidate.model, _Sums()),
            ):  # fmt: skip
                sums.add(result)
            self._usage += result.usage
            self._seconds.add(candidate, result)
            answers = result.calls + result.cached_calls
            asked = result.calls / answers if answers else 0.0
            self._calls += result.calls + (judging.judges if asked else 0)
            self._usd += asked * (paid_share(self.state.job, candidate.model) * (result.cost_usd or 0.0) + judging.usd)

    def observed(self, index: int, cells: int) -> None:
        """So many cells more of a candidate have come back."""
        self._observed[index] += cells

    def ran(self, runs: int) -> None:
        """So many runs more were made now."""
        self.runs += runs

    @property
    def pending(self) -> int:
        """Cells that were requested and have not come back."""
        return int(self._pending_each().sum())

    def _pending_each(self) -> Ints:
        """Shape (n,): those of each candidate."""
        count = self.race.cells.count
        return count - np.array([self._observed[i] for i in range(len(count))], dtype=np.int64)

    def usd_of(self, index: int) -> float:
        """What a run of a candidate is expected to cost when it is asked directly, its judge left out."""
        return self._usd_of(self.candidates[index])

    def __call__(self) -> Allowance:
        """What may still be used now: of the cap that is nearest."""
        found = self._by_cap()
        return found[self._nearest(found)] if found else Allowance()

    def reached(self) -> str | None:
        """The word for the cap that leaves no room, or the least; None without a cap."""
        caps = {
            "budget_usd": self.options.usd, "budget_calls": self.options.calls, "minutes": self.options.minutes
        }  # fmt: skip
        stated = [word for word, cap in caps.items() if cap is not None]
        return stated[0] if len(stated) == 1 else self._nearest(self._by_cap()) if stated else None

    def _nearest(self, found: Mapping[str, Allowance]) -> str:
        return min(found, key=lambda word: found[word].cells(found[word].left or 0.0))

    def _by_cap(self) -> dict[str, Allowance]:
        options, found = self.options, dict[str, Allowance]()
        kept_usd, kept_calls = self.reserve.kept
        pending = self.pending + self.again_pending.total()
        judging = self._judges.take(self.effort.by_purpose.get(Purpose.JUDGE, Effort()))
        if options.calls is not None:
            each = self._answers_each() + judging.judges
            total = options.calls - kept_calls - self._other_calls()
            found["budget_calls"] = Allowance(total=total / each, left=(total - self._calls) / each - pending)
        if options.usd is not None:
            unit = self._usd_each(judging.usd)
            typical = float(np.median(unit)) if len(unit) else 0.0
            total = options.usd - kept_usd - self.reserve.last_usd - self._other_usd()
            under_way = float(self._pending_each() @ unit) + sum(n * unit[i] for i, n in self.again_pending.items())
            left = total - self._usd - under_way
            found["budget_usd"] = Allowance(total=total, left=left, unit=unit if typical > 0 else None)
        if options.minutes is not None:
            found["minutes"] = self._of_time(pending)
        return found

    def _of_time(self, pending: int) -> Allowance:
        """In cells; in seconds where models of this machine read prompts."""
        left_s = max(0.0, (self.clock.remaining_s or 0.0) - self.clock.reserved_s)
        each_s = self.clock.elapsed_s / self.runs if self.runs else 0.0
        if each_s <= 0 or (left := left_s / each_s - pending) >= MOST_CELLS:
            return Allowance(left=MOST_CELLS)
        if not self._seconds.known:
            return Allowance(total=self._observed.total() + pending + max(0.0, left), left=left)
        unit, reading = self._seconds.each(self.candidates, each_s)
        total = self.clock.elapsed_s + left_s
        return Allowance(total=total, left=left_s - pending * each_s, unit=unit, reading=reading)

    def fits(self, index: int) -> bool:
        """Whether a candidate can be completed and then evaluated on the holdout, with what is left of the money."""
        allowance = self._by_cap().get("budget_usd")
        if allowance is None or allowance.unit is None:
            return True
        unit = float(self._usd_each(0.0)[index])
        lacks = len(self.race.order) - int(self.race.cells.count[index]) + self.again(index)
        directly = unit / paid_share(self.state.job, self.candidates[index].model)
        return self.reserve.beyond_usd(directly) + lacks * unit <= (allowance.left or 0.0)

    def _answers_each(self) -> float:
        return max(float(self.state.job.predictors), self._all.answers / self._all.n if self._all.n else 0.0)

    def _usd_each(self, judging_usd: float) -> Floats:
        """Shape (n,): USD of a cell of each candidate, its judge included."""
        shares = {name: paid_share(self.state.job, name) for name in {c.model for c in self.candidates}}
        return np.array([shares[c.model] * self._usd_of(c) + judging_usd for c in self.candidates])

    def _usd_of(self, candidate: Candidate) -> float:
        """By its own runs; else by those of its model; else by all, at the price of its model."""
        own, model = self._by_candidate.get(candidate.id), self._by_model.get(candidate.model)
        for sums in (own if own is not None and own.priced >= FEWEST else None, model):
            if sums is not None and sums.priced:
                return sums.usd / sums.priced
        if not self._all.n:
            return 0.0
        price = self.state.job.models[candidate.model].price
        usd = None if price is None else price.cost_usd(self._usage)
        if usd is not None:
            return usd / self._all.n
        return self._all.usd / self._all.priced if self._all.priced else 0.0

    def _other_calls(self) -> float:
        """Attempts that were neither a candidate's nor its judge's: proposals."""
        return sum(e.attempts for p, e in self.effort.by_purpose.items() if p not in (Purpose.PROGRAM, Purpose.JUDGE))

    def _other_usd(self) -> float:
        prices = {name: model.price for name, model in self.state.job.models.items()}
        used: list[Mapping[str, object]] = [
            e.usage for p, e in self.effort.by_purpose.items() if p not in (Purpose.PROGRAM, Purpose.JUDGE)
        ]
        costs = [
            price.cost_usd(usage) or 0.0  # type: ignore[arg-type]
            for by_model in used
            for name, usage in by_model.items()
            if (price := prices.get(name)) is not None
        ]
        return sum(costs)
