"""A grammar (GBNF) that holds llama.cpp to the plain answer form of a signature.

Invariant: every text of the grammar is parsed by the plain format without a fault.
Source: grammars/README of llama.cpp.
"""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin

import dspy

_LINE = r"[^\n\r]+"
_TEXT = r"[^\x00]+"
_INT = '"-"? [0-9] [0-9]? [0-9]? [0-9]? [0-9]? [0-9]? [0-9]? [0-9]? [0-9]?'


def plain_grammar(signature: type[dspy.Signature]) -> str | None:
    """The grammar, or None where nothing can be held (one free text, or values that are lists or objects)."""
    fields = signature.output_fields
    if len(fields) == 1 and next(iter(fields.values())).annotation is str:
        return None
    rules = [_rule(field.annotation, alone=len(fields) == 1) for field in fields.values()]
    if any(rule is None for rule in rules):
        return None
    if len(fields) == 1:
        return f"root ::= {rules[0]}"
    lines = [f"{_quoted(name + ': ')} {rule}" for name, rule in zip(fields, rules, strict=True)]
    return "root ::= " + ' "\\n" '.join(lines)


def _rule(annotation: Any, *, alone: bool) -> str | None:
    if get_origin(annotation) is Literal:
        return "(" + " | ".join(_quoted(str(option)) for option in get_args(annotation)) + ")"
    if annotation is str:
        return _TEXT if alone else _LINE
    if annotation is bool:
        return '("true" | "false")'
    if annotation is int:
        return f"({_INT})"
    if annotation is float:
        return f'({_INT} ("." [0-9]+)?)'
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if len(inner) == 1 and type(None) in get_args(annotation):
        rule = _rule(inner[0], alone=alone)
        return None if rule is None else f'("null" | {rule})'
    return None


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
