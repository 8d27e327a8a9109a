"""Programs, candidates and runs over transports without a network, for the tests of program and evaluate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from offramp.ids import content_hash
from offramp.program.program import Outcome, Program
from offramp.records import CallRequest, Candidate, DemoKind, Example, Model, Price
from offramp.space.model import OutputField
from offramp.task.fields import TaskFields
from offramp.testing.fakes import Answer, FunctionTransport, ScriptedTransport

PRICE = Price(input_usd=1.0, cached_input_usd=0.1, output_usd=10.0)
HOSTED = Model(name="hosted", route="openai/hosted", price=PRICE)
LOCAL = Model(name="local/tiny", route="local/tiny", price=Price(compute_usd_per_hour=3.6))
LABELS = ["billing", "shipping", "returns"]
SORT = {"category": OutputField(type="enum", values=LABELS)}


def make_fields(outputs: Mapping[str, OutputField] | None = None, inputs: tuple[str, ...] = ("message",)) -> TaskFields:
    """The fields of a task; by default one message in and one of three labels out."""
    return TaskFields(inputs=inputs, outputs=outputs or SORT)


def make_candidate(**changes: Any) -> Candidate:
    """A candidate of the hosted model in the plain format, with one instruction and no demos."""
    options: dict[str, Any] = {
        "params": {}, "model": "hosted", "module": "predict", "adapter": "plain", "constrained": False,
        "instructions": {"main": "Sort the message."}, "demo_kind": DemoKind.NONE, "demo_count": 0, "demo_seed": 0,
        "request_params": {},
    }  # fmt: skip
    return Candidate(**{**options, **changes})


def make_example(number: int = 0, **values: Any) -> Example:
    """One example; its content hash is that of its values."""
    values = values or {"message": f"case {number}", "category": LABELS[number % 3]}
    hashed = content_hash(values)
    return Example(id=f"e{number:03}", content_hash=hashed, values=MappingProxyType(values), row=number + 1)


def make_examples(count: int, start: int = 0) -> tuple[Example, ...]:
    """Examples with running numbers."""
    return tuple(make_example(number) for number in range(start, start + count))


def transport(answers: Callable[[CallRequest], Answer] | str | list[Answer]) -> FunctionTransport:
    """A transport that answers by a function, always the same, or from a script."""
    if isinstance(answers, list):
        return ScriptedTransport(answers)
    return FunctionTransport(answers if callable(answers) else lambda _: answers)


def run(
    answers: Callable[[CallRequest], Answer] | str | list[Answer] | FunctionTransport,
    candidate: Candidate | None = None,
    example: Example | None = None,
    *,
    model: Model = HOSTED,
    fields: TaskFields | None = None,
    **options: Any,
) -> tuple[Outcome, list[CallRequest]]:
    """The outcome of one run, and what was sent."""
    wire = answers if isinstance(answers, FunctionTransport) else transport(answers)

    async def go() -> Outcome:
        program = Program(
            candidate or make_candidate(), fields=fields or make_fields(), model=model, send=wire.send, **options
        )
        return await program.run(example or make_example())

    return asyncio.run(go()), wire.requests


def user_text(request: CallRequest) -> str:
    """The last message."""
    return request.messages[-1]["content"]


def roles(request: CallRequest) -> str:
    """Who speaks, by first letters: `suaau` for system, user, assistant, assistant, user."""
    return "".join(message["role"][0] for message in request.messages)
