"""The demos of a candidate, made ready before its first example: labelled, nearest, or bootstrapped from good runs.

Bootstrapped demos are what the candidate itself (without demos) wrote on train examples that the metric approves of.
They are collected in the seeded order of the train split, so that the same answers give the same demos.
Source: Khattab et al. 2023, DSPy (BootstrapFewShot).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any

from offramp.calls.failures import InfrastructureError
from offramp.errors import JobError
from offramp.evaluate.together import all_of
from offramp.ids import derived_seed
from offramp.program.demos import distinct
from offramp.program.program import Demos, Outcome, Program
from offramp.records import Candidate, DemoKind, Example, Purpose, Result, ResultState

Judge = Callable[[Outcome, Candidate, Example], Awaitable[Result]]
"""The result of a run; raises what ends the job, and InfrastructureError where the metric's own model fails."""


class BootstrapFailed(JobError):
    """Demos could not be collected because the infrastructure failed; nothing can be said of the candidate."""


def without_demos(candidate: Candidate) -> Candidate:
    """The same candidate with no demos: the teacher of its own bootstrapped demos."""
    return replace(candidate, demo_kind=DemoKind.NONE, demo_count=0)


async def bootstrap(
    teacher: Program, *, count: int, seed: int, train: Sequence[Example], min_score: float, judge: Judge,
    concurrency: int = 4, check: Callable[[], None] = lambda: None,
    within: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> Demos:  # fmt: skip
    """Demos by predictor from the first `count` train examples that the teacher gets right.

    At most `4 * count + 8` examples are tried; fewer demos come back when fewer are right. A predictor that a program
    calls several times gives a demo for each call, and has `count` of them all the same. An answer that the judge could
    not grade is not approved of.

    Args:
        check: called before each run; raises an OfframpError when the job has to stop.
        within: a context around each run, which may cut it off by raising one.

    Raises:
        BootstrapFailed: a run failed for reasons that are not the program's.
    """
    order = sorted(distinct(train), key=lambda example: derived_seed(seed, "bootstrap", example.content_hash))
    order = order[: 4 * count + 8]
    limit = asyncio.Semaphore(concurrency)

    async def run(example: Example) -> Outcome:
        async with limit:
            check()
            async with within():
                return await teacher.run(example, purpose=Purpose.BOOTSTRAP)

    good: list[Outcome] = []
    while order and len(good) < count:
        batch, order = order[: count - len(good)], order[count - len(good) :]
        outcomes = await all_of(run(example) for example in batch)
        good += [o for o, e in zip(outcomes, batch, strict=True) if await _approved(o, teacher, e, min_score, judge)]
    return _by_predictor(good, count)


async def _approved(outcome: Outcome, teacher: Program, example: Example, min_score: float, judge: Judge) -> bool:
    try:
        result = await judge(outcome, teacher.candidate, example)
    except InfrastructureError as error:
        raise _failed(example, f"{type(error).__name__}: {error}") from error
    if outcome.infrastructure_error is not None:
        raise _failed(example, result.reason)
    good = result.state is ResultState.SCORED and result.score is not None and result.score >= min_score
    return good and bool(outcome.trace)


def _failed(example: Example, reason: str | None) -> BootstrapFailed:
    return BootstrapFailed(f"bootstrapping demos failed on example {example.id!r}: {reason}")


def _by_predictor(good: Sequence[Outcome], count: int) -> Demos:
    demos: dict[str, list[dict[str, Any]]] = {}
    for outcome in good:
        for predictor, inputs, outputs in outcome.trace:
            demos.setdefault(predictor, []).append({**inputs, **outputs})
    return {predictor: rows[:count] for predictor, rows in demos.items()}
