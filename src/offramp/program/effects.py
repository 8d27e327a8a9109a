"""What reaches the requests of a user's own module: its first request, and the parameters that it sets by itself.

Invariant: nothing is sent, and none of the module's code runs after its first request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from offramp.program.engine import Send
from offramp.program.module import predictors_of
from offramp.program.program import Program, place_of
from offramp.program.routing import Undeclared
from offramp.program.run_log import NoRequest
from offramp.program.values import cut
from offramp.records import CallReply, CallRequest, Example

MakeProgram = Callable[[Send], Program]
_ROLLOUT_TEMPERATURE = 1.0
"""What dspy.BestOfN and dspy.Refine send with each attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A request parameter that a module sets by itself for a predictor.

    Attributes:
        value: what is sent in place of the candidate's.
        why: what sets it, to follow the predictor's name: `sets temperature=0.9 itself`.
        all_requests: whether no other request in the name of the predictor can have the candidate's.
    """

    value: Any
    why: str
    all_requests: bool = True


def stated_params(module: dspy.Module) -> dict[str, dict[str, Stated]]:
    """Request parameters that the module sets by itself, by predictor, as far as that can be read from it.

    Predictors with a language model of their own are left out: no parameter of a candidate reaches them.
    """
    found: dict[str, dict[str, Stated]] = {}
    rollouts = [part for _, part in module.named_sub_modules() if isinstance(part, dspy.BestOfN | dspy.Refine)]
    for name, predictor in predictors_of(module).items():
        if predictor.lm is not None:
            continue
        stated = found.setdefault(name, {})
        for part in rollouts:
            if any(each is predictor for _, each in part.module.named_predictors()):
                kind, asks_more = type(part).__name__, isinstance(part, dspy.Refine)
                why = f"dspy.{kind} runs at temperature={_ROLLOUT_TEMPERATURE}"
                stated["temperature"] = Stated(value=_ROLLOUT_TEMPERATURE, why=why, all_requests=not asks_more)
        for param, value in predictor.config.items():
            if value is not None:
                refined = "temperature" in stated and not stated["temperature"].all_requests
                stated[param] = Stated(value=value, why=f"sets {param}={value} itself", all_requests=not refined)
    return found


class _Reached(Undeclared):
    """The first request of a run: no code of the program's goes on after it."""


class FirstRequest:
    """Stands in for the models of one run: keeps its first request, and ends it there.

    Attributes:
        request: None where the run came to an end, or failed, before it asked anything.
    """

    def __init__(self) -> None:
        self.request: CallRequest | None = None

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """Never a reply."""
        self.request = self.request or request
        raise _Reached("recorded, and not sent")


async def first_request(make: MakeProgram, examples: Iterable[Example]) -> CallRequest | None:
    """The first request of a program on the first of the examples for which it makes one; it is not sent.

    None where it makes none. A program may answer some rows by a rule.

    Args:
        make: gives the program over what it is to send through.
    """
    for example in examples:
        first = FirstRequest()
        await make(first.send).run(example)
        if first.request is not None:
            return first.request
    return None


async def raised_first(make: MakeProgram, example: Example) -> str | None:
    """What a program raises on an example before it asks a model, in words; None where it asks one."""
    first = FirstRequest()
    outcome = await make(first.send).run(example)
    error = outcome.crash or outcome.infrastructure_error
    if first.request is not None or error is None or isinstance(error, NoRequest):
        return None
    return f"{type(error).__name__}: {cut(error)}{place_of(error)}"


def made_up_demos(module: dspy.Module) -> Mapping[str, list[dict[str, Any]]]:
    """A demo for each predictor, to see where demos show: text in every field."""
    return {name: [dict.fromkeys(p.signature.fields, "x")] for name, p in predictors_of(module).items()}
