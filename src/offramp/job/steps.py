"""The steps of recorded runs: which predictor or tool, what it was asked, what it gave.

Runs are repeated from the ledger and from recorded results of tools: no model is asked, and no tool with effects runs.

Invariant: nothing is sent and nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.job.loaded import LoadedStudy
from offramp.job.session import open_session
from offramp.program.background import BACKGROUND
from offramp.program.forms.verify_then_retry import REJECTED
from offramp.program.program import Outcome
from offramp.program.tools import ToolWithheld
from offramp.records import Candidate, Example
from offramp.store.engine import Store

MOST_CHARS = 600
"""Of what a step was asked, and of what it gave."""
MOST_STEPS = 40
"""Of one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a run.

    Attributes:
        kind: `model`, `tool`, or `check` for a form's check of the user's own.
        name: of the predictor, tool or check; None for a request of no predictor that the module names.
        model: that answered; None for others.
        asked, gave: texts, cut to `MOST_CHARS`.
        prompt_tokens, output_tokens: None for others.
        seconds: as they were measured.
        round: of a form of several requests, from 1; those of one round ran side by side. None for other programs.
    """

    kind: str
    name: str | None
    model: str | None
    asked: str
    gave: str
    prompt_tokens: int | None
    output_tokens: int | None
    seconds: float
    round: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSteps:
    """The steps of one run, in order. `incomplete` says why not all are known; None where they are."""

    steps: tuple[Step, ...]
    incomplete: str | None = None


def recorded_steps(
    store: Store, opened: LoadedStudy, candidates: Sequence[Candidate], examples: Sequence[Example]
) -> dict[tuple[str, str], RunSteps]:
    """The steps of each candidate on each example, by the ids of both."""
    return BACKGROUND.wait(_repeated(store, opened, candidates, examples))


async def _repeated(
    store: Store, opened: LoadedStudy, candidates: Sequence[Candidate], examples: Sequence[Example]
) -> dict[tuple[str, str], RunSteps]:
    found: dict[tuple[str, str], RunSteps] = {}
    async with open_session(opened.job, store=store, study=opened.row.name) as session:
        for candidate in candidates:
            try:
                program = await session.evaluator.program(candidate)
            except ToolWithheld as withheld:
                found |= {(candidate.id, e.id): RunSteps(steps=(), incomplete=str(withheld)) for e in examples}
                continue
            for example in examples:
                session.recorded.asked = session.recorded.unknown = 0
                try:
                    steps = RunSteps(steps=steps_of(await program.run(example)))
                except ToolWithheld as withheld:
                    steps = RunSteps(steps=(), incomplete=str(withheld))
                if session.recorded.asked > len([s for s in steps.steps if s.kind == "model"]) and not steps.incomplete:
                    steps = RunSteps(steps=steps.steps, incomplete="the ledger has no text for what it asked next")
                found[candidate.id, example.id] = steps
    return found


def steps_of(outcome: Outcome) -> tuple[Step, ...]:
    """The steps of a run, by when they began."""
    steps = [
        (
            exchange.began,
            Step(
                kind="model",
                name=exchange.predictor,
                model=exchange.request.model.name,
                asked=_cut(_asked(exchange.request.messages)),
                gave=_cut(exchange.reply.text or json.dumps([dict(call) for call in exchange.reply.tool_calls])),
                prompt_tokens=exchange.reply.usage.prompt_tokens,
                output_tokens=exchange.reply.usage.output_tokens,
                seconds=exchange.reply.latency_s,
                round=exchange.step or None,
            ),
        )
        for exchange in outcome.exchanges
    ]
    steps += [
        (
            call.began,
            Step(
                kind="tool", name=call.tool, model=None, asked=_cut(call.asked), gave=_cut(call.gave),
                prompt_tokens=None, output_tokens=None, seconds=call.seconds,
            ),
        )
        for call in outcome.tools
    ]  # fmt: skip
    steps += [
        (
            check.began,
            Step(
                kind="check", name=check.path, model=None, asked=_cut(_as_lines(check.answer)),
                gave="accepted" if check.accepted else _cut(f"rejected: {check.objection}".removesuffix(": ")),
                prompt_tokens=None, output_tokens=None, seconds=check.seconds, round=check.step or None,
            ),
        )
        for check in outcome.checks
    ]  # fmt: skip
    return tuple(step for _, step in sorted(steps, key=lambda each: each[0])[:MOST_STEPS])


def _asked(messages: Sequence[Any]) -> str:
    """What was asked last, and before it what an instruction says of an answer that was rejected."""
    system = messages[0].get("content") if messages else ""
    _, mark, tail = system.partition(REJECTED) if isinstance(system, str) else ("", "", "")
    return f"{mark}{tail}\n\n{_last(messages)}" if mark else _last(messages)


def _as_lines(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def _last(messages: Sequence[Any]) -> str:
    """What was asked last: the latest message, of which only texts are shown."""
    content = messages[-1].get("content") if messages else ""
    if isinstance(content, list):
        content = " ".join(str(part.get("text", f"({part.get('type')})")) for part in content)
    return str(content or "")


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS - 1]}…"
