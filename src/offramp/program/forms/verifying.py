"""The verifying call: the inputs and an answer in, whether it is accepted and what is wrong with it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, cast

import dspy

from offramp.errors import SpaceError, problem
from offramp.program.forms.answers import NoAnswer, answers
from offramp.program.values import json_value, plain_text

ACCEPTED, OBJECTION = "accepted", "objection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the verifying call says of an answer; `accepted` is None where it cannot be read."""

    accepted: bool | None
    objection: str


def verifier_of(signature: type[dspy.Signature], instruction: str, where: str) -> dspy.Predict:
    """The predictor that checks answers to a task.

    Args:
        signature: of the task.

    Raises:
        SpaceError: the task has a field of a name that the reply takes.
    """
    for name in (ACCEPTED, OBJECTION):
        if name in signature.fields:
            what = f"program.form: a verifying call gives {name!r}, and the task has a field of that name"
            raise SpaceError(problem(where, what, do="Rename the field; `dataset.fields` maps it to its column."))
    columns: dict[str, tuple[Any, Any]] = {
        name: (field.annotation, dspy.InputField(desc=_desc(field))) for name, field in signature.input_fields.items()
    }
    columns |= {name: (str, dspy.InputField(desc=_desc(field))) for name, field in signature.output_fields.items()}
    columns[ACCEPTED] = (bool, dspy.OutputField(desc="true or false"))
    columns[OBJECTION] = (Optional[str], dspy.OutputField(desc="what is wrong, or null"))  # noqa: UP045 (a type)
    return dspy.Predict(cast("type[dspy.Signature]", dspy.Signature(columns, instruction)))


def _desc(field: Any) -> str:
    return str((field.json_schema_extra or {}).get("desc", ""))


def answer_texts(prediction: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, str]:
    """The outputs of an answer as texts."""
    return {name: plain_text(json_value(prediction[name])) for name in outputs}


async def verified(
    verify: dspy.Predict, inputs: Mapping[str, Any], given: Sequence[Mapping[str, str]]
) -> list[Verified]:
    """What the verifying call says of each of these answers, each asked once, side by side."""
    try:
        found = await answers(verify, [{**inputs, **texts} for texts in given])
    except NoAnswer:  # of the verifier alone: the answers remain
        return [Verified(accepted=None, objection="")] * len(given)
    said = [None if one is None else one.prediction for one in found]
    return [
        Verified(
            accepted=None if one is None else one[ACCEPTED],
            objection="" if one is None or one[OBJECTION] is None else one[OBJECTION],
        )
        for one in said
    ]
