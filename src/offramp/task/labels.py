"""Enum outputs against their gold values: each label occurs, and each gold value is a label.

Both are usually one slip seen from two sides (`refund` in the file, `refunds` in the data), and both would make every
candidate look worse than it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from offramp.errors import DatasetError, nearest, problem
from offramp.records import Example
from offramp.space.model import OutputField
from offramp.task.fields import TaskFields
from offramp.task.readers.base import rows_text


def refuse_unknown_labels(examples: Iterable[Example], fields: TaskFields, at: Callable[[int], str]) -> None:
    """Raises DatasetError for a gold value that is not among an enum output's `values`."""
    rows = list(examples)
    for name, output in fields.outputs.items():
        refuse_unknown_labels_in(rows, name, output, at)


def refuse_unknown_labels_in(
    examples: Iterable[Example], column: str, output: OutputField, at: Callable[[int], str]
) -> None:
    """The same for one column that an enum output is compared with; columns that are not there are passed over."""
    labels = output.values
    if labels is None:
        return
    rows_of: dict[str, list[int]] = defaultdict(list)
    for example in examples:
        value = example.values.get(column, labels[0])
        if value not in labels and not (value is None and output.optional):
            rows_of[repr(value)].append(example.row)
    if rows_of:
        raise DatasetError(_unknown(column, rows_of, labels, at))


def _unknown(column: str, rows_of: Mapping[str, Sequence[int]], labels: Sequence[str], at: Callable[[int], str]) -> str:
    shown = "; ".join(f"{value} ({rows_text(rows)})" for value, rows in list(rows_of.items())[:5])
    more = f"; and {len(rows_of) - 5} more values" if len(rows_of) > 5 else ""
    first = min(row for rows in rows_of.values() for row in rows)
    known = f"one of {', '.join(map(repr, labels[:20]))}"
    what = f"{column}: not a label: {shown}{more}; expected {known}"
    return problem(at(first), what, do=nearest(next(iter(rows_of)).strip("'\""), labels) or None)


def refuse_unused_labels(examples: Iterable[Example], outputs: Mapping[str, OutputField], where: str) -> None:
    """Raises DatasetError for a label that no example has: nothing could be said about it."""
    rows = list(examples)
    for name, output in outputs.items():
        seen = {str(example.values.get(name)) for example in rows}
        unused = [label for label in output.values or () if label not in seen]
        if unused:
            what = f"{name}: no example has the label{'s' if len(unused) > 1 else ''} {', '.join(map(repr, unused))}"
            hints = {hint for label in unused if (hint := nearest(label, seen - set(output.values or ())))}
            do = " ".join(sorted(hints)) or "Add examples, or take it out of `values`."
            raise DatasetError(problem(where, what, do=do))
