"""The race of a live job: its pool, its waves, and what becomes of each candidate.

Waves are stored before they run. A run of the job first goes through the stored ones: cells that have a result are not
run again, and the race observes the same cells in the same order, so that it decides the same next wave as it would
have without the interruption.

Invariant: decisions depend on the seed, the pool and the observed waves; never on which request came back first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from offramp.calls.failures import ModelNotFound
from offramp.errors import OfframpError
from offramp.evaluate.replicates import lacking
from offramp.ids import derived_seed
from offramp.job.batching import runs_at_once, usual_wave
from offramp.job.session import Session
from offramp.records import Candidate, Objective, Result, Split
from offramp.search.holdout.reserve import HoldoutReserve, Rival
from offramp.search.live.allowance import SearchAllowance
from offramp.search.live.asking_again import AGAIN, wave_again
from offramp.search.live.behind import OBJECTIVES, StoppingRule
from offramp.search.live.cells import LiveCells, counts, shared_order
from offramp.search.live.endings import Endings
from offramp.search.live.pool import Pool
from offramp.search.live.scheduler import Cell, Scheduler
from offramp.search.live.sizes import COMPLETED_SHARE, LEAST_WAVE, LOOKS_SHARE, settings_of
from offramp.search.outcome import Options
from offramp.search.progress import Reporter
from offramp.search.racing import Planner, Race, RaceObjective, Wave
from offramp.search.racing.kernel import Kernel
from offramp.search.sampling.optuna_study import OptunaStudy, Seen
from offramp.search.sampling.trial_queue import TrialQueue
from offramp.search.state import StudyState
from offramp.stats.pareto import Floats
from offramp.store.aggregates import aggregate_of
from offramp.store.ledger import StudyEffort
from offramp.store.waves import WaveRow
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
    planner: Planner = field(init=False)
    allowance: SearchAllowance = field(init=False)
    _cells: LiveCells = field(init=False)
    _endings: Endings = field(init=False)
    _scheduler: Scheduler = field(init=False)
    _stored: deque[WaveRow] = field(init=False)
    _known: list[tuple[int, list[str]]] = field(init=False, default_factory=list)
    _entered: int = field(init=False, default=0)
    _cells_again: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        job, state = self.state.job, self.state
        examples, part, seed = job.task.splits.search, job.space.search.race, self.options.seed
        self.race = Race(
            objectives=[_race_objective(o) for o in state.objectives], n_examples=len(examples),
            seed=derived_seed(seed, "race"), order=shared_order(examples, seed),
        )  # fmt: skip
        queue = TrialQueue(state)
        self.pool = Pool(
            state=state, study=self.study, race=self.race, queue=queue, trials=self.options.trials, seed=seed,
            seen=self._seen,
        )  # fmt: skip
        cells = self._cells = LiveCells(state=state, race=self.race, candidates=self.pool.candidates)
        self._endings = Endings(
            state=state, race=self.race, cells=cells, study=self.study, queue=queue,
            behind=None if part is None else StoppingRule(part, examples, seed), missed=self._missed,
            sent=self.session.evaluator.sent, park=self.on_missing, parked=self.pool.lost,
            in_waves=frozenset(index for row in state.waves for index, _ in row.cells),
        )  # fmt: skip
        self.allowance = SearchAllowance(
            options=self.options, state=state, reserve=self.reserve, effort=self.effort, clock=self.session.clock,
            race=self.race, candidates=self.pool.candidates, again=cells.again.at_most, runs=self.reporter.runs,
        )  # fmt: skip
        usual = usual_wave(job, self.options.calls) or max(LEAST_WAVE, 2 * self.options.concurrency)
        self.planner = Planner(
            race=self.race, allowance=self.allowance, wave=job.space.search.wave or usual, joining=self,
            gate=self._may_complete, whole=part is None, looks_share=LOOKS_SHARE,
            recommended_share=COMPLETED_SHARE if job.space.constraints.regressions is None else 1.0,
            given=int(job.incumbent is not None and job.incumbent.id in state.finished),
            again=cells.again.at_most, runs=job.space.replicates,
        )  # fmt: skip
        self._stored = deque(state.waves)
        self._scheduler = Scheduler(
            self.session.evaluator, concurrency=runs_at_once(job, self.options.concurrency),
            max_failed_share=job.space.calls.max_failed_share, usual=len(examples),
            on_result=self._on_result, on_missing=self._endings.missing,
        )  # fmt: skip
        if not self._stored:
            self._enter_tried()

    # ----------------------------------------------------------------------------------------------- decisions

    async def next(self) -> Wave | None:
        """The next wave: a stored one, or a new one once it is stored."""
        if self._stored:
            return self._restored(self._stored.popleft())
        self.session.clock.check()
        await self.before_next()
        self.pool.fill()
        self._observe_known()
        if self.exhausted:  # known only now, in a space that the incumbent alone fills: proposals may be due
            await self.before_next()
            self.pool.fill()
            self._observe_known()
        if not self.planner.number:
            self.race.begin()
        self._reserve()
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

    def _reserve(self) -> None:
        """What the holdout needs, also where the candidate that may be recommended is not complete yet."""
        if (self.options.usd, self.options.calls, self.options.minutes) == (None, None, None):
            return
        incumbent = self.state.job.incumbent
        today = -1 if incumbent is None else self.pool.places.get(incumbent.id, -1)
        self.reserve.reserve(
            [
                Rival(
                    candidate=self.pool.candidates[index], results=self._cells.results(index),
                    usd=self.allowance.usd_of(index),
                )
                for index in self.race.rivals(without=(today,))
            ],
            running=self.planner.number > 0,
        )  # fmt: skip

    def _wave_again(self, everyone: bool) -> Wave | None:
        """Cells that are run again, as far as they can be; `everyone`: also off the declared front."""
        due = self._due()
        if not due:
            return None
        declared = self.race.declare(refit=False).front
        front = [index for index in declared if index in due]
        return wave_again(
            self.planner.take_number, due, front, self.allowance(), self._cells.again.replicates, everyone=everyone
        )

    def _due(self) -> dict[int, tuple[int, ...]]:
        return {i: due for i in range(len(self.pool.candidates)) if (due := self._cells.due(i))}

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
        more = len(self.race.open) or self._due() or (self.pool.room > 0 and not self.pool.exhausted)
        if more and (cap := self.allowance.reached()) is not None:
            return cap
        return "space_exhausted" if self.pool.exhausted else "trials"

    def _plan(self) -> None:
        """Sizes of blocks, from how many cells there may be for how many candidates."""
        allowance = self.allowance()
        self.race.settings = settings_of(
            self.state.job.space.search.race, examples=len(self._cells.examples), candidates=len(self.pool.candidates),
            total=None if allowance.total is None else allowance.cells(allowance.total), listed=self.pool.listed,
            timed=self.options.minutes is not None,
            reading=allowance.reading is not None and bool(allowance.reading.any()),
        )  # fmt: skip

    def _may_complete(self, index: int) -> bool:
        """Whether a candidate is worth its last cells: it keeps the constraints so far, and can be verified."""
        if self.race.complete(index):
            return True
        missed = {name for name, by in self._missed(index).items() if by > 0}
        return missed <= {"regressions"} and self.allowance.fits(index)  # their bound is wide before the last cell

    def _missed(self, index: int) -> dict[str, float]:
        """By how much a candidate misses each constraint, by its cells so far."""
        candidate, results = self.pool.candidates[index], self._cells.results(index)
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
            found = self._cells.stored(index)
            ids = [e.id for e in self._cells.examples if e.id in found and counts(found[e.id])]
            if self.pool.candidates[index].id in self.state.finished:  # what failed has been run again by now
                ids = [e.id for e in self._cells.examples]
            if ids:
                self._known.append((index, ids))
                self._observe(index, ids)
            self._endings.look(index)
        self._entered = len(self.pool.candidates)

    def _restored(self, row: WaveRow) -> Wave:
        """A stored wave, with what joined before it."""
        for place, params in enumerate(row.joined, start=len(self.pool.candidates)):
            self.pool.enter(self._candidate(params), first=place in row.first)
        self.pool.written()
        for index, ids in row.known:
            self._observe(index, ids)
            self._endings.look(index)
        self._entered = len(self.pool.candidates)
        if not row.number:
            self.race.begin()
        blocks = [self._cells.block(index, ids) for index, ids in row.cells]
        wave = Wave(number=row.number, purpose=row.purpose, blocks=tuple(blocks))
        self.race.request(blocks)
        self.race.kernels = [None if kernel is None else Kernel.from_json(kernel) for kernel in row.model["kernels"]]
        self.race.fitted_at = row.model["fitted_at"]
        self.planner.number = row.number + 1
        self._begin(wave)
        self._endings.close(self.state.study.details.parked)
        return wave

    def _candidate(self, params: Mapping[str, Any]) -> Candidate:
        incumbent = self.state.job.incumbent
        if incumbent is not None and dict(incumbent.params) == dict(params):
            return incumbent
        return self.state.job.candidate(params)

    def _row(self, wave: Wave) -> WaveRow:
        ids = [example.id for example in self._cells.examples]
        kernels = [None if kernel is None else kernel.to_json() for kernel in self.race.kernels]
        return WaveRow(
            number=wave.number, purpose=wave.purpose,
            cells=[(block.index, [ids[p] for p in block.positions]) for block in wave.blocks],
            joined=self.pool.unwritten, first=self.pool.unwritten_first, known=self._known,
            model={"kernels": kernels, "fitted_at": self.race.fitted_at},
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------------- cells

    def run(self, wave: Wave) -> Awaitable[list[Floats]]:
        """The values of a wave's cells, once those without a result were run."""
        return self._run(wave, self._to_run(wave))

    async def _run(self, wave: Wave, cells: Sequence[Cell]) -> list[Floats]:
        again = wave.purpose == AGAIN
        await self._scheduler.run(cells, again=again)
        return [self._cells.values(block, again=again) for block in wave.blocks]

    def _to_run(self, wave: Wave) -> list[Cell]:
        """The cells of a wave without a result, but for those of candidates that are closed when it is decided."""
        cells, again = list[Cell](), wave.purpose == AGAIN
        for block in wave.blocks:
            candidate, known = self.pool.candidates[block.index], self._cells.stored(block.index)
            if block.index in self.race.closed:
                continue
            for position in block.positions:
                example = self._cells.examples[position]
                result = known.get(example.id)
                if again:
                    cells += [(candidate, example)] if lacking(result, self._cells.again.replicates) else []
                elif result is None or not counts(result):
                    cells.append((candidate, example))
                else:
                    self.state.count_reused(Split.SEARCH, [result])
        return cells

    def observed(self, wave: Wave) -> None:
        """What a wave's results mean for its candidates."""
        cells, again = self._cells, wave.purpose == AGAIN
        for index in dict.fromkeys(block.index for block in wave.blocks):
            positions = [p for b in wave.blocks if b.index == index for p in b.positions]
            answers = index not in self.pool.lost
            if again:
                cells.again.end(index, positions, ran=answers)
                self.allowance.again_pending[index] -= len(positions) * (cells.again.replicates - 1)
            cells.observed[index][positions] = True
            results = cells.results_at(index, positions)
            if results and answers:
                self.state.answers(self.pool.candidates[index].params)
                self._endings.reopen()
            runs = (run for result in results for run in (result.runs[1:] if again else result.runs))
            self.allowance.observe(self.pool.candidates[index], runs)
            self.allowance.observed(index, 0 if again else len(positions))
            self._endings.look(index)
        self.reporter.publish()

    def pause(self) -> None:
        """Keeps what is known of candidates that have not ended, so that a study shows them and a later run goes on."""
        self._observe_rest()
        self._endings.pause()

    def _observe_rest(self) -> None:
        """What came back of waves that were cut off: it was paid for, and counts in what a candidate came to."""
        for index in range(len(self.pool.candidates)):
            block = self._cells.came_back(index)
            if index in self.race.closed or not block.positions:
                continue
            self.race.observe(index, block.positions, self._cells.values(block))
            self._cells.observed[index][list(block.positions)] = True
            if not self._cells.waiting(index) and self.race.complete(index):
                with suppress(OfframpError):
                    self._endings.look(index)

    def _begin(self, wave: Wave) -> None:
        self.state.begun |= {self.pool.candidates[block.index].id for block in wave.blocks}
        if wave.purpose == AGAIN:
            self._cells_again += wave.size
            for block in wave.blocks:
                self.allowance.again_pending[block.index] += len(block.positions) * (self._cells.again.replicates - 1)
                self._cells.again.begin(block.index)
        cells = int(self.race.cells.count.sum()) + self._cells_again
        self.reporter.racing(len(self.state.begun), cells, self._runs_left())

    def _runs_left(self) -> int | None:
        """Runs that the search makes at most from here on; None where more candidates may join."""
        if self.pool.room > 0 and not self.pool.exhausted:
            return None
        lacking = len(self.race.order) - self.race.cells.count[self.race.open]
        return int(lacking.sum()) + self.allowance.pending

    def _observe(self, index: int, ids: Sequence[str]) -> None:
        """Results that were there before the candidate joined."""
        block, name, cells = self._cells.block(index, ids), self.pool.candidates[index].id, self._cells
        if index not in self._endings.in_waves and (
            name in self.state.finished or cells.again.is_settled(cells.stored(index))
        ):
            cells.again.settle(index)
        self.race.request([block])
        self.race.observe(index, block.positions, cells.values(block))
        cells.observed[index][list(block.positions)] = True
        results = cells.results_at(index, block.positions)
        self.allowance.observe(self.pool.candidates[index], (run for result in results for run in result.runs))
        self.allowance.observed(index, len(ids))
        if name not in self.state.tried:
            self.state.count_reused(Split.SEARCH, results)

    def _on_result(self, result: Result) -> None:
        self.allowance.ran(max(1, len(result.runs) - 1))
        self.reserve.on_result(result)
        self.reporter.on_result(result)


def _race_objective(objective: Objective) -> RaceObjective:
    return replace(OBJECTIVES[objective.name], weight=objective.weight, scale=objective.scale)
