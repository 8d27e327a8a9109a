"""Which columns of the data a metric compares with, and whether what they hold can be compared with at all.

Asked before a job starts, so that row 900 does not stop it at the 900th call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from offramp.errors import DatasetError, problem
from offramp.records import Example
from offramp.space.model import (
    ContainsMetric,
    ExactMetric,
    JsonFieldsMetric,
    JudgeMetric,
    LengthMetric,
    Metric,
    MixMetric,
    NumberMetric,
    TokenF1Metric,
)
from offramp.task.metrics.contains import strings
from offramp.task.metrics.length import word_limit
from offramp.task.metrics.number import last_number


def leaves(part: Metric) -> Iterator[Metric]:
    """The metric, or the parts of a mix, however deep."""
    if isinstance(part, MixMetric):
        for inner in part.parts:
            yield from leaves(inner)
    else:
        yield part


def gold_columns(part: Metric) -> set[str]:
    """Every column that the metric reads by name. What a Python metric reads is not known."""
    return {column for column, _ in gold_pairs(part)} | _side_columns(part)


def gold_pairs(part: Metric) -> set[tuple[str, str]]:
    """(column, output field) for every gold column that is compared with an output."""
    pairs: set[tuple[str, str]] = set()
    for leaf in leaves(part):
        if isinstance(leaf, ExactMetric | TokenF1Metric | NumberMetric):
            pairs.add((leaf.gold or leaf.field, leaf.field))
        elif isinstance(leaf, JsonFieldsMetric):
            pairs |= {(field, field) for field in leaf.fields}
    return pairs


def show_columns(part: Metric) -> set[str]:
    """Columns that only a judge sees, and strings to look for: null is an answer there."""
    shown = {column for leaf in leaves(part) if isinstance(leaf, JudgeMetric) for column in leaf.show}
    return shown | {leaf.values_from for leaf in leaves(part) if isinstance(leaf, ContainsMetric) and leaf.values_from}


def _side_columns(part: Metric) -> set[str]:
    limits = {leaf.max_words_from for leaf in leaves(part) if isinstance(leaf, LengthMetric) and leaf.max_words_from}
    return show_columns(part) | limits


def refuse_bad_gold(part: Metric, examples: Iterable[Example], at: Callable[[int], str]) -> None:
    """Raises DatasetError with the row for gold that its metric cannot compare with."""
    checks = [check for leaf in leaves(part) if (check := _check(leaf)) is not None]
    for example in examples:
        for column, is_good, expected in checks:
            value = example.values.get(column)
            if not is_good(value):
                raise DatasetError(problem(at(example.row), column, got=value, expected=expected))


def _check(leaf: Metric) -> tuple[str, Callable[[object], bool], str] | None:
    if isinstance(leaf, NumberMetric):
        column = leaf.gold or leaf.field
        return column, lambda value: value is None or last_number(value) is not None, "a number"
    if isinstance(leaf, LengthMetric) and leaf.max_words_from:
        return leaf.max_words_from, lambda value: word_limit(value) is not None, "a whole number from 1"
    if isinstance(leaf, ContainsMetric) and leaf.values_from:
        return leaf.values_from, lambda value: strings(value) is not None, "text or a list of texts, none blank"
    return None
