"""The plain message format: instructions as system text, inputs as user text, the bare answer back.

With one input the user text is its bare value; with several it is `name: value` lines. With one output the answer is
its bare value; with several it is one `name: value` line each, and the system text ends with that form. Small models
follow this where they lose themselves in long scaffolds.

Invariant: what `format_outputs` writes, `parse` reads back to the same values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import dspy
import pydantic
from dspy.adapters.utils import apply_output_field_defaults, parse_value, serialize_for_json
from dspy.utils.exceptions import AdapterParseError

from offramp.program.engine import extra_params
from offramp.program.grammar import plain_grammar


class PlainAdapter(dspy.Adapter):  # type: ignore[misc]
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
        raw = {fields[0]: completion} if len(fields) == 1 else _split(fields, completion)
        values = {}
        for name, text in raw.items():
            try:
                values[name] = _value(text.strip(), signature.output_fields[name].annotation)
            except (ValueError, TypeError, pydantic.ValidationError) as error:
                raise _unparsable(signature, completion, f"{name!r} is not of its type") from error
        values = apply_output_field_defaults(signature, values)
        missing = [name for name in fields if name not in values]
        if missing:
            raise _unparsable(signature, completion, f"no line for {missing}")
        return dict(values)


def _unparsable(signature: type[dspy.Signature], completion: str, message: str) -> AdapterParseError:
    return AdapterParseError(adapter_name="plain", signature=signature, lm_response=completion, message=message)


def system_text(signature: type[dspy.Signature]) -> str:
    """The instructions, and for several outputs the form of the answer."""
    text = signature.instructions.strip()
    if len(signature.output_fields) == 1:
        return str(text)
    form = "\n".join(f"{name}: {_hint(field)}" for name, field in signature.output_fields.items())
    return f"{text}\n\nAnswer in this form:\n{form}"


def _hint(field: Any) -> str:
    options = _literals(field.annotation)
    if options:
        return " | ".join(str(option) for option in options)
    desc = (field.json_schema_extra or {}).get("desc", "")
    if desc and not desc.startswith("${"):
        return f"<{desc}>"
    return "<text>" if field.annotation is str else "<JSON>"


def user_text(signature: type[dspy.Signature], values: Mapping[str, Any]) -> str:
    """The inputs: the bare value of a single one, `name: value` lines for several."""
    fields = [name for name in signature.input_fields if name in values]
    if len(signature.input_fields) == 1:
        return _text(values[fields[0]]) if fields else ""
    return "\n".join(f"{name}: {_text(values[name])}" for name in fields)


def answer_text(signature: type[dspy.Signature], values: Mapping[str, Any]) -> str:
    """The outputs as the model should have written them. Fields that are not in `values` are left out."""
    if len(signature.output_fields) == 1:
        return "".join(_text(value) for value in values.values())
    return "\n".join(f"{name}: {_text(values[name])}" for name in signature.output_fields if name in values)


def _text(value: Any) -> str:
    plain = serialize_for_json(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _split(fields: list[str], completion: str) -> dict[str, str]:
    """Text after each `name:` marker at the start of a line, up to the next marker; the first one counts."""
    names = "|".join(re.escape(name) for name in fields)
    marks = list(re.finditer(rf"^[ \t*_`\"-]*({names})[*_`\"]*[ \t]*:[*_]*", completion, re.IGNORECASE | re.MULTILINE))
    by_folded = {name.casefold(): name for name in fields}
    found: dict[str, str] = {}
    for index, mark in enumerate(marks):
        end = marks[index + 1].start() if index + 1 < len(marks) else len(completion)
        found.setdefault(by_folded[mark.group(1).casefold()], completion[mark.end() : end])
    return found


def _value(text: str, annotation: Any) -> Any:
    options = _literals(annotation)
    if options:
        return _option(text, options)
    if annotation is str:
        return text
    if annotation in (int, float):
        return annotation(text.replace(",", "").strip(" .`*"))
    if type(None) in get_args(annotation) and text.strip(" .`*").casefold() in ("null", "none", ""):
        return None
    return parse_value(text, annotation)


def _literals(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((get_args(part) for part in get_args(annotation) if get_origin(part) is Literal), ())


def _option(text: str, options: tuple[Any, ...]) -> Any:
    """The option that the text names, whatever its case and the punctuation around it."""
    folded = {str(option).casefold(): option for option in options}
    cleaned = text.strip().strip("\"'`*_.:!,;()[]<> \n\t").casefold()
    if cleaned in folded:
        return folded[cleaned]
    raise ValueError(f"{text[:80]!r} is none of {list(options)}")
