"""A grammar (GBNF) that holds llama.cpp to the plain answer form of a signature.

Each output is held to one line; a text is anything on it, and a number has nine digits before and after the point at
most, since a small model may find no end.

Invariant: every text of the grammar is parsed by the plain format without a fault.
Source: grammars/README of llama.cpp.
"""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import dspy

from offramp.program.values import base_of, null_word, written

_LINE = r"[^\n\r]+"
_DIGITS = "[0-9]{1,9}"
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain_grammar(signature: type[dspy.Signature]) -> str | None:
    """The grammar, or None where nothing can be held (one free text, or values that are lists or objects)."""
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
    rule = _of_base(base, annotation, names)
    return f"({_quoted(null_word(annotation))} | {rule})" if rule and nullable else rule


def _of_base(base: Any, annotation: Any, names: tuple[str, ...]) -> str | None:
    if get_origin(base) is Literal:
        return "(" + " | ".join(_quoted(written(option, annotation, names)) for option in get_args(base)) + ")"
    if base is bool:
        return '("true" | "false")'
    return {int: f'("-"? {_DIGITS})', float: f'("-"? {_DIGITS} ("." {_DIGITS})?)'}.get(base)


def _quoted(text: str) -> str:
    """A literal of the grammar: it knows fewer escapes than JSON."""
    return '"' + "".join(_ESCAPES.get(c) or (f"\\x{ord(c):02x}" if ord(c) < 32 else c) for c in text) + '"'
