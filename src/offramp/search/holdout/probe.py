"""The isolated latency probe: candidates timed in turns, on warm models, at a fixed concurrency, never from the ledger.

They take turns, so that whatever the machine or the provider does meanwhile affects all of them alike. A candidate's
time is the sum of its requests' wall clocks, without queue time.

Invariant: what is returned was measured now; runs with an infrastructure error are in no number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice

from offramp.evaluate.evaluator import Evaluator
from offramp.records import Candidate, Example
from offramp.store.results import ProbeRun

WARM_UP = 2
"""Runs of each candidate that come first and are not counted."""


async def probe(
    evaluator: Evaluator, candidates: Sequence[Candidate], examples: Sequence[Example], *, runs: int, concurrency: int,
    check: Callable[[], None],
) -> Mapping[str, Sequence[ProbeRun]]:  # fmt: skip
    """Times each candidate `runs` times over the examples, from the first one on and round again.

    Args:
        check: called before each turn; raises when the job has to stop.

    Returns:
        The timed runs by candidate id; fewer than `runs` where requests failed.

    Raises:
        JobError, FatalCallError: it cannot go on; nothing of it is kept.
    """
    timed: dict[str, list[ProbeRun]] = {candidate.id: [] for candidate in candidates}
    turns = [*_blocks(examples, WARM_UP, concurrency), *_blocks(examples, runs, concurrency)]
    warm = len(_blocks(examples, WARM_UP, concurrency))
    for number, block in enumerate(turns):
        for candidate in candidates:
            check()
            found = await asyncio.gather(*(evaluator.timed(candidate, example) for example in block))
            if number >= warm:
                timed[candidate.id] += [run for run in found if run is not None]
    return timed


def _blocks(examples: Sequence[Example], runs: int, concurrency: int) -> list[tuple[Example, ...]]:
    """So many examples in blocks that run at the same time."""
    wanted = list(islice(cycle(examples), runs))
    return [tuple(wanted[i : i + concurrency]) for i in range(0, runs, concurrency)]
