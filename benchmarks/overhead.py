"""What ledger, budget, limiter and results add to one run of a DSPy program.

    python benchmarks/overhead.py [EXAMPLES]

The model is a function that answers immediately, so only overhead is left. Prints one line of JSON with milliseconds
per run, medians of five rounds in one process: `dspy` (the program with an engine that answers), `fresh` (the same
through the evaluator, with every call new and all rows written to SQLite) and `again` (the same examples for another
study, with every answer from the ledger); and the ratios of the last two to `dspy`.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import dspy
from dspy.lm15 import response_from_openai_chat

from offramp.calls.caller import open_caller
from offramp.evaluate.evaluator import Evaluator, EvaluatorSettings
from offramp.evaluate.results import StudyResults
from offramp.program.plain import PlainMessages
from offramp.program.signature import signature_of
from offramp.records import Candidate, DemoKind, Example, Model, Price, Split, Splits
from offramp.space.model import CallsPart, ExactMetric, TaskPart
from offramp.store.budget import Budget
from offramp.store.engine import open_store
from offramp.task.fields import task_fields
from offramp.task.metrics import build_metric
from offramp.task.task import Task
from offramp.testing.fakes import FunctionTransport

ROUNDS = 5
FIELDS = task_fields(TaskPart(signature="message -> label: Literal['a', 'b']"), "benchmark")
MODEL = Model(name="fake/one", route="fake/one", price=Price(input_usd=1.0, output_usd=2.0))


class Answers:
    """An engine that answers immediately."""

    supports_response_schema = False
    supported_params: frozenset[str] = frozenset()

    async def complete(self, request):
        """Always the same response."""
        choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
        return response_from_openai_chat({"model": request.model, "choices": [choice]}, model=request.model)


class Never:
    """The synchronous engine, which is never called."""

    supports_response_schema = False
    supported_params: frozenset[str] = frozenset()

    def complete(self, request):
        """Never called."""
        raise NotImplementedError


def examples(count: int, part: int) -> tuple[Example, ...]:
    """Rows that differ in each round."""
    rows = [f"message {part}-{n} about something or other" for n in range(count)]
    return tuple(
        Example(id=row, content_hash=row, values={"message": row, "label": "ab"[n % 2]}, row=n)
        for n, row in enumerate(rows)
    )


async def dspy_alone(rows: tuple[Example, ...]) -> None:
    """Runs the program with DSPy alone, eight at a time."""
    program = dspy.Predict(signature_of(FIELDS, "Label it."))
    lm = dspy.LM("offramp/candidate", engine=Never(), async_engine=Answers(), cache=False, num_retries=0)
    queue = iter(rows)

    async def work() -> None:
        for row in queue:
            with dspy.context(lm=lm, adapter=PlainMessages(), disable_history=True):
                await program.acall(message=row.values["message"])

    await asyncio.gather(*(work() for _ in range(8)))


async def with_offramp(rows: tuple[Example, ...], store, study: str) -> None:
    """Runs the same through the evaluator."""
    caller = open_caller(
        store=store, study=study, store_text=True, budget=Budget(store, study, 1e6, 10**9), concurrency=8, calls=CallsPart(),
        servers=None, rng=random.Random(0), transport=FunctionTransport(lambda request: "a"),
    )  # fmt: skip
    metric = build_metric(ExactMetric(kind="exact", field="label"), fields=FIELDS, base=Path(), models={})
    splits = Splits(train=(), search=rows, holdout=())
    task = Task(name="b", fields=FIELDS, splits=splits, dataset_hash="", splits_hash="", metric=metric)
    evaluator = Evaluator(
        task=task, models={MODEL.name: MODEL}, send=caller.send, results=StudyResults(store, study),
        settings=EvaluatorSettings(concurrency=8),
    )  # fmt: skip
    candidate = Candidate(
        params={}, model=MODEL.name, module="predict", adapter="plain", constrained=False, instructions={"main": "Label it."},
        demo_kind=DemoKind.NONE, demo_count=0, demo_seed=0, request_params={},
    )  # fmt: skip
    evaluation = await evaluator.evaluate(candidate, rows, split=Split.SEARCH)
    assert evaluation.n == len(rows)
    await caller.aclose()


def timed(work) -> float:
    """Seconds that one coroutine takes on a new event loop."""
    begin = time.perf_counter()
    asyncio.run(work)
    return time.perf_counter() - begin


def main() -> None:
    """Measures in turns and prints."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seconds: dict[str, list[float]] = {"dspy": [], "fresh": [], "again": []}
    with tempfile.TemporaryDirectory() as folder, open_store(f"sqlite:///{folder}/b.db") as store:
        asyncio.run(dspy_alone(examples(20, -1)))
        for part in range(ROUNDS):
            rows = examples(count, part)
            seconds["dspy"].append(timed(dspy_alone(rows)))
            seconds["fresh"].append(timed(with_offramp(rows, store, f"fresh-{part}")))
            seconds["again"].append(timed(with_offramp(rows, store, f"again-{part}")))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    milliseconds = {f"{name}_ms_per_run": round(value / count * 1000, 3) for name, value in medians.items()}
    ratios = {f"{name}_to_dspy": round(medians[name] / medians["dspy"], 2) for name in ("fresh", "again")}
    print(json.dumps({"examples": count, **milliseconds, **ratios}))


if __name__ == "__main__":
    main()
