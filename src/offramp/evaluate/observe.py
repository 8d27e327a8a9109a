"""What a candidate does on train examples, for a proposer that learns from it. No result is kept: these are not scores.

Invariant: an observation is of an answer or of a program error, never of an infrastructure error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from offramp.calls.failures import InfrastructureError
from offramp.errors import JobError
from offramp.evaluate.demos import Judge
from offramp.evaluate.together import all_of
from offramp.program.program import Outcome, Program, Trace
from offramp.records import Example, Purpose, Result


class ObservationFailed(JobError):
    """A run on a train example failed for reasons that are not the program's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One run on one train example.

    Attributes:
        inputs: of the task.
        answer: the outputs; the raw reply where it could not be read; None where there is none.
        result: with its score and what the metric says.
        trace: what each predictor was given and gave; empty where the program did not come to its end.
    """

    example: Example
    inputs: Mapping[str, Any]
    answer: Mapping[str, Any] | str | None
    result: Result
    trace: Trace

    def steps(self, predictor: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """What a predictor was given and what it gave, in order."""
        return [(inputs, outputs) for name, inputs, outputs in self.trace if name == predictor]


async def observe(
    program: Program, examples: Sequence[Example], inputs: Sequence[str], *, judge: Judge, concurrency: int,
    check: Callable[[], None], within: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> list[Observation]:  # fmt: skip
    """Runs a program on examples, in their order; every request is of purpose `proposer`.

    Raises:
        ObservationFailed: a run failed for reasons that are not the program's; the others came to their end first.
    """
    limit = asyncio.Semaphore(concurrency)

    async def one(example: Example) -> Observation:
        async with limit:
            check()
            async with within():
                outcome = await program.run(example, purpose=Purpose.PROPOSER)
                return await _observed(outcome, program, example, inputs, judge)

    return await all_of(one(example) for example in examples)


async def _observed(
    outcome: Outcome, program: Program, example: Example, inputs: Sequence[str], judge: Judge
) -> Observation:
    try:
        result = await judge(outcome, program.candidate, example)
    except InfrastructureError as error:
        raise ObservationFailed(f"observing train example {example.id!r} failed: {error}") from error
    if outcome.infrastructure_error is not None:
        raise ObservationFailed(f"observing train example {example.id!r} failed: {result.reason}")
    raw = outcome.replies[-1].text if outcome.replies else None
    return Observation(
        example=example,
        inputs={name: example.values.get(name) for name in inputs},
        answer=outcome.outputs if outcome.outputs is not None else raw,
        result=result,
        trace=outcome.trace,
    )
