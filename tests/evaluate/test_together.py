"""Runs side by side end before an error is raised, and a cap hides no other error."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest

from offramp.errors import CapReached, MetricError
from offramp.evaluate.together import all_of
from offramp.job.clock import TimeIsUp
from offramp.store.budget import BudgetExceeded

FULL = BudgetExceeded(which="calls", cap=1, spent=1, reserved=0, asked=1)
KINDS: dict[str, Exception | None] = {
    "fine": None,
    "budget": FULL,
    "minutes": TimeIsUp("over"),
    "metric": MetricError("no score"),
}


@pytest.mark.parametrize("order", list(permutations(KINDS)))
def test_the_error_that_is_raised_is_no_cap_whichever_came_first(order: tuple[str, ...]) -> None:
    ended: list[str] = []

    async def run(name: str, turns: int) -> str:
        for _ in range(turns):
            await asyncio.sleep(0)
        ended.append(name)
        if (error := KINDS[name]) is not None:
            raise error
        return name

    async def runs(names: tuple[str, ...]) -> list[str]:
        return await all_of(run(name, turns) for turns, name in enumerate(names))

    with pytest.raises(MetricError):
        asyncio.run(runs(order))
    assert tuple(ended) == order, "the others came to their end"
    with pytest.raises(CapReached) as first:
        asyncio.run(runs(tuple(name for name in order if name != "metric")))
    assert first.value is KINDS[next(name for name in order if name in ("budget", "minutes"))]
    assert asyncio.run(runs(("fine",))) == ["fine"]
