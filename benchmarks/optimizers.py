"""offramp next to DSPy's own optimizers, MIPROv2 and GEPA, on real models, at about equal calls.

    python benchmarks/optimizers.py [--seeds 3] [--calls 320] [--model local/qwen2.5-coder-0.5b]
                                    [--space search_spaces/support_triage.yaml] [--replies FILE]

All start from the incumbent's instruction on the given model, with the same adapter and constrained answers at
temperature 0, and see the same train split, search split and metric. MIPROv2 gets as many trials on the whole search
split as the calls allow after its demos and proposals; GEPA gets them as its budget of metric calls. Both have the same
model write their proposals, since no larger one is embedded. offramp runs twice: with this model alone, and with every
model of the space, both times with the space's own instructions and demos. A call is a request that was not made before
in the same run, without those on the holdout; answers are remembered between runs, in a file with `--replies`.

Prints one line of JSON per seed: calls, and quality on the holdout, which none of them saw; at the end the medians.
`start` is the incumbent's instruction on the given model, without any optimization. Needs the embedded models (`make
models`); a seed takes tens of minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dspy
import numpy as np
from dspy.utils.exceptions import AdapterParseError
from remembering import Remembering, Replies

from offramp.job.resolve import resolve_job
from offramp.job.resolved import ResolvedJob
from offramp.program.adapters import adapter_of
from offramp.program.background import BACKGROUND
from offramp.program.engine import recording
from offramp.program.language_model import language_model
from offramp.program.run_log import RunLog
from offramp.program.signature import signature_of
from offramp.records import CallReply, CallRequest, Example, Purpose
from offramp.search import api
from offramp.space.forms import MAIN
from offramp.space.load import LoadedSpace, as_loaded
from offramp.stats.intervals import difference_interval
from offramp.store.engine import open_store
from offramp.study.queries.study_rows import read_holdout_scores

OFFRAMP, NO_ANSWER = "offramp", "no answer that could be read"
Scores = Mapping[str, float]
QUARTER = 0.25
PROPOSAL = {"max_tokens": 200, "temperature": 1.0}
FEW = 6
"""How many instructions and sets of demos MIPROv2 makes: as many as with its `light` setting."""


class Counted:
    """Sends requests and counts those that were not made before in this run."""

    def __init__(self, transport: Remembering) -> None:
        self._transport = transport
        self._seen: set[str] = set()

    async def send(self, request: CallRequest) -> CallReply:
        """The reply."""
        self._seen.add(request.hash)
        return await self._transport.send(request)

    @property
    def calls(self) -> int:
        """Requests so far."""
        return len(self._seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run: its calls, without those on the holdout, and the score of each example of the holdout."""

    calls: int
    scores: Scores

    @property
    def mean(self) -> float:
        """Quality on the holdout."""
        return statistics.fmean(self.scores.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What both of DSPy's optimizers start from.

    Attributes:
        student: makes the program, before any optimization.
        proposer: the language model for proposals.
    """

    job: ResolvedJob
    sent: Counted
    student: Callable[[], dspy.Module]
    proposer: dspy.LM

    def examples(self, split: Sequence[Example]) -> list[dspy.Example]:
        """The examples as DSPy's."""
        return [dspy.Example(**e.values).with_inputs(*self.job.task.fields.inputs) for e in split]

    def score(self, gold: dspy.Example, answer: Any) -> tuple[float, str]:
        """The score by the task's own metric, and its feedback."""
        outputs = {name: answer.get(name) for name in self.job.task.fields.outputs}
        if None in outputs.values():
            return 0.0, NO_ANSWER
        example = Example(id="", content_hash="", values=dict(gold), row=0)
        score = asyncio.run(self.job.task.metric.score(example, outputs, None))
        return score.value, score.feedback or ""

    def holdout(self, program: dspy.Module) -> Scores:
        """Quality on the holdout, by example."""
        held = self.job.task.splits.holdout
        rows = zip(held, self.examples(held), strict=True)
        return {example.id: self.score(row, program(**row.inputs()))[0] for example, row in rows}


async def bench_of(job: ResolvedJob, model: str, transport: Remembering) -> Bench:
    """Makes the start; call it on the event loop that sends the requests."""
    assert job.incumbent is not None
    sent = Counted(transport)
    candidate = replace(job.incumbent, model=model, request_params={"temperature": 0.0, "max_tokens": 32, "seed": 0})
    lm = language_model(job.models[model], candidate.request_params, sent.send, constrained=candidate.constrained)
    adapter, signature = adapter_of(candidate), signature_of(job.task.fields, candidate.instructions[MAIN])

    class Student(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict(signature)

        def forward(self, **inputs: Any) -> dspy.Prediction:
            with recording(RunLog(purpose=Purpose.PROGRAM, replicate=0)), dspy.context(lm=lm, adapter=adapter):
                try:
                    return self.predict(**inputs)
                except AdapterParseError:
                    return dspy.Prediction(**dict.fromkeys(job.task.fields.outputs))

    proposer = language_model(job.models[model], PROPOSAL, sent.send, constrained=False)
    return Bench(job=job, sent=sent, student=Student, proposer=proposer)


def start(bench: Bench, calls: int, seed: int) -> dspy.Module:
    """Nothing is optimised."""
    return bench.student()


def mipro(bench: Bench, calls: int, seed: int) -> dspy.Module:
    """MIPROv2, sized to the calls."""
    search, train = bench.examples(bench.job.task.splits.search), bench.examples(bench.job.task.splits.train)
    optimizer = dspy.MIPROv2(
        metric=lambda gold, answer, trace=None: bench.score(gold, answer)[0],
        prompt_model=bench.proposer, task_model=bench.proposer, auto=None, num_candidates=FEW, num_threads=1, seed=seed,
        metric_threshold=0.99,
    )  # fmt: skip
    trials = max(1, (calls - 20 * FEW) // len(search))
    return optimizer.compile(bench.student(), trainset=train, valset=search, num_trials=trials, minibatch=False)


def gepa(bench: Bench, calls: int, seed: int) -> dspy.Module:
    """GEPA, with its own budget."""

    def metric(gold: Any, answer: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        value, feedback = bench.score(gold, answer)
        return dspy.Prediction(score=value, feedback=feedback)

    search, train = bench.examples(bench.job.task.splits.search), bench.examples(bench.job.task.splits.train)
    optimizer = dspy.GEPA(metric=metric, max_metric_calls=calls, reflection_lm=bench.proposer, num_threads=1, seed=seed)
    return optimizer.compile(bench.student(), trainset=train, valset=search)


def by_dspy(
    optimizer: Callable[[Bench, int, int], dspy.Module], space: LoadedSpace, model: str,
    replies: dict[str, CallReply], calls: int, seed: int,
) -> Outcome:  # fmt: skip
    """One run of a DSPy optimizer."""
    transport = Remembering(replies)
    bench = BACKGROUND.wait(bench_of(resolve_job(space), model, transport))
    log = RunLog(purpose=Purpose.PROPOSER, replicate=seed)
    try:
        with contextlib.redirect_stdout(sys.stderr), recording(log), dspy.context(lm=bench.proposer):
            program = optimizer(bench, calls, seed)
            used = bench.sent.calls
            return Outcome(calls=used, scores=bench.holdout(program))
    finally:
        BACKGROUND.wait(transport.aclose())


def by_offramp(
    space: LoadedSpace, model: str, models: Sequence[str], replies: dict[str, CallReply], calls: int, seed: int
) -> Outcome:
    """One offramp job; its incumbent is what the others start from, and it is for quality alone, as they are."""
    assert space.space.incumbent is not None
    verify = space.space.verify.model_copy(update={"front": False, "probe": 0})
    budget = space.space.budget.model_copy(update={"minutes": None})
    kept = [entry for entry in space.space.models if not models or entry in models]
    search = space.space.search.model_copy(update={"trials": None})  # the calls are the only cap
    incumbent = space.space.incumbent.model_copy(update={"model": model, "params": {}})
    objectives = space.space.objectives.model_copy(update={"cost": None, "latency": None})
    changed = space.space.model_copy(
        update={
            "verify": verify, "budget": budget, "models": kept, "search": search, "incumbent": incumbent,
            "objectives": objectives,
        }
    )  # fmt: skip
    held = 2 * len(resolve_job(space).task.splits.holdout)
    with tempfile.TemporaryDirectory() as folder:
        result = api.optimize(
            replace(space, space=changed), results=folder, seed=seed, calls=calls + held,
            transport=Remembering(replies),
        )  # fmt: skip
        if result.report.stop_reason == "interrupted":  # the job has ended cleanly; so does this script
            raise KeyboardInterrupt
        chosen = result.report.recommended
        assert chosen is not None
        with open_store(f"sqlite:///{folder}/offramp.db") as store:
            scores = read_holdout_scores(store, result.report.study)
    return Outcome(calls=result.calls - sum(map(len, scores.values())), scores=scores[chosen.candidate])


def ways_of(
    space: LoadedSpace, model: str, replies: dict[str, CallReply], calls: int
) -> dict[str, Callable[[int], Outcome]]:
    """Everything that is compared, by name: what runs it with a seed."""
    found: dict[str, Callable[[int], Outcome]] = {
        way.__name__: partial(by_dspy, way, space, model, replies, calls) for way in (start, mipro, gepa)
    }
    for share, words in ((1.0, ""), (QUARTER, ", a quarter of the calls")):
        for models, whose in (([model], "this model"), ([], "all models")):
            found[f"{OFFRAMP}, {whose}{words}"] = partial(
                by_offramp, space, model, models, replies, round(share * calls)
            )
    return found


def comparison(runs: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """The table, by way."""
    examples = sorted(runs["start"][0].scores)
    means = {
        way: np.array([statistics.fmean(one.scores.get(example, 0.0) for one in found) for example in examples])
        for way, found in runs.items()
    }
    table: dict[str, Any] = {}
    for way, found in runs.items():
        quality = [one.mean for one in found]
        row = {"calls": statistics.median(one.calls for one in found), "mean": statistics.fmean(quality)}
        table[way] = {**row, "least": min(quality), "most": max(quality)}
        if not way.startswith(OFFRAMP):
            for ours in (name for name in runs if name.startswith(OFFRAMP)):
                ahead = means[ours] - means[way]
                interval = difference_interval(ahead)
                table[way][f"{ours} is ahead by"] = [ahead.mean(), interval.low, interval.high]
    return table


def main() -> None:
    """Runs everything, prints and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=320)
    parser.add_argument("--model", default="local/qwen2.5-coder-0.5b")
    parser.add_argument("--space", default="search_spaces/support_triage.yaml")
    parser.add_argument("--replies")
    given = parser.parse_args()
    for noisy in ("dspy", "gepa", "optuna"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    space, runs = as_loaded(given.space, trust=True), defaultdict[str, list[Outcome]](list)
    ways = ways_of(space, given.model, Replies(given.replies), given.calls)
    for seed in range(given.seeds):
        for way, run in ways.items():
            found = run(seed)
            runs[way].append(found)
            print(
                json.dumps({"seed": seed, "way": way, "calls": found.calls, "holdout": round(found.mean, 4)}),
                flush=True,
            )
    rounded = json.loads(json.dumps(comparison(runs)), parse_float=lambda text: round(float(text), 4))
    print(json.dumps(rounded, indent=2))


if __name__ == "__main__":
    main()
