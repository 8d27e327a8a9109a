"""The demos of a candidate, made ready before its first example: labelled, nearest, or bootstrapped from good runs.

Bootstrapped demos are what the candidate itself (without demos) wrote on train examples that the metric approves of.
They are collected in the seeded order of the train split, so that the same answers give the same demos.
Source: Khattab et al. 2023, DSPy (BootstrapFewShot).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from offramp.errors import JobError
from offramp.ids import derived_seed
from offramp.program.program import Demos, Outcome, Program
from offramp.records import Candidate, DemoKind, Example, Purpose, Result, ResultState

Judge = Callable[[Outcome, Candidate, Example], Awaitable[Result]]


class BootstrapFailed(JobError):
    """Demos could not be collected because the infrastructure failed; nothing can be said of the candidate."""


def without_demos(candidate: Candidate) -> Candidate:
    """The same candidate with no demos: the teacher of its own bootstrapped demos."""
    return replace(candidate, demo_kind=DemoKind.NONE, demo_count=0)


async def bootstrap(
    teacher: Program, *, count: int, seed: int, train: Sequence[Example], min_score: float, judge: Judge
) -> Demos:
    """Demos by predictor from the first `count` train examples that the teacher gets right.

    At most `4 * count + 8` examples are tried; fewer demos come back when fewer are right.

    Raises:
        BootstrapFailed: a run failed for reasons that are not the program's.
    """
    order = sorted(train, key=lambda example: derived_seed(seed, "bootstrap", example.content_hash))[: 4 * count + 8]
    good: list[Outcome] = []
    while order and len(good) < count:
        batch, order = order[: count - len(good)], order[count - len(good) :]
        good += await _approved(teacher, batch, min_score, judge)
    demos: dict[str, list[dict[str, Any]]] = {}
    for outcome in good:
        for predictor, inputs, outputs in outcome.trace:
            demos.setdefault(predictor, []).append({**inputs, **outputs})
    return demos


async def _approved(teacher: Program, batch: Sequence[Example], min_score: float, judge: Judge) -> list[Outcome]:
    outcomes = await asyncio.gather(*(teacher.run(example, purpose=Purpose.BOOTSTRAP) for example in batch))
    results = [await judge(o, teacher.candidate, e) for o, e in zip(outcomes, batch, strict=True)]
    for result in results:
        if result.state is ResultState.FAILED:
            raise BootstrapFailed(f"bootstrapping demos failed on example {result.example!r}: {result.reason}")
    return [
        o for o, r in zip(outcomes, results, strict=True) if r.score is not None and r.score >= min_score and o.trace
    ]
