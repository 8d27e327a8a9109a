"""Which candidate is right on which example, as data that the page's script draws; with the answers, if they are few.

Invariant: every text in it is plain: what hides or reorders text is spelled out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from offramp.records import Result, ResultState
from offramp.review.escaping import as_text
from offramp.review.rows import Row
from offramp.study.queries.dataset_rows import Dataset
from offramp.study.wording import plain

MOST_EXAMPLES = 200
_LONGEST_INPUT, _LONGEST_ANSWER = 600, 200
_MOST_TEXT = 500_000  # bytes of inputs and answers in the page; beyond it, later examples are without


def heatmap(
    rows: Sequence[Row], results: Mapping[str, Mapping[str, Result]], dataset: Dataset
) -> dict[str, Any] | None:
    """JSON values; None where nobody ran.

    `left_out` counts the examples that are not shown, and `untold` those without their texts. `cells` has a text for
    each candidate with a character for each example: 0 to 9 for scores of 0 to 1, `x` for a program error, `-` for
    none. An example's `answers` are `(text, numbers of the candidates that gave it)`.
    """
    shown = [row for row in rows if results.get(row.id)]
    known = sorted({example for row in shown for example in results[row.id]})
    examples = known[:MOST_EXAMPLES]
    if not shown or not examples:
        return None
    left, described = _MOST_TEXT, []
    for example in examples:
        one = _example(example, [results[row.id].get(example) for row in shown], dataset)
        size = len(json.dumps(one))
        if size > left:
            one = {**one, "input": "", "gold": "", "answers": []}
        left -= min(left, size)
        described.append(one)
    return {
        "candidates": [{"id": row.id, "label": plain(row.label), "front": row.front} for row in shown],
        "examples": described,
        "left_out": len(known) - len(examples),
        "untold": sum(not one["answers"] for one in described),
        "cells": ["".join(_code(results[row.id].get(example)) for example in examples) for row in shown],
    }


def _code(result: Result | None) -> str:
    if result is None or result.score is None:
        return "-"
    return "x" if result.state is ResultState.PROGRAM_ERROR else str(round(9 * min(1.0, max(0.0, result.score))))


def _example(example: str, results: Sequence[Result | None], dataset: Dataset) -> dict[str, Any]:
    row = dataset.rows.get(example, {})
    inputs = "\n".join(f"{name}: {as_text(row[name])}" for name in dataset.inputs if name in row)
    gold = ", ".join(as_text(row.get(column)) for column in dataset.gold.values() if row.get(column) is not None)
    answers: dict[str, list[int]] = {}
    for number, result in enumerate(results):
        if result is not None:
            answers.setdefault(_answer(result), []).append(number)
    return {
        "id": plain(example),
        "input": plain(inputs[:_LONGEST_INPUT]),
        "gold": plain(gold[:_LONGEST_ANSWER]),
        "answers": [[text, who] for text, who in answers.items()],
    }


def _answer(result: Result) -> str:
    if result.outputs is not None:
        values = list(result.outputs.values())
        text = (
            as_text(values[0])
            if len(values) == 1
            else ", ".join(f"{n}: {as_text(v)}" for n, v in result.outputs.items())
        )
    else:
        text = result.reason or "no answer that is stored"
    return plain(text[:_LONGEST_ANSWER])
