"""Proposing by reflection: the model sees what a good candidate got wrong on train examples, and improves on it.

The prompt and the reading of the answer are GEPA's (`gepa.strategies.instruction_proposal`); the rest is ours.
Source: Agrawal et al. 2025, GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gepa.strategies.instruction_proposal import InstructionProposalSignature

from offramp.evaluate.observe import Observation
from offramp.ids import derived_seed
from offramp.program.engine import Send
from offramp.program.grounded import why_not_whole
from offramp.records import CallRequest, Candidate, Example, Model, Purpose
from offramp.search.proposals._base import Brief, NothingProposed
from offramp.search.proposals.screening import repeats
from offramp.space.forms import MAIN
from offramp.space.model import ProposePart

Observe = Callable[[Candidate, Sequence[Example], str], Awaitable[Sequence[Observation]]]

MOST_BATCHES = 3
MOST_CHARS = 600
"""Longest value that is shown; the rest is cut."""
_LIMIT = "\n\nKeep the new instruction below {chars} characters. State rules; do not quote the inputs above."


class FromReflection:
    """The proposer of kind `reflection`."""

    kind = "reflection"

    def __init__(
        self, *, part: ProposePart, model: Model, send: Send, observe: Observe, train: Sequence[Example],
        answers: Sequence[str], seed: int,
    ) -> None:  # fmt: skip
        self._part, self._model, self._send, self._observe = part, model, send, observe
        self._train, self._answers, self._seed = tuple(train), tuple(answers), seed

    async def propose(self, brief: Brief) -> str:
        """An improved instruction; see `Proposer`."""
        wrong = await self._failures(brief)
        template = InstructionProposalSignature.default_prompt_template + _LIMIT.format(chars=brief.max_chars)
        prompt = InstructionProposalSignature.prompt_renderer(
            {
                "current_instruction_doc": brief.text,
                "dataset_with_feedback": [self._shown(observation, brief.predictor) for observation in wrong],
                "prompt_template": template,
            }
        )
        params = {name: value for name, value in self._part.params.items() if value is not None}
        request = CallRequest(
            model=self._model, messages=({"role": "user", "content": str(prompt)},), params=params,
            purpose=Purpose.PROPOSER, replicate=brief.number,
        )  # fmt: skip
        reply = await self._send(request)
        if (why := why_not_whole([reply], params)) is not None:
            raise NothingProposed(why)
        text = str(InstructionProposalSignature.output_extractor(reply.text.strip())["new_instruction"])
        if repeats(text, template):
            raise NothingProposed("the proposer model repeated what it was asked instead of writing an instruction")
        return text

    async def _failures(self, brief: Brief) -> list[Observation]:
        """What the parent got wrong in a batch of train examples, worst first; where it got all right, in the next."""
        order = sorted(self._train, key=lambda e: derived_seed(self._seed, "reflect", brief.number, e.content_hash))
        size = self._part.examples
        most = min(len(order), MOST_BATCHES * size)
        for start in range(0, most, size):
            observed = await self._observe(brief.parent, order[start : start + size], brief.predictor)
            wrong = [one for one in observed if one.result.score is not None and one.result.score < 1.0]
            if wrong:
                return sorted(wrong, key=lambda one: one.result.score or 0.0)[: max(1, size // 2)]
        raise NothingProposed(f"nothing to reflect on: the candidate is right on {most} train examples")

    def _shown(self, observation: Observation, predictor: str) -> Mapping[str, Any]:
        """One failure as GEPA shows it: for one step of a program, that step's inputs and outputs if it was reached."""
        result, steps = observation.result, observation.steps(predictor)
        inputs, outputs = steps[0] if steps else (observation.inputs, observation.answer)
        values = observation.example.values
        expected = {name: values[name] for name in self._answers if name in values}
        whole = "" if predictor == MAIN else "The whole program's answer is judged. "
        reason = f" {result.reason}" if result.reason else ""
        return {
            "Inputs": _cut(inputs),
            "Generated Outputs": _cut(outputs) if outputs else "(no answer that could be read)",
            "Expected": _cut(expected) if expected else "(see the feedback)",
            "Feedback": f"{whole}Score {result.score or 0.0:.2f} of 1.{reason}"[:MOST_CHARS],
        }


def _cut(values: Mapping[str, Any] | str) -> Any:
    if isinstance(values, str):
        return values[:MOST_CHARS]
    return {name: str(value)[:MOST_CHARS] for name, value in values.items()}
