"""The plain message format: instructions as system text, inputs as user text, the bare answer back.

With one input the user text is its bare value; with several it is `name: value` lines. With one output the answer is
its bare value; with several it is one `name: value` each, and the system text ends with that form. Small models follow
this where long scaffolds confuse them. How values are written and read, and how fields are
distinguished, is in `values.py`.

A missing output is a program error, but for two that may be missing: one that may be null, and the reasoning of a chain
of thought, which nobody asked for (demos from a dataset have none either).

Invariant: what `answer_text` writes, `parse` reads back to the same values. Of a single text alone, white space at its
ends is not kept, and an empty one is not an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import dspy
import pydantic
from dspy.adapters.utils import apply_output_field_defaults
from dspy.utils.exceptions import AdapterParseError

from offramp.program.reading import NULLS, names_option, read_value, unquoted
from offramp.program.values import base_of, is_line, mark_of, plain_text, split_fields, strict_fields

REASONING = "reasoning"
"""The output field that a chain of thought adds."""

_LINE = r"[^\n\r]+"
_DIGITS = "[0-9]{1,9}"
_RULES = {
    bool: '("true" | "false")',
    int: f'("-"? {_DIGITS})',
    float: f'("-"? {_DIGITS} ("." {_DIGITS})?)',
}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class PlainMessages(dspy.Adapter):  # type: ignore[misc]
    """DSPy adapter for the plain format (see the module). `strict`: each field is read only if it is exactly right."""

    strict: bool = False

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

    def format_user_message_content(
        self, signature: type[dspy.Signature], inputs: Mapping[str, Any], *_args: Any, **_kwargs: Any
    ) -> str:
        """The inputs alone, as agents show their trajectory."""
        return user_text(signature, inputs)

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """The output fields. Raises AdapterParseError when a field is missing or not of its type."""
        fields = list(signature.output_fields)
        split = strict_fields if self.strict else split_fields
        raw = {fields[0]: completion} if len(fields) == 1 else split(fields, completion)
        if REASONING in fields[:-1]:
            raw.setdefault(REASONING, "")
        values = {}
        for name, text in raw.items():
            try:
                annotation = signature.output_fields[name].annotation
                if self.strict:
                    values[name] = read_value(text, annotation, name=name, strict=True)
                else:
                    values[name] = _read(name, text, annotation, alone=len(fields) == 1)
            except (ValueError, TypeError, pydantic.ValidationError) as error:
                raise _unparsable(signature, completion, f"{name!r} is not of its type") from error
        values = apply_output_field_defaults(signature, values)
        missing = [name for name in fields if name not in values]
        if missing:
            raise _unparsable(signature, completion, f"no line for {missing}")
        return dict(values)


def _read(name: str, text: str, annotation: Any, *, alone: bool) -> Any:
    """The value. Of several, one that fits on a line ends with its line, whatever the model goes on to say."""
    if not alone and is_line(annotation):
        text = text.strip().partition("\n")[0]
    value = read_value(text, annotation, name=name)
    return value if alone or annotation is not str else unquoted(text)


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


def plain_grammar(signature: type[dspy.Signature]) -> str | None:
    """A grammar (GBNF) that holds llama.cpp to the plain answer form of a signature.

    Each output is held to one line; a text is anything on it, and a number has at most nine digits before and after
    the point, since a small model may find no end. Every text of the grammar is parsed without an error.

    Returns:
        None where nothing can be held: one free text, or values that are lists or objects.

    Source: grammars/README of llama.cpp.
    """
    fields = signature.output_fields
    alone = len(fields) == 1
    names = () if alone else tuple(fields)
    rules = {name: _rule(field.annotation, names) for name, field in fields.items()}
    if not all(rules.values()) or (alone and _LINE in rules.values()):
        return None
    if alone:
        return f"root ::= {next(iter(rules.values()))}"
    return "root ::= " + ' "\\n" '.join(f"{_quoted(f'{name}: ')} {rule}" for name, rule in rules.items())


def _rule(annotation: Any, names: tuple[str, ...]) -> str | None:
    base, nullable = base_of(annotation)
    if base is str:
        return _LINE  # null is a line like any other
    if get_origin(base) is Literal:
        rule = "(" + " | ".join(_quoted(written(option, annotation, names)) for option in get_args(base)) + ")"
    elif base in _RULES:
        rule = _RULES[base]
    else:
        return None
    return f"({_quoted(null_word(annotation))} | {rule})" if nullable else rule


def _quoted(text: str) -> str:
    """A literal of the grammar: it knows fewer escapes than JSON."""
    return '"' + "".join(_ESCAPES.get(c) or (f"\\x{ord(c):02x}" if ord(c) < 32 else c) for c in text) + '"'


def written(value: Any, annotation: Any, names: Sequence[str] = ()) -> str:
    """The value as text. `names` are the fields whose `name:` marks it may not hold; none where it stands alone."""
    base, nullable = base_of(annotation)
    if value is None:
        return null_word(annotation)
    text = plain_text(value)
    if not isinstance(value, str) or (base is str and not nullable and not names):
        return text
    options = get_args(base) if get_origin(base) is Literal else ()
    return text if _stands(text, options, nullable, names) else json.dumps(text, ensure_ascii=False)


def _stands(text: str, options: Sequence[Any], nullable: bool, names: Sequence[str]) -> bool:
    if not text or text != text.strip() or any(mark_of(line, names) for line in text.split("\n")):
        return False
    if options:
        return "\n" not in text
    return not text.startswith('"') and not (nullable and text.casefold() in NULLS)


def null_word(annotation: Any) -> str:
    """How null is written: `null`, or another word for it where an option has that name."""
    base, _ = base_of(annotation)
    options = get_args(base) if get_origin(base) is Literal else ()
    return next((word for word in NULLS if not names_option(word, options)), NULLS[0])
