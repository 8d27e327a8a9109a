"""What a candidate's runs sent, read from their requests, beside what its params say.

A module of one's own may set parameters, adapters and demos by itself, and bootstrapping may find no good answer to
show. Then the candidate's params are not what was sent, and what is shown of it is read from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from offramp.ids import content_hash
from offramp.program.engine import TOOLS
from offramp.program.module import predictors_of, shown_demos
from offramp.program.program import Program
from offramp.program.run_log import Exchange
from offramp.records import DemoKind, Purpose
from offramp.space.model import OWN
from offramp.space.params import instruction_param

MOST_SEARCHED = 3
"""Requests of each predictor in which demos are looked for."""

SentValues = Mapping[str, Mapping[str, Sequence[Any]]]
"""Param (`temperature`, `demos.count`, `format`) to predictor to every value that was sent; None for one left out."""


@dataclass
class Sent:
    """What the runs of one program sent, as they end.

    Attributes:
        native_tools: names of the models that were handed tools by their providers' own interfaces.
    """

    program: Program
    native_tools: set[str] = field(default_factory=set, init=False)
    _requests: dict[str, str] = field(default_factory=dict, init=False)
    _params: dict[str, dict[str, list[Any]]] = field(default_factory=dict, init=False)
    _demos: dict[str, list[int]] = field(default_factory=dict, init=False)
    _formats: dict[str, set[str | None]] = field(default_factory=dict, init=False)
    _instructed: dict[str, bool] = field(default_factory=dict, init=False)
    _prompts: dict[str, set[str]] = field(default_factory=dict, init=False)

    @cached_property
    def _shows_demos(self) -> frozenset[str]:
        return frozenset(shown_demos(self.program.module))

    def add(self, example: str, exchanges: Sequence[Exchange]) -> None:
        """One run more. Requests that are not of a named predictor tell nothing of the candidate's params."""
        asked = [each for each in exchanges if each.request.purpose is Purpose.PROGRAM]
        if self.program.own:
            self._requests[example] = content_hash(sorted(each.request.hash for each in asked), length=16)
        self.native_tools |= {each.request.model.name for each in asked if TOOLS in each.request.params}
        for each in asked:
            if each.predictor is None:
                continue
            for name in self.program.candidate.request_params:
                values = self._params.setdefault(name, {}).setdefault(each.predictor, [])
                if (value := each.request.params.get(name)) not in values:
                    values.append(value)
            self._formats.setdefault(each.predictor, set()).add(each.adapter)
            rules = [m.get("content") for m in each.request.messages if m["role"] == "system"]
            self._prompts.setdefault(each.predictor, set()).add(content_hash([rules, dict(each.request.params)]))
            if (instructed := self._is_instructed(each)) is not None:
                self._instructed[each.predictor] = instructed or self._instructed.get(each.predictor, False)
            if len(self._demos.get(each.predictor, ())) < MOST_SEARCHED and each.predictor in self._shows_demos:
                self._demos.setdefault(each.predictor, []).append(self._shown(each))

    def fingerprint(self, examples: Sequence[str]) -> str | None:
        """Equal for programs that sent the same on these examples; None where some of it is not known."""
        if not examples or any(name not in self._requests for name in examples):
            return None
        return content_hash(sorted((name, self._requests[name]) for name in examples), length=24)

    def prompts(self) -> dict[str, str]:
        """A hash of system message and request parameters by predictor, where all of its requests have the same."""
        return {name: next(iter(found)) for name, found in sorted(self._prompts.items()) if len(found) == 1}

    def other_than_stated(self) -> dict[str, dict[str, list[Any]]]:
        """What was sent that the candidate's params do not say; empty where they say it."""
        candidate = self.program.candidate
        found = {
            name: by_predictor
            for name, by_predictor in self._params.items()
            if any(values != [candidate.request_params[name]] for values in by_predictor.values())
        }
        if candidate.demo_kind not in (DemoKind.NONE, DemoKind.OWN) and candidate.demo_count:
            demos = {predictor: [max(counts)] for predictor, counts in self._demos.items()}
            if any(counts != [candidate.demo_count] for counts in demos.values()):
                found["demos.count"] = demos
        found |= {instruction_param(p): {p: [None]} for p, instructed in self._instructed.items() if not instructed}
        if any(names != {None} for names in self._formats.values()):
            stated = candidate.adapter
            found["format"] = {p: sorted(name or stated for name in names) for p, names in self._formats.items()}
        return found

    def _is_instructed(self, exchange: Exchange) -> bool | None:
        """Whether a request has the instruction of the candidate, however it is laid out; None where it chose none."""
        name, candidate = str(exchange.predictor), self.program.candidate
        chosen = candidate.params.get(instruction_param(name), OWN)
        if not self.program.own or name not in candidate.instructions or chosen == OWN:
            return None
        whole = " ".join(str(message.get("content")) for message in exchange.request.messages)
        return " ".join(candidate.instructions[name].split()) in " ".join(whole.split())

    def _shown(self, exchange: Exchange) -> int:
        """How many demos a request shows: those of its predictor whose texts are there, or as many as it has pairs."""
        messages = exchange.request.messages
        pairs = len([message for message in messages if message["role"] == "assistant"])
        if self.program.candidate.demo_kind is DemoKind.NEAREST:
            return min(pairs, self.program.candidate.demo_count)
        predictor = predictors_of(self.program.module)[str(exchange.predictor)]
        text = "\n".join(str(message.get("content")) for message in messages)

        def is_shown(demo: Mapping[str, Any]) -> bool:
            values = [demo[name] for name in predictor.signature.output_fields if isinstance(demo.get(name), str)]
            return bool(values) and all(v.strip() in text or json.dumps(v)[1:-1] in text for v in values)

        demos: Sequence[Mapping[str, Any]] = predictor.demos
        return max(min(len(demos), pairs), len([demo for demo in demos if is_shown(demo)]))
