"""Proposing by reflection: the model sees what a good candidate got wrong on train examples, and improves it.

Prompt and reading of the answer are GEPA's (`gepa.strategies.instruction_proposal`); what is run and paid is ours.
Source: Agrawal et al. 2025, GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gepa.strategies.instruction_proposal import InstructionProposalSignature

from offramp.evaluate.observe import Observation
from offramp.ids import derived_seed
from offramp.program.engine import Send
from offramp.records import CallRequest, Candidate, Example, Model, Purpose
from offramp.search.proposals._base import Brief, NothingProposed
from offramp.search.proposals.leaks import repeats
from offramp.space.dimensions import MAIN
from offramp.space.model import ProposePart

Observe = Callable[[Candidate, Sequence[Example]], Awaitable[Sequence[Observation]]]

MOST_BATCHES = 3
MOST_CHARS = 600
"""Of one value that is shown."""
_LIMIT = "\n\nKeep the new instruction below {chars} characters. State rules; do not quote the inputs above."


class FromReflection:
    """The proposer of kind `reflection`."""

    kind = "reflection"

    def __init__(
        self, *, part: ProposePart, model: Model, send: Send, observe: Observe, train: Sequence[Example],
        golds: Sequence[str], seed: int,
    ) -> None:  # fmt: skip
        self._part, self._model, self._send, self._observe = part, model, send, observe
        self._train, self._golds, self._seed = tuple(train), tuple(golds), seed

    async def propose(self, brief: Brief) -> str:
        """An improved instruction; see `Proposer`."""
        wrong = await self._failures(brief)
        template = InstructionProposalSignature.default_prompt_template + _LIMIT.format(chars=brief.max_chars)
        prompt = InstructionProposalSignature.prompt_renderer(
            {
                "current_instruction_doc": brief.text,
                "dataset_with_feedback": [self._record(seen, brief.predictor) for seen in wrong],
                "prompt_template": template,
            }
        )
        params = {name: value for name, value in self._part.params.items() if value is not None}
        request = CallRequest(
            model=self._model, messages=({"role": "user", "content": str(prompt)},), params=params,
            purpose=Purpose.PROPOSER, replicate=brief.number,
        )  # fmt: skip
        reply = await self._send(request)
        text = str(InstructionProposalSignature.output_extractor(reply.text.strip())["new_instruction"])
        if repeats(text, template):
            raise NothingProposed("the proposer model repeated what it was asked to do instead of an instruction")
        return text

    async def _failures(self, brief: Brief) -> list[Observation]:
        """What the parent got wrong, worst first: in a batch of train examples, or in the next where all were right."""
        order = sorted(self._train, key=lambda e: derived_seed(self._seed, "reflect", brief.number, e.content_hash))
        size = self._part.examples
        for start in range(0, min(len(order), MOST_BATCHES * size), size):
            seen = await self._observe(brief.parent, order[start : start + size])
            wrong = [item for item in seen if (item.result.score or 0.0) < 1.0]
            if wrong:
                return sorted(wrong, key=lambda item: item.result.score or 0.0)[: max(1, size // 2)]
        tried = min(len(order), MOST_BATCHES * size)
        raise NothingProposed(f"nothing to reflect on: the candidate is right on {tried} train examples")

    def _record(self, seen: Observation, predictor: str) -> Mapping[str, Any]:
        """One failure, as GEPA shows it: of a step of a program, what that step was given, where it came that far."""
        given = seen.steps(predictor)
        asked = given[0][0] if given else seen.inputs
        answered = given[0][1] if given else seen.answer
        gold = {name: seen.example.values[name] for name in self._golds if name in seen.example.values}
        whole = "" if predictor == MAIN else "The whole program's answer is judged. "
        said = f" {seen.result.reason}" if seen.result.reason else ""
        feedback = f"{whole}Score {seen.result.score or 0.0:.2f} of 1.{said}"
        return {
            "Inputs": _cut(asked),
            "Generated Outputs": _cut(answered) if answered else "(no answer that could be read)",
            "Expected": _cut(gold) if gold else "(see the feedback)",
            "Feedback": feedback[:MOST_CHARS],
        }


def _cut(values: Mapping[str, Any] | str) -> Any:
    if isinstance(values, str):
        return values[:MOST_CHARS]
    return {name: str(value)[:MOST_CHARS] for name, value in values.items()}
