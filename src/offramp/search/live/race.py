"""The race of a live job: its pool, its waves, and what becomes of each candidate.

Waves are stored before they run. A run of the job first goes through the stored ones: cells that have a result are not
run again, and the race observes the same cells in the same order, so that it decides the same next wave as it would
have without the interruption. A candidate ends where all its examples were run, or where its own cells say that it is
surely behind the front (`behind.py`). Where a run of the job ends before, it is paused, and the next run goes on
with it.

Invariant: decisions depend on the seed, the pool and the observed waves; never on which request came back first.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from offramp.calls.failures import ModelNotFound
from offramp.errors import OfframpError
from offramp.evaluate.replicates import lacking, may_vary
from offramp.ids import derived_seed
from offramp.job.batching import runs_at_once, usual_wave
from offramp.job.session import Session
from offramp.program.sent import Sent
from offramp.records import Candidate, Evaluation, Example, Objective, Result, ResultState, Split
from offramp.search.holdout.reserve import HoldoutReserve
from offramp.search.live.allowance import SearchAllowance
from offramp.search.live.asking_again import AGAIN, AskingAgain
from offramp.search.live.behind import OBJECTIVES, LiveRacing, block_ends
from offramp.search.live.pool import Pool
from offramp.search.live.scheduler import Cell, Scheduler
from offramp.search.live.sizes import BLOCKS, FIRST_SHARE, LEAST_BLOCK, LEAST_WAVE, LOOKS_SHARE, RECOMMEND
from offramp.search.outcome import Options
from offramp.search.progress import Reporter
from offramp.search.racing import OPEN_BLOCK, Block, DeclaredFront, Planner, Race, RaceObjective, RaceSettings, Wave
from offramp.search.racing.kernel import Kernel
from offramp.search.sampling.optuna_study import OptunaStudy, Seen
from offramp.search.sampling.trial_queue import TrialQueue
from offramp.search.state import StudyState
from offramp.stats.pareto import Bools, Floats
from offramp.store.aggregates import aggregate_of
from offramp.store.candidates import CandidateState
from offramp.store.ledger import StudyEffort
from offramp.store.studies import ParkedModel
from offramp.store.waves import WaveRow
from offramp.study.domain.likely import estimate_json
from offramp.study.domain.objectives import utility, violations


@dataclass(slots=True, kw_only=True)
class LiveRace:
    """The race of one run of a job: `next`, `run` and `observed` are what `run_waves` asks for.

    Attributes:
        before_next: awaited before each new decision; may change the job's texts.
        on_missing: takes a model out of the job that no longer answers; raises where the job needs it.
    """

    options: Options
    session: Session
    state: StudyState
    study: OptunaStudy
    reserve: HoldoutReserve
    reporter: Reporter
    effort: StudyEffort
    before_next: Callable[[], Awaitable[None]]
    on_missing: Callable[[ModelNotFound], None]
    race: Race = field(init=False)
    pool: Pool = field(init=False)
    queue: TrialQueue = field(init=False)
    planner: Planner = field(init=False)
    allowance: SearchAllowance = field(init=False)
    _stored: deque[WaveRow] = field(init=False)
    _known: list[tuple[int, list[str]]] = field(init=False, default_factory=list)
    _entered: int = field(init=False, default=0)
    _scheduler: Scheduler = field(init=False)
    _behind: LiveRacing | None = field(init=False)
    _examples: Sequence[Example] = field(init=False)
    _where: Mapping[str, int] = field(init=False)
    _looked: dict[int, int] = field(init=False, default_factory=dict)
    _parked: set[int] = field(init=False, default_factory=set)
    _rivals: dict[int, str] = field(init=False, default_factory=dict)
    _complete: set[str] = field(init=False, default_factory=set)
    _in_waves: frozenset[int] = field(init=False)
    _again: AskingAgain = field(init=False)
    _cells_again: int = field(init=False, default=0)
    _observed: defaultdict[int, Bools] = field(init=False)

    def __post_init__(self) -> None:
        job, state = self.state.job, self.state
        self._examples = job.task.splits.search
        self._observed = defaultdict(lambda: np.zeros(len(self._examples), dtype=bool))
        self._where = {example.id: i for i, example in enumerate(self._examples)}
        part, seed = job.space.search.race, self.options.seed
        self._behind = None if part is None else LiveRacing(part, self._examples, seed)
        self.race = Race(
            objectives=[_race_objective(o) for o in state.objectives], n_examples=len(self._examples),
            seed=derived_seed(seed, "race"), order=_shared_order(self._examples, seed),
        )  # fmt: skip
        self.queue = TrialQueue(state)
        self.pool = Pool(
            state=state, study=self.study, race=self.race, queue=self.queue, trials=self.options.trials, seed=seed,
            seen=self._seen,
        )  # fmt: skip
        self._again = AskingAgain(
            examples=self._examples, replicates=job.space.replicates,
            observed=lambda index: {result.example: result for result in self._observed_results(index)},
            sampled=lambda index: may_vary(self.pool.candidates[index]),
        )  # fmt: skip
        self.allowance = SearchAllowance(
            options=self.options, state=state, reserve=self.reserve, effort=self.effort, clock=self.session.clock,
            race=self.race, candidates=self.pool.candidates, again=self._again.at_most,
        )  # fmt: skip
        usual = usual_wave(job, self.options.calls) or max(LEAST_WAVE, 2 * self.options.concurrency)
        wave = job.space.search.wave or usual
        self.planner = Planner(
            race=self.race,
            allowance=self.allowance,
            wave=wave,
            joining=self,
            gate=self._may_complete,
            whole=part is None,
            given=int(job.incumbent is not None and job.incumbent.id in state.finished),
            looks_share=LOOKS_SHARE,
            again=self._again.at_most,
            runs=job.space.replicates,
        )
        self._stored = deque(state.waves)
        self._in_waves = frozenset(index for row in state.waves for index, _ in row.cells)
        self._scheduler = Scheduler(
            self.session.evaluator, concurrency=runs_at_once(job, self.options.concurrency),
            max_failed_share=job.space.calls.max_failed_share, usual=len(self._examples),
            on_result=self._on_result, on_missing=self._missing,
        )  # fmt: skip
        if not self._stored:
            self._enter_tried()

    # ----------------------------------------------------------------------------------------------- decisions

    async def next(self) -> Wave | None:
        """The next wave: a stored one, or a new one once it is stored."""
        if self._stored:
            return self._restored(self._stored.popleft())
        self.session.clock.check()
        self.reserve.reserve()
        await self.before_next()
        self.pool.fill()
        self._observe_known()
        if self.exhausted:  # known only now, in a space that the incumbent alone fills: proposals may be due
            await self.before_next()
            self.pool.fill()
            self._observe_known()
        if not self.planner.number:
            self.race.begin()
        self._plan()
        wave = self._wave_again(self.allowance().left is None) or self.planner.next()
        self._observe_known()
        wave = wave or self._wave_again(everyone=True)
        if wave is None:
            return None
        self.state.keep_wave(self._row(wave))
        self.pool.written()
        self._known = []
        self._begin(wave)
        return wave

    def _wave_again(self, everyone: bool) -> Wave | None:
        """Cells of candidates with all their first runs that are run again, as far as they can be; None without any.

        Args:
            everyone: whether also of those that are not on the declared front.
        """
        due = {index: found for index in range(len(self.pool.candidates)) if (found := self._due(index))}
        if not due:
            return None
        allowance, blocks = self.allowance(), list[Block]()
        front = [index for index in self.race.declare(refit=False).front if index in due]
        left = math.inf if allowance.left is None else allowance.left + 1e-9
        for index in dict.fromkeys([*front, *(due if everyone else ())]):
            takes = allowance.units(index, len(due[index]) * (self._again.replicates - 1))
            if takes <= left:
                blocks.append(Block(index=index, positions=due[index]))
                left -= takes
        if not blocks:
            return None
        self.planner.number += 1
        return Wave(number=self.planner.number - 1, purpose=AGAIN, blocks=tuple(blocks))

    def _due(self, index: int) -> tuple[int, ...]:
        """Positions that a candidate is to be run on again; empty where it has ended, or lacks a first run."""
        if self._again.replicates == 1 or index in self.race.closed or not self.race.complete(index):
            return ()
        ended = self.pool.candidates[index].id in self.state.known
        return () if ended or self._waiting(index) else self._again.due(index)

    def join(self, count: int) -> Sequence[Mapping[str, Any]]:
        """New candidates, proposed from what is expected of those that were tried; they are in the pool already."""
        self.pool.join(count)
        return ()

    def adopt(self) -> None:
        """The job has other texts or models."""
        self.pool.adopt(self.state.job)

    @property
    def exhausted(self) -> bool:
        """Whether every candidate of the space is in the pool and was looked at."""
        return bool(self.pool.exhausted and all(self.race.cells.count[i] for i in self.race.open))

    def ended_because(self) -> str:
        """The word for why there is no next wave."""
        more = len(self.race.open) or self._any_due() or (self.pool.room > 0 and not self.pool.exhausted)
        if more and (cap := self._reached()) is not None:
            return cap
        return "space_exhausted" if self.pool.exhausted else "trials"

    def _any_due(self) -> bool:
        return any(self._due(index) for index in range(len(self.pool.candidates)))

    def _reached(self) -> str | None:
        """The cap that leaves no room; None where none does."""
        options = self.options
        caps = {"budget_usd": options.usd, "budget_calls": options.calls, "minutes": options.minutes}
        stated = [word for word, cap in caps.items() if cap is not None]
        return stated[0] if len(stated) == 1 else self.allowance.tightest() if stated else None

    def _plan(self) -> None:
        """Sizes of blocks, from how many cells there may be for how many candidates."""
        part, j = self.state.job.space.search.race, len(self._examples)
        if part is None:
            self.race.settings = RaceSettings(first=j, block=j)
            return
        total, n = self.allowance().total, max(1, len(self.pool.candidates))
        first = part.block or max(LEAST_BLOCK, -(-j // BLOCKS))
        block = first
        if total is not None and self.pool.listed:
            first = max(1, min(first, round(FIRST_SHARE * total / n)))
            block = max(1, first // 2)
        elif total is not None or self.options.minutes is not None:
            first = block = LEAST_BLOCK if self.pool.listed else OPEN_BLOCK
        self.race.settings = RaceSettings(first=min(j, first), block=min(j, block), recommend=RECOMMEND)

    def _may_complete(self, index: int) -> bool:
        """Whether a candidate is worth its last cells: it keeps the constraints so far, and can be verified."""
        if self.race.complete(index):
            return True
        missed = {name for name, by in self._missed(index).items() if by > 0}
        return missed <= {"regressions"} and self.allowance.fits(index)  # their bound is wide before the last cell

    def _missed(self, index: int) -> dict[str, float]:
        """By how much a candidate misses each constraint, by its cells so far."""
        candidate, results = self.pool.candidates[index], self._observed_results(index)
        seen = aggregate_of(results)
        return violations(self.state.job.space.constraints, seen, self.state.regressed(candidate, results))

    def _seen(self) -> list[Seen]:
        """What Optuna learns from: every candidate with a known cell, as it is expected to be."""
        known = np.flatnonzero(self.race.cells.known)
        if not len(known):
            return []
        expected, single = self.race.expected(), self.state.job.space.search.mode == "utility"
        return [
            Seen(
                params=self.pool.candidates[i].params,
                values=[utility(self.state.objectives, expected[i].tolist())] if single else expected[i].tolist(),
                constraints=self._missed(int(i)),
            )
            for i in known
        ]

    # ------------------------------------------------------------------------------------------------ the pool

    def _enter_tried(self) -> None:
        """Candidates of earlier runs whose waves are not stored, and the incumbent."""
        rows = sorted(self.state.tried.values(), key=lambda row: (row.number, row.id))
        for candidate in [*(row.candidate for row in rows), *(row.candidate for row in self.state.paused.values())]:
            if candidate.id not in self.pool.places:
                self.pool.enter(candidate)

    def _observe_known(self) -> None:
        """Results that new candidates of the pool have already, from another study or an earlier run."""
        for index in range(self._entered, len(self.pool.candidates)):
            found = self.state.results.of(Split.SEARCH, self.pool.candidates[index].id)
            ids = [e.id for e in self._examples if e.id in found and _counts(found[e.id])]
            if self.pool.candidates[index].id in self.state.finished:  # what failed has been run again by now
                ids = [e.id for e in self._examples]
            if ids:
                self._known.append((index, ids))
                self._observe(index, ids)
            self._ended(index)
        self._entered = len(self.pool.candidates)

    def _restored(self, row: WaveRow) -> Wave:
        """A stored wave, with what joined before it."""
        for place, params in enumerate(row.joined, start=len(self.pool.candidates)):
            self.pool.enter(self._candidate(params), first=place in row.first)
        self.pool.written()
        for index, ids in row.known:
            self._observe(index, ids)
            self._ended(index)
        self._entered = len(self.pool.candidates)
        if not row.number:
            self.race.begin()
        blocks = [Block(index=i, positions=tuple(self._where[name] for name in ids)) for i, ids in row.cells]
        wave = Wave(number=row.number, purpose=row.purpose, blocks=tuple(blocks))
        self.race.request(blocks)
        self.race.kernels = [_kernel_of(kernel) for kernel in row.model["kernels"]]
        self.race.fitted_at = row.model["fitted_at"]
        self.planner.number = row.number + 1
        self._begin(wave)
        self._close(self.state.study.details.parked)
        return wave

    def _candidate(self, params: Mapping[str, Any]) -> Candidate:
        incumbent = self.state.job.incumbent
        if incumbent is not None and dict(incumbent.params) == dict(params):
            return incumbent
        return self.state.job.candidate(params)

    def _row(self, wave: Wave) -> WaveRow:
        ids = [example.id for example in self._examples]
        kernels = [_kernel_json(kernel) for kernel in self.race.kernels]
        return WaveRow(
            number=wave.number, purpose=wave.purpose,
            cells=[(block.index, [ids[p] for p in block.positions]) for block in wave.blocks],
            joined=self.pool.unwritten, first=self.pool.unwritten_first, known=self._known,
            model={"kernels": kernels, "fitted_at": self.race.fitted_at},
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------------- cells

    async def run(self, wave: Wave) -> list[Floats]:
        """The values of a wave's cells, once those without a result were run."""
        cells, again = list[Cell](), wave.purpose == AGAIN
        for block in wave.blocks:
            candidate = self.pool.candidates[block.index]
            known = self.state.results.of(Split.SEARCH, candidate.id)
            if block.index in self.race.closed:
                continue
            for position in block.positions:
                example = self._examples[position]
                result = known.get(example.id)
                if again:
                    cells += [(candidate, example)] if lacking(result, self._again.replicates) else []
                elif result is None or not _counts(result):
                    cells.append((candidate, example))
                else:
                    self.state.count_reused(Split.SEARCH, [result])
        await self._scheduler.run(cells, again=again)
        return [self._values(block, again=again) for block in wave.blocks]

    def observed(self, wave: Wave) -> None:
        """What a wave's results mean for its candidates."""
        for index in dict.fromkeys(block.index for block in wave.blocks):
            positions = [p for b in wave.blocks if b.index == index for p in b.positions]
            again = wave.purpose == AGAIN
            if again:
                self._again.end(index, positions, ran=index not in self._parked)
                self.allowance.again_pending -= len(positions) * (self._again.replicates - 1)
            self._observed[index][positions] = True
            results = self._results(index, positions)
            if results and index not in self._parked:
                self.state.answers(self.pool.candidates[index].params)
                self._reopen()
            runs = (run for result in results for run in (result.runs[1:] if again else result.runs))
            self.allowance.observe(self.pool.candidates[index], runs)
            self.allowance.observed(0 if again else len(positions))
            self._ended(index)
        self.reporter.publish()

    def pause(self) -> None:
        """Keeps what is known of candidates that have not ended, so that a study shows them and a later run goes on."""
        estimates = self._estimates()
        for index, candidate in enumerate(self.pool.candidates):
            name = candidate.id
            if name in self.state.known or name not in self.state.begun or index in self.race.closed:
                continue
            evaluation = self._evaluation(index)
            if evaluation.results:
                more = {"open": True, **({"estimate": estimates[index]} if index in estimates else {})}
                once = ", not all as often as wanted" if self._due(index) else ""
                reason = f"{evaluation.n} of {len(self._examples)} examples run{once}"
                with suppress(OfframpError):
                    self._end(index, evaluation, reason, paused=more)

    def _estimates(self) -> dict[int, dict[str, Any]]:
        """What is expected of those members of the declared front that have not ended, by index."""
        if not len(self.race.open) and not self._any_due():
            return {}
        declared = self.race.declare()
        return {
            i: self._estimate(i, declared)
            for i in declared.front
            if self.pool.candidates[i].id not in self.state.known
            and not any(missed > 0 for missed in self._missed(i).values())
        }

    def _estimate(self, index: int, declared: DeclaredFront) -> dict[str, Any]:
        """As a candidate's record keeps it. Another statistic of seconds than the mean is to it as in its own cells."""
        own = aggregate_of(self._observed_results(index))
        mean, sd = dict[str, float](), dict[str, float]()
        for objective in self.state.objectives:
            found, factor = declared.estimates[index][OBJECTIVES[objective.name].name], 1.0
            if objective.name == "latency" and own.latency_mean_s:
                factor = (own.latency_s(objective.statistic) or own.latency_mean_s) / own.latency_mean_s
            mean[objective.name], sd[objective.name] = factor * found.mean, factor * found.sd
        return estimate_json(n=own.n, of=len(self._examples), trust=declared.trust[index], mean=mean, sd=sd)

    def _begin(self, wave: Wave) -> None:
        self.state.begun |= {self.pool.candidates[block.index].id for block in wave.blocks}
        if wave.purpose == AGAIN:
            self.allowance.again_pending += wave.size * (self._again.replicates - 1)
            self._cells_again += wave.size
            for block in wave.blocks:
                self._again.begin(block.index)
        self.reporter.racing(len(self.state.begun), int(self.race.cells.count.sum()) + self._cells_again)

    def _observe(self, index: int, ids: Sequence[str]) -> None:
        """Results that were there before the candidate joined."""
        block, name = (
            Block(index=index, positions=tuple(self._where[name] for name in ids)),
            self.pool.candidates[index].id,
        )
        if index not in self._in_waves and (
            name in self.state.finished or self._again.is_settled(self.state.results.of(Split.SEARCH, name))
        ):
            self._again.settle(index)
        self.race.request([block])
        self.race.observe(index, block.positions, self._values(block))
        self._observed[index][list(block.positions)] = True
        results = self._results(index, block.positions)
        self.allowance.observe(self.pool.candidates[index], (run for result in results for run in result.runs))
        self.allowance.observed(len(ids))
        if self.pool.candidates[index].id not in self.state.tried:
            self.state.count_reused(Split.SEARCH, results)

    def _values(self, block: Block, *, again: bool = False) -> Floats:
        """Shape (cells, objectives); NaN where there is no result that counts. `again`: means of all runs."""
        known = self.state.results.of(Split.SEARCH, self.pool.candidates[block.index].id)
        rows = [known.get(self._examples[position].id) for position in block.positions]
        if not again:
            seen = self._again.seen[block.index]
            rows = [
                row if row is None or seen[p] else row.first_run for row, p in zip(rows, block.positions, strict=True)
            ]
        return np.array([[_value(row, o) for o in self.state.objectives] for row in rows], dtype=float)

    def _results(self, index: int, positions: Sequence[int]) -> list[Result]:
        known = self.state.results.of(Split.SEARCH, self.pool.candidates[index].id)
        seen, pairs = self._again.seen[index], [(self._examples[position].id, position) for position in positions]
        return [known[name] if seen[p] else known[name].first_run for name, p in pairs if name in known]

    def _observed_results(self, index: int) -> list[Result]:
        """Results that the race knows."""
        return self._results(index, np.flatnonzero(self._observed[index]).tolist())

    def _evaluation(self, index: int) -> Evaluation:
        name = self.pool.candidates[index].id
        known = self.state.results.of(Split.SEARCH, name)
        return Evaluation(candidate=name, results=tuple(known[e.id] for e in self._examples if e.id in known))

    def _on_result(self, result: Result) -> None:
        self.allowance.ran(max(1, len(result.runs) - 1))
        self.reserve.on_result(result)
        self.reporter.on_result(result)

    def _missing(self, error: ModelNotFound) -> Collection[str]:
        """A model no longer answers: its candidates are closed; returns their ids."""
        if any(error.model == one.model for one in self.state.job.parked):  # it was asked by more at the same time
            return {self.pool.candidates[index].id for index in self._parked}
        self.on_missing(error)
        closed = self._close(self.state.job.parked)
        if closed:
            reason = f"{type(error).__name__}: {error}"
            self.study.add_failed(self.pool.candidates[closed[0]].params, reason)
        return {self.pool.candidates[index].id for index in closed}

    def _close(self, parked: Sequence[ParkedModel]) -> list[int]:
        """Closes the candidates that need one of these models and have not ended; they do not count as run."""
        for index, candidate in enumerate(self.pool.candidates):
            if candidate.id not in self.state.known and any(one.is_used(candidate.params) for one in parked):
                self.race.closed.add(index)
                self._parked.add(index)
                self.state.begun.discard(candidate.id)
        self.pool.lost = len(self._parked)
        return sorted(self._parked)

    def _reopen(self) -> None:
        """Goes on with candidates whose models answer again."""
        parked = self.state.study.details.parked
        for index in sorted(self._parked):
            if not any(one.is_used(self.pool.candidates[index].params) for one in parked):
                self._parked.discard(index)
                self.race.closed.discard(index)
                self.race.cells.forget(index)
                self._observed[index] &= self.race.cells.requested[index]
        self.pool.lost = len(self._parked)

    # ------------------------------------------------------------------------------------------------- endings

    def _ended(self, index: int) -> None:
        """Ends a candidate that is complete, or surely behind the front."""
        candidate = self.pool.candidates[index]
        complete = self.race.complete(index)
        if candidate.id in self.state.known:
            if candidate.id not in self.state.finished:
                self.race.closed.add(index)
            elif index not in self._in_waves or (complete and not self._waiting(index) and self._again.settled(index)):
                self._complete.add(candidate.id)
            return
        if index in self._parked:
            return
        if index not in self._rivals and not complete and (rival := self._ahead(index)) is not None:
            self._rivals[index] = rival
            self.race.closed.add(index)
        if self._waiting(index):
            return
        if index in self._rivals:
            self._end(index, self._evaluation(index), f"{self._rivals[index]} is ahead of it in every objective")
        elif complete and self._again.settled(index):
            self._end(index, self._evaluation(index), None)

    def _waiting(self, index: int) -> bool:
        """Whether some of a candidate's cells are on their way."""
        return bool((self.race.cells.requested[index] & ~self._observed[index]).any())

    def _ahead(self, index: int) -> str | None:
        """The member of the front that a candidate is surely behind; looked at once in every block.

        Of the complete candidates those count that the race knows to be complete: while a run goes through the waves of
        an earlier one, candidates are finished that were not when these waves were decided.
        """
        if self._behind is None:
            return None
        part = self.state.job.space.search.race
        n = int(self._observed[index].sum())
        rung = sum(end <= n for end in block_ends(len(self._examples), None if part is None else part.block))
        if rung <= self._looked.get(index, 0):
            return None
        self._looked[index] = rung
        candidate = self.pool.candidates[index]
        evaluation = Evaluation(candidate=candidate.id, results=tuple(self._observed_results(index)))
        others = {name: found for name, found in self.state.finished.items() if name in self._complete}
        return self._behind.stopped_by(
            candidate, evaluation, self.state.objectives, rivals=self.state.rivals(self._complete), others=others
        )

    def _end(
        self, index: int, evaluation: Evaluation, stopped: str | None, *, paused: Mapping[str, Any] | None = None
    ) -> None:
        """Keeps a candidate as it ended, and tells Optuna; `paused`: what its record says if a later run goes on."""
        state, candidate = self.state, self.pool.candidates[index]
        sent = as_sent(self.session.evaluator.sent(candidate.id), evaluation)
        ended = CandidateState.COMPLETE if stopped is None else CandidateState.STOPPED
        twin = None if paused else state.twin_of(sent.get("requests"), ended)
        if twin is not None:
            self._twin(index, twin)
            return
        before = state.paused.get(candidate.id)
        origin = {**self.queue.origin(candidate), **sent, **(paused or {})}
        number = self.study.next_number if before is None or stopped is None else before.number
        if stopped is not None:
            state.keep(candidate, evaluation, number, origin=origin, stopped_because=stopped)
            if before is None:
                self.study.add(candidate.params, stopped_attributes(candidate, evaluation, stopped), None)
            return
        state.values(candidate, evaluation)
        state.fix_scales(evaluation)  # where the incumbent could not: its model no longer answers
        values, attributes, constraints = state.trial_outcome(candidate, evaluation)
        more = {} if before is None else {"continues": before.number}
        state.keep(candidate, evaluation, number, origin=origin)
        self._complete.add(candidate.id)
        self.study.add(candidate.params, {**attributes, **more}, values, constraints)

    def _twin(self, index: int, twin: str) -> None:
        """A candidate that turned out to send what another sends: it is the same candidate."""
        state, candidate = self.state, self.pool.candidates[index]
        state.twins[candidate.id] = twin
        self.race.closed.add(index)
        first = state.first_trial(twin)
        if twin in state.stopped:
            attributes = stopped_attributes(candidate, state.stopped[twin], f"as trial {first}")
            self.study.add(candidate.params, {**attributes, "duplicate_of": first}, None)
            return
        values, attributes, missed = state.trial_outcome(candidate, state.finished[twin])
        self.study.add(candidate.params, {**attributes, "duplicate_of": first}, values, missed)


def as_sent(sent: Sent | None, evaluation: Evaluation) -> dict[str, Any]:
    """What a candidate's record keeps of its requests; `requests` where equal ones make it the same candidate."""
    if sent is None:
        return {}
    fingerprint = sent.fingerprint([result.example for result in evaluation.results])
    found = {"requests": fingerprint, "sent": sent.other_than_stated()}
    return {name: value for name, value in found.items() if value}


def stopped_attributes(candidate: Candidate, evaluation: Evaluation, reason: str) -> dict[str, object]:
    """What Optuna keeps of a trial without values."""
    return {
        "candidate": candidate.id,
        "params": dict(candidate.params),
        "n": evaluation.n,
        "n_failed": len(evaluation.results) - evaluation.n,
        "stopped_because": reason,
    }


def _race_objective(objective: Objective) -> RaceObjective:
    return replace(OBJECTIVES[objective.name], weight=objective.weight, scale=objective.scale)


def _shared_order(examples: Sequence[Example], seed: int) -> list[int]:
    """Positions in one seeded order; examples of one group follow each other."""
    order = list(range(len(examples)))
    random.Random(derived_seed(seed, "race")).shuffle(order)
    where: dict[object, int] = {}
    for position in order:
        example = examples[position]
        where.setdefault(example.id if example.group is None else ("", example.group), len(where))
    return sorted(order, key=lambda p: where[examples[p].id if examples[p].group is None else ("", examples[p].group)])


def _counts(result: Result) -> bool:
    return result.state is not ResultState.INFRASTRUCTURE_ERROR


def _value(result: Result | None, objective: Objective) -> float:
    if result is None or not _counts(result):
        return float("nan")
    value = {"quality": result.score, "cost": result.cost_usd, "latency": result.latency_s}[objective.name]
    return float("nan") if value is None else float(value)


def _kernel_json(kernel: Kernel | None) -> dict[str, Any] | None:
    if kernel is None:
        return None
    return {
        "shared": kernel.shared, "own": kernel.own, "mixed": kernel.mixed, "irrelevance": kernel.irrelevance.tolist()
    }  # fmt: skip


def _kernel_of(found: Mapping[str, Any] | None) -> Kernel | None:
    if found is None:
        return None
    return Kernel(**{**found, "irrelevance": np.asarray(found["irrelevance"], dtype=float)})
