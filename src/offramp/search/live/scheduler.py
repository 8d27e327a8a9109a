"""Keeps runs of many candidates in flight, so that a slow or rate-limited model delays its own candidates only.

Each model has a lane of its own: a queue of cells, and as many runs at the same time as the job's concurrency. How many
requests leave at the same time, of all lanes together, the caller's limiter decides.

Cells of one candidate are queued together, because a model on this machine keeps the prompt that it has just read.

Invariant: every cell of a batch has a result when `run` returns, but for those of models that no longer answer;
whatever ends a run ends all, after the runs in flight.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from offramp.calls.failures import ModelNotFound
from offramp.errors import gravest
from offramp.evaluate.evaluator import Evaluator, too_many_failures
from offramp.records import Candidate, Example, Result, ResultState, Split

Cell = tuple[Candidate, Example]


@dataclass(slots=True)
class _Batch:
    """Cells that were asked for together; `done` is set when none is left. `again`: they were run before."""

    left: int
    again: bool
    results: list[Result] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self) -> None:
        self.left -= 1
        if self.left <= 0:
            self.done.set()


class Scheduler:
    """Runs cells of the search split.

    Args:
        concurrency: runs of one model at the same time.
        max_failed_share: of the runs of one model (of `usual` at least); with more failures the job stops.
        usual: examples of the search split.
        on_result: called after each new result, once it is stored.
        on_missing: called where a model no longer answers; raises where the job cannot go on without it, else returns
            the candidates that are not run any more.
    """

    def __init__(
        self, evaluator: Evaluator, *, concurrency: int, max_failed_share: float, usual: int,
        on_result: Callable[[Result], None], on_missing: Callable[[ModelNotFound], Collection[str]],
    ) -> None:  # fmt: skip
        self._evaluator, self._concurrency = evaluator, concurrency
        self._share, self._usual = max_failed_share, usual
        self._on_result, self._on_missing = on_result, on_missing
        self._lanes: defaultdict[str, deque[tuple[Cell, _Batch]]] = defaultdict(deque)
        self._workers: set[asyncio.Task[None]] = set()
        self._working: Counter[str] = Counter()
        self._ran: defaultdict[str, dict[tuple[str, str], Result]] = defaultdict(dict)
        self._error: BaseException | None = None

    async def run(self, cells: Sequence[Cell], *, again: bool = False) -> None:
        """Runs these cells; those that the infrastructure failed once more, at the end.

        Args:
            again: each as often as it lacks runs, after its first.

        Raises:
            TooManyFailures, BudgetExceeded, FatalCallError, MetricError, TimeIsUp, Interrupted: the job cannot go on.
        """
        for _ in range(2):
            if not cells:
                return
            batch = _Batch(left=len(cells), again=again)
            for cell in cells:
                self._lanes[cell[0].model].append((cell, batch))
            for model in {candidate.model for candidate, _ in cells}:
                self._hire(model)
            try:
                await batch.done.wait()
            except asyncio.CancelledError:  # cut off: so is what is in flight
                for worker in set(self._workers):
                    worker.cancel()
                await self._settle()
                raise
            if self._error is not None:
                await self._settle()
                raise self._error
            failed = {(r.candidate, r.example) for r in batch.results if r.state is ResultState.INFRASTRUCTURE_ERROR}
            cells = [cell for cell in cells if (cell[0].id, cell[1].id) in failed]

    def _hire(self, model: str) -> None:
        for _ in range(min(self._concurrency - self._working[model], len(self._lanes[model]))):
            self._working[model] += 1
            task = asyncio.ensure_future(self._work(model))
            self._workers.add(task)
            task.add_done_callback(self._workers.discard)

    async def _work(self, model: str) -> None:
        lane = self._lanes[model]
        while lane:
            (candidate, example), batch = lane.popleft()
            try:
                run = self._evaluator.again if batch.again else self._evaluator.run
                result = await run(candidate, example, split=Split.SEARCH)
                batch.results.append(result)
                self._count(candidate, result)
                self._on_result(result)
            except ModelNotFound as error:
                self._drop(error)
            except BaseException as error:  # noqa: BLE001 (raised by `run`, when the others are done)
                self._stop(error)
            finally:
                batch.end()
        self._working[model] -= 1  # at once: who is done is in `_workers` for a moment more

    def _count(self, candidate: Candidate, result: Result) -> None:
        """Stops the job where so many runs of a model failed that nothing can be learnt."""
        ran = self._ran[candidate.model]
        ran[result.candidate, result.example] = result
        if result.state is ResultState.INFRASTRUCTURE_ERROR:
            failed = [one for one in ran.values() if one.state is ResultState.INFRASTRUCTURE_ERROR]
            if len(failed) > max(3.0, self._share * max(self._usual, len(ran))):
                self._stop(too_many_failures(candidate, failed, len(ran)))

    def _drop(self, error: ModelNotFound) -> None:
        """The candidates that need a model that no longer answers are run no more."""
        try:
            dropped = self._on_missing(error)
        except BaseException as fatal:  # noqa: BLE001
            self._stop(fatal)
            return
        for lane in self._lanes.values():
            kept = [(cell, batch) for cell, batch in lane if cell[0].id not in dropped]
            for cell, batch in lane:
                if cell[0].id in dropped:
                    batch.end()
            lane.clear()
            lane.extend(kept)

    def _stop(self, error: BaseException) -> None:
        """Nothing else is begun."""
        self._error = error if self._error is None else gravest([self._error, error])
        for lane in self._lanes.values():
            while lane:
                lane.popleft()[1].end()

    async def _settle(self) -> None:
        """Waits for the runs in flight."""
        await asyncio.gather(*self._workers, return_exceptions=True)
