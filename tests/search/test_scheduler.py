"""Runs of many candidates in flight: lanes, retries, and what ends them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from offramp.calls.failures import ModelNotFound
from offramp.evaluate.evaluator import TooManyFailures
from offramp.records import Candidate, DemoKind, Example, Result, ResultState
from offramp.search.live.scheduler import Scheduler


def candidate(model: str, number: int = 0) -> Candidate:
    return Candidate(
        params={"model": model, "n": number}, model=model, module="predict", adapter="plain", constrained=False,
        instructions={"main": str(number)}, demo_kind=DemoKind.NONE, demo_count=0, demo_seed=0, request_params={},
    )  # fmt: skip


def example(number: int) -> Example:
    return Example(id=f"e{number}", row=number, values={}, content_hash=str(number))


@dataclass
class Running:
    """An evaluator whose runs are a function of the cell.

    Attributes:
        waits: turns of the event loop that a run of a model takes. fails: cells that fail, and how often.
    """

    waits: dict[str, int] = field(default_factory=dict)
    fails: dict[tuple[str, str], int] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    ran: list[tuple[str, str]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    most: int = 0
    now: int = 0

    async def run(self, candidate: Candidate, example: Example, *, split: object) -> Result:
        self.ran.append((candidate.model, example.id))
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(self.waits.get(candidate.model, 1)):
            await asyncio.sleep(0)
        self.now -= 1
        if candidate.model in self.missing:
            raise ModelNotFound(f"{candidate.model} is gone")
        key = (candidate.model, example.id)
        self.fails[key] = self.fails.get(key, 0) - 1
        failed = self.fails[key] >= 0
        self.ended.append(candidate.model)
        return Result(
            candidate=candidate.id, example=example.id,
            state=ResultState.INFRASTRUCTURE_ERROR if failed else ResultState.SCORED,
            score=None if failed else 1.0, cost_usd=None, latency_s=None, reason="503" if failed else None,
        )  # fmt: skip


def scheduler(running: Running, concurrency: int = 4, on_missing=lambda error: ()) -> tuple[Scheduler, list[Result]]:
    results: list[Result] = []
    found = Scheduler(
        running, concurrency=concurrency, max_failed_share=0.2, usual=10, on_result=results.append,  # type: ignore[arg-type]
        on_missing=on_missing,
    )  # fmt: skip
    return found, results


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_batches_one_after_another_and_side_by_side_all_end(concurrency):
    """A worker that has just ended was counted as working, so that nobody took the next cells."""

    async def play() -> int:
        running = Running()
        several, results = scheduler(running, concurrency)
        for turn in range(20):
            await several.run([(candidate("a"), example(turn))])
        both = [[(candidate(m), example(100 + i)) for i in range(30)] for m in ("a", "b")]
        await asyncio.gather(*(several.run(cells) for cells in both))
        assert running.most <= 2 * concurrency
        return len(results)

    assert asyncio.run(asyncio.wait_for(play(), 30)) == 80


def test_a_slow_model_delays_its_own_cells_only():
    async def play() -> list[str]:
        running = Running(waits={"slow": 50})
        several, _ = scheduler(running, 2)
        await several.run([(candidate(m), example(i)) for i in range(10) for m in ("slow", "fast")])
        return running.ended

    ended = asyncio.run(play())
    assert ended.count("fast") == ended.count("slow") == 10
    assert "slow" not in ended[:9]


def test_what_the_infrastructure_failed_is_run_once_more_at_the_end():
    async def play() -> list[tuple[str, str]]:
        running = Running(fails={("a", "e1"): 1, ("a", "e2"): 5})
        several, _ = scheduler(running, 1)
        await several.run([(candidate("a"), example(i)) for i in range(8)])
        return running.ran

    ran = [name for _, name in asyncio.run(play())]
    assert ran == [f"e{i}" for i in range(8)] + ["e1", "e2"]


def test_a_model_of_which_too_many_runs_fail_stops_the_job_and_one_bad_row_does_not():
    async def play(fails) -> int:
        running = Running(fails=fails)
        several, results = scheduler(running, 2)
        await several.run([(candidate("a", n), example(i)) for n in range(6) for i in range(10)])
        return len(results)

    assert asyncio.run(play({("a", "e1"): 99})) == 66
    with pytest.raises(TooManyFailures, match="503"):
        asyncio.run(play({("a", f"e{i}"): 99 for i in range(5)}))


def test_candidates_of_a_missing_model_are_dropped_and_the_others_go_on():
    async def play() -> list[str]:
        running = Running(missing=frozenset({"gone"}))
        dropped = {candidate("gone", n).id for n in range(3)}
        several, _ = scheduler(running, 1, on_missing=lambda error: dropped)
        await several.run([(candidate(m, n), example(i)) for i in range(3) for n in range(3) for m in ("gone", "a")])
        assert [model for model, _ in running.ran].count("gone") == 1
        return running.ended

    assert asyncio.run(play()) == ["a"] * 9
