"""DSPy's grounded proposer over the caller: a summary of the data, then an instruction from it.

The prompts are DSPy's (`dspy.propose`): for the summary, for the instruction, and the tips. The loop around them is
ours: DSPy's own draws from a global generator, prints, and treats a failed request as a missing summary.

Invariant: an error of the caller is raised as it is, also where DSPy swallowed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dspy
from dspy.propose.dataset_summary_generator import create_dataset_summary
from dspy.propose.grounded_proposer import TIPS, generate_instruction_class
from dspy.propose.utils import create_example_string, strip_prefix

from offramp.calls.failures import CallError
from offramp.errors import JobError, OfframpError
from offramp.program.adapters import PlainAdapter
from offramp.program.engine import Send, recording
from offramp.program.language_model import language_model
from offramp.program.module import ModuleFactory, build_module, predictors_of
from offramp.program.program import demo_rows
from offramp.program.run_log import RunLog
from offramp.records import CallReply, Candidate, Ending, Example, Model, Purpose
from offramp.task.fields import TaskFields

BATCH = 10
"""Examples that one request of the summary shows."""
MOST_CHARS = 500
"""Of one value that is shown."""


class ProposerError(OfframpError):
    """The proposer model refused, or its answer cannot be parsed."""


def tips() -> list[str]:
    """DSPy's hints on how to write an instruction; one of them is empty."""
    return list(TIPS.values())


def predictor_fields(
    parent: Candidate, predictor: str, fields: TaskFields, factory: ModuleFactory | None
) -> tuple[str, ...]:
    """Names of the fields of one predictor, and of the task."""
    step = predictors_of(build_module(parent, fields, factory, {}))[predictor]
    return tuple(dict.fromkeys([*step.signature.fields, *fields.inputs, *fields.outputs]))


def why_not_whole(replies: Sequence[CallReply], params: Mapping[str, Any]) -> str | None:
    """Why what the proposer model wrote is not a whole text, with the remedy; None where it is."""
    endings = {reply.ending for reply in replies}
    if Ending.CUT in endings:
        limit = next((params[name] for name in ("max_tokens", "max_completion_tokens") if params.get(name)), None)
        if limit is None:
            return "the proposal was cut at the output limit: set a higher max_tokens in `propose.params`"
        return f"the proposal was cut at max_tokens {limit}: raise it in `propose.params`"
    if Ending.FILTERED in endings:
        return "the proposal was filtered by the provider: change the filter's settings there"
    return None


class Grounded:
    """Writes for one task with one model. Make it on the event loop of the caller."""

    def __init__(
        self, *, model: Model, params: Mapping[str, Any], send: Send, fields: TaskFields,
        factory: ModuleFactory | None = None,
    ) -> None:  # fmt: skip
        self._lm, self._params = language_model(model, params, send, constrained=False), params
        self._fields, self._factory = fields, factory
        self._summary: str | None = None

    async def summary(self, examples: Sequence[Example]) -> str:
        """Two or three sentences on the data; requested once.

        Raises:
            ProposerError: the model refused. InfrastructureError, FatalCallError, JobError: as the caller raises.
        """
        if self._summary is None:
            rows = [self._shown(example) for example in examples]
            self._summary, _ = await self._asked(lambda: create_dataset_summary(rows, BATCH, self._lm), 0)
        return self._summary

    async def instruction(
        self, parent: Candidate, predictor: str, *, examples: Sequence[Example], summary: str,
        history: Sequence[tuple[str, float]], tip: str, max_chars: int, replicate: int,
    ) -> str:  # fmt: skip
        """An instruction for a predictor of the parent's program; raises as `summary`.

        Args:
            examples: of the train split; shown where they have the predictor's fields.
            history: texts with their quality, the best last.
            tip: a hint, or empty.
            replicate: another number asks the model again.
        """
        step = predictors_of(build_module(parent, self._fields, self._factory, {}))[predictor]
        rows = [_cut(row) for row in demo_rows(examples, step)]
        demos = "\n\n".join(create_example_string(step.signature.fields, row) for row in rows)
        limit = f"Keep the instruction below {max_chars} characters and do not quote examples."
        asked = {
            "dataset_description": summary,
            "task_demos": demos or "No task demos provided.",
            "previous_instructions": "".join(f"{text} | Score: {quality:.2f}\n\n" for text, quality in history),
            "basic_instruction": parent.instructions[predictor],
            "tip": f"{tip} {limit}".strip(),
        }
        if not asked["previous_instructions"]:
            del asked["previous_instructions"]

        def write() -> str:
            history_shown = "previous_instructions" in asked
            writer = generate_instruction_class(program_aware=False, use_instruct_history=history_shown)
            return str(strip_prefix(writer(**asked).proposed_instruction))

        text, log = await self._asked(write, replicate)
        if (why := why_not_whole(log.replies, self._params)) is not None:
            raise ProposerError(why)
        return text

    def _shown(self, example: Example) -> Any:
        names = [*self._fields.inputs, *self._fields.outputs]
        row = _cut({name: example.values[name] for name in names if name in example.values})
        return dspy.Example(**row).with_inputs(*self._fields.inputs)

    async def _asked(self, work: Callable[[], str], replicate: int) -> tuple[str, RunLog]:
        """The result of DSPy's work, and what it requested.

        It runs in a thread of its own, since DSPy's proposer only makes synchronous requests.
        """
        log = RunLog(purpose=Purpose.PROPOSER, replicate=replicate)
        text, error = "", None
        try:
            with recording(log), dspy.context(lm=self._lm, adapter=PlainAdapter(), disable_history=True):
                text = await dspy.asyncify(work)()
        except Exception as raised:  # noqa: BLE001 (judged below, by what the run noted)
            error = raised
        except BaseException:
            await log.cancel()
            raise
        await log.finish()
        _raise_what_failed(log, error, self._params)
        return text, log


def _raise_what_failed(log: RunLog, error: Exception | None, params: Mapping[str, Any]) -> None:
    if (failed := log.infrastructure_error) is not None:
        if isinstance(failed, CallError | JobError):
            raise failed
        raise JobError(f"the proposer failed: {type(failed).__name__}: {failed}") from failed
    if log.program_error is not None:
        if log.unreadable and (why := why_not_whole(log.replies, params)) is not None:
            raise ProposerError(why)
        raise ProposerError(f"the proposer model gave no instruction: {log.program_error}")
    if error is not None:
        raise JobError(f"dspy's proposer failed: {type(error).__name__}: {error}") from error


def _cut(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with long texts cut: ten long letters in one prompt do not fit a small model."""
    return {name: value[:MOST_CHARS] if isinstance(value, str) else value for name, value in row.items()}
