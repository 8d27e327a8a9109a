"""How long a run takes: side by side counts once, tools count, waiting for a place does not."""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest

from offramp.program.critical_path import LEAST_GAP_S, Span, critical_path_s
from offramp.program.program import Program
from offramp.records import CallReply, CallRequest, Usage
from offramp.space.model import OutputField
from program_runs import HOSTED, make_candidate, make_example, make_fields


def made(shape: Any, now: float, rng: random.Random, spans: list[Span]) -> tuple[float, float]:
    """The end by the clock and what a shape counts: a request, a pause, or shapes in turn or side by side.

    By the clock a request takes longer than it counts (it waits for a place) or shorter (the ledger answers).
    """
    kind, value = shape
    if kind == "pause":
        return now + value, value
    if kind == "request":
        ended = now + rng.uniform(0.001, 2.0)
        spans.append(Span(began=now, ended=ended, counts_s=value))
        return ended, value
    if kind == "in turn":
        counted = 0.0
        for part in value:
            now, counts = made(part, now, rng, spans)
            counted += counts
        return now, counted
    ends = [made(part, now, rng, spans) for part in value]
    return max(end for end, _ in ends), max(counts for _, counts in ends)


def chain(rng: random.Random) -> Any:
    """Requests and pauses in turn, with requests side by side in between."""
    parts: list[Any] = []
    for _ in range(rng.randint(1, 5)):
        parts.append(("pause", rng.uniform(LEAST_GAP_S, 3.0)))
        width = rng.randint(1, 4)
        parts.append(("side by side", [("request", rng.uniform(0.1, 5.0)) for _ in range(width)]))
    return "in turn", [*parts, ("pause", rng.choice([0.0, rng.uniform(LEAST_GAP_S, 1.0)]))]


@pytest.mark.parametrize("seed", range(200))
def test_requests_side_by_side_and_in_turn_count_as_they_would_take(seed: int) -> None:
    rng = random.Random(seed)
    spans: list[Span] = []
    ended, counted = made(chain(rng), 100.0, rng, spans)
    rng.shuffle(spans)
    assert critical_path_s(spans, began=100.0, ended=ended) == pytest.approx(counted)


def test_a_chain_beside_another_request_counts_as_the_longer_of_the_two() -> None:
    spans = [
        Span(began=0.0, ended=9.0, counts_s=1.0),  # it waited eight seconds for a place
        Span(began=0.0, ended=1.0, counts_s=1.0),
        Span(began=1.0, ended=2.0, counts_s=2.0),
    ]
    assert critical_path_s(spans, began=0.0, ended=9.0) == 3.0
    assert critical_path_s([], began=1.0, ended=1.5) == 0.5


class Module(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict("message -> category")


class InTurn(Module):
    def forward(self, message: str) -> dspy.Prediction:
        for _ in range(2):
            self.ask(message=message)
        return self.ask(message=message)


class Gathered(Module):
    async def aforward(self, message: str) -> dspy.Prediction:
        return (await asyncio.gather(*(self.ask.acall(message=f"{message} {i}") for i in range(3))))[0]


class Pooled(Module):
    def forward(self, message: str) -> dspy.Prediction:
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda i: self.ask(message=f"{message} {i}"), range(3)))[0]


class WithTool(Module):
    def forward(self, message: str) -> dspy.Prediction:
        answer = self.ask(message=message)
        time.sleep(0.3)
        return answer


@pytest.mark.parametrize(("kind", "at_least"), [(InTurn, 30.0), (Gathered, 10.0), (Pooled, 10.0), (WithTool, 10.3)])
def test_the_latency_of_a_module_is_what_an_app_would_wait_for(kind: Any, at_least: float) -> None:
    """Each request counts ten seconds, as the ledger says of it, and is answered here in a twentieth of one."""

    async def send(_: CallRequest) -> CallReply:
        await asyncio.sleep(0.05)
        return CallReply(text="x", finish_reason="stop", usage=Usage(output_tokens=1), latency_s=10.0, cached=True)

    async def go() -> Any:
        candidate = make_candidate(module="own", instructions={})
        fields = make_fields({"category": OutputField()})
        program = Program(candidate, fields=fields, model=HOSTED, send=send, factory=kind)
        await program.run(make_example())  # what a first run loads is not looked at
        return await program.run(make_example())

    outcome = asyncio.run(go())
    assert outcome.outputs is not None
    assert at_least <= outcome.latency_s < at_least + 9.0, "a busy machine adds its own; no request counts twice"
