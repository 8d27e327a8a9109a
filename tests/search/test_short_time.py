"""A job with little time does what a job with few calls does: it looks at everyone, and leaves time for the holdout."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from offramp.records import CallReply, CallRequest
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

SPLITS = {"train": 6, "search": 40, "holdout": 14}
SPACE = {"count": 80, "splits": SPLITS, "search": {"sampler": "random", "trials": 20, "concurrency": 1}}


class Clock:
    """Moves by what each request takes."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.mark.parametrize("cells", [30, 60])
@pytest.mark.parametrize("pace_s", [0.2, 5.0])
def test_everyone_is_looked_at_where_the_time_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int, pace_s: float
) -> None:
    """First blocks were five cells whatever the time: half of the candidates were never run."""
    clock = Clock()

    def reply(request: CallRequest) -> CallReply:
        clock.seconds += pace_s
        return replace(reply_to(request), latency_s=pace_s)

    answered_by(monkeypatch, FunctionTransport(reply), sleep=clock.sleep, now=clock)
    runs = SPLITS["search"] + cells + 1.2 * 2 * SPLITS["holdout"]
    result = run_job(write_space(tmp_path, **SPACE), tmp_path, minutes=runs * pace_s / 60)
    report = result.report
    assert report.stop_reason == "minutes" and report.trials >= 12  # every assignment of the space
    assert report.incumbent is not None and report.incumbent.holdout is not None
    for member in (report.incumbent, report.recommended):
        assert member is not None and member.holdout is not None and member.holdout.n == SPLITS["holdout"]
    assert clock.seconds <= runs * pace_s + pace_s


@pytest.mark.parametrize("slower", [2.0, 5.0])
def test_the_holdout_has_its_time_where_the_best_is_slower_than_today_and_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower: float
) -> None:
    """Until a candidate was complete only the incumbent's time was reserved: the holdout was cut off, with no result."""
    clock = Clock()

    def reply(request: CallRequest) -> CallReply:
        took = slower if request.model.name == "large" else 1.0
        clock.seconds += took
        return replace(reply_to(request), latency_s=took)

    answered_by(monkeypatch, FunctionTransport(reply), sleep=clock.sleep, now=clock)
    seconds = SPLITS["search"] + 20 * slower + 1.2 * SPLITS["holdout"] * (1 + slower)
    objectives = {"quality": {"weight": 0.98}, "cost": {"weight": 0.02, "scale": "incumbent"}, "latency": None}
    space = write_space(tmp_path, **SPACE, objectives=objectives)
    report = run_job(space, tmp_path, minutes=seconds / 60).report
    best = report.recommended
    assert report.stop_reason == "minutes" and best is not None and best.params["model"] == "large"
    assert best.search.n < SPLITS["search"]
    assert best.holdout is not None and best.holdout.n == SPLITS["holdout"]


def test_prompts_that_take_long_to_read_are_fewer_where_the_time_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first cell that takes six times as long as the next one counted as one cell.

    A candidate of one cell was recommended, and a third of the time was left over.
    """
    clock, read = Clock(), dict[str, set[str]]()
    reading_s = 0.0

    def reply(request: CallRequest) -> CallReply:
        nonlocal reading_s
        prompt, text = request.messages[0]["content"], reply_to(request)
        new = prompt not in read.setdefault(request.model.name, set())
        read[request.model.name].add(prompt)
        clock.seconds += 1.0 + 5.0 * new
        reading_s += 5.0 * new
        usage = replace(text.usage, input_tokens=1000 if new else 20, cached_input_tokens=0 if new else 980)
        return replace(text, latency_s=1.0 + 5.0 * new, usage=usage)

    answered_by(monkeypatch, FunctionTransport(reply), sleep=clock.sleep, now=clock)
    models = [{"name": "small", "route": "local/smollm2-135m"}, {"name": "large", "route": "local/qwen2.5-coder-0.5b"}]
    starts = ("Vague.", "Clear.", "Strict.")
    ways = {f"way{i}": f"{starts[i % 3]} Way {i}." for i in range(60)}
    space = write_space(
        tmp_path, **{**SPACE, "search": {"concurrency": 1}}, models=models, instructions=ways,
        incumbent={"model": "small", "instruction": "way0"}, params={"temperature": 0.0, "max_tokens": 16},
    )  # fmt: skip
    report = run_job(space, tmp_path, minutes=5).report
    assert clock.seconds <= 301
    searching_s = 300 - 2 * SPLITS["holdout"] - SPLITS["search"]
    assert reading_s < 0.75 * searching_s
    best = report.recommended
    assert best is not None and best.params["model"] == "large" and best.holdout is not None
    assert best.search.n > 4 and clock.seconds > 270
