"""The plain message format: instructions as system text, inputs as user text, the bare answer back.

With one input the user text is its bare value; with several it is `name: value` lines. With one output the answer is
its bare value; with several it is one `name: value` each, and the system text ends with that form. Small models follow
this where they lose themselves in long scaffolds. How values are written and read is in `values.py`, how fields are
told apart in `marks.py`.

A missing output is a fault, but for two that may be missing: one that may be null, and the reasoning of a chain of
thought, which no one asked for (demos from a dataset have none either).

Invariant: what `answer_text` writes, `parse` reads back to the same values. Of a single text alone, white space at its
ends is not kept, and an empty one is not an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import dspy
import pydantic
from dspy.adapters.utils import apply_output_field_defaults
from dspy.utils.exceptions import AdapterParseError

from offramp.program.engine import extra_params
from offramp.program.grammar import plain_grammar
from offramp.program.marks import split_fields
from offramp.program.values import base_of, is_line, plain_text, read, written

REASONING = "reasoning"
"""The output field that a chain of thought adds."""


class PlainFormat(dspy.Adapter):  # type: ignore[misc]
    """DSPy adapter for the plain format (see the module). `constrained` sends a grammar with each request."""

    def __init__(self, *, constrained: bool = False) -> None:
        super().__init__()
        self._constrained = constrained

    def __call__(self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Any, inputs: Any) -> Any:
        """DSPy's pipeline, with the grammar beside it."""
        with extra_params(self._grammar(signature)):
            return super().__call__(lm, lm_kwargs, signature, demos, inputs)

    async def acall(self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Any, inputs: Any) -> Any:
        """DSPy's pipeline, with the grammar beside it."""
        with extra_params(self._grammar(signature)):
            return await super().acall(lm, lm_kwargs, signature, demos, inputs)

    def _grammar(self, signature: type[dspy.Signature]) -> dict[str, str]:
        grammar = plain_grammar(signature) if self._constrained else None
        return {} if grammar is None else {"grammar": grammar}

    def format(
        self, signature: type[dspy.Signature], demos: list[dict[str, Any]], inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Chat messages: system, one user/assistant pair per demo, and the input."""
        messages = [{"role": "system", "content": system_text(signature)}]
        for demo in demos:
            answer = {name: demo[name] for name in signature.output_fields if name in demo}
            messages.append({"role": "user", "content": user_text(signature, demo)})
            messages.append({"role": "assistant", "content": answer_text(signature, answer)})
        messages.append({"role": "user", "content": user_text(signature, inputs)})
        return messages if messages[0]["content"] else messages[1:]

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """The output fields. Raises AdapterParseError when a field is missing or not of its type."""
        fields = list(signature.output_fields)
        raw = {fields[0]: completion} if len(fields) == 1 else split_fields(fields, completion)
        if REASONING in fields[:-1]:
            raw.setdefault(REASONING, "")
        values = {}
        for name, text in raw.items():
            try:
                values[name] = _read(text, signature.output_fields[name].annotation, alone=len(fields) == 1)
            except (ValueError, TypeError, pydantic.ValidationError) as error:
                raise _unparsable(signature, completion, f"{name!r} is not of its type") from error
        values = apply_output_field_defaults(signature, values)
        missing = [name for name in fields if name not in values]
        if missing:
            raise _unparsable(signature, completion, f"no line for {missing}")
        return dict(values)


def _read(text: str, annotation: Any, *, alone: bool) -> Any:
    """The value. Of several, one that fits on a line ends with its line, whatever the model goes on to say."""
    if not alone and is_line(annotation):
        text = text.strip().partition("\n")[0]
    return read(text, annotation, alone=alone)


def _unparsable(signature: type[dspy.Signature], completion: str, message: str) -> AdapterParseError:
    return AdapterParseError(adapter_name="plain", signature=signature, lm_response=completion, message=message)


def system_text(signature: type[dspy.Signature]) -> str:
    """The instructions, and for several outputs the form of the answer."""
    text = signature.instructions.strip()
    if len(signature.output_fields) == 1:
        return str(text)
    form = "\n".join(f"{name}: {_hint(field)}" for name, field in signature.output_fields.items())
    return f"{text}\n\nAnswer in this form:\n{form}".strip()


def _hint(field: Any) -> str:
    base, nullable = base_of(field.annotation)
    if get_origin(base) is Literal:
        options = [*get_args(base), *([None] if nullable else [])]
        return " | ".join(written(option, field.annotation) for option in options)
    desc = (field.json_schema_extra or {}).get("desc", "")
    if desc and not desc.startswith("${"):
        return f"<{desc}>"
    hint = {str: "<text>", bool: "true | false", int: "<whole number>", float: "<number>"}.get(base, "<JSON>")
    return f"{hint} | null" if nullable else hint


def user_text(signature: type[dspy.Signature], values: Mapping[str, Any]) -> str:
    """The inputs: the bare value of a single one, `name: value` lines for several."""
    fields = [name for name in signature.input_fields if name in values]
    if len(signature.input_fields) == 1:
        return plain_text(values[fields[0]]) if fields else ""
    return "\n".join(f"{name}: {plain_text(values[name])}" for name in fields)


def answer_text(signature: type[dspy.Signature], values: Mapping[str, Any]) -> str:
    """The outputs as the model should have written them. Fields that are not in `values` are left out."""
    fields = signature.output_fields
    if len(fields) == 1:
        return "".join(written(value, fields[name].annotation) for name, value in values.items())
    names = tuple(fields)
    lines = {name: written(values[name], fields[name].annotation, names) for name in fields if name in values}
    return "\n".join(f"{name}: {text}" for name, text in lines.items())
