"""What a person should look at in a dataset that can be used: duplicates, answers that contradict, gaps in gold.

Invariant: these are warnings. What would make a result wrong without a word is refused when the data is loaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from offramp.errors import problem
from offramp.ids import canonical_json
from offramp.records import Example, Split
from offramp.space.messages import shown
from offramp.space.model import DatasetPart
from offramp.task.near_copies import normal_text
from offramp.task.readers import read_source
from offramp.task.task import Task

MOST_SHOWN = 5


def data_findings(task: Task, part: DatasetPart, base: Path, gold: Collection[str]) -> list[str]:
    """Warnings about the rows in use, each with file and line.

    Args:
        gold: columns that the metric compares with.
    """
    source = read_source(part, base)
    lines = {row.number: row.number if source.by_line else row.line for row in source.rows}
    examples = sorted((e for split in Split for e in task.splits.of(split)), key=lambda example: example.row)

    def at(example: Example) -> str:
        line = lines.get(example.row)
        return f"row {example.row}" if line is None else f"line {line}"

    answers = sorted({*task.fields.outputs, *gold})
    pairs = [*_equal(task, examples)]
    found = []
    same = [(a, b) for a, b in pairs if _answer(a, answers) == _answer(b, answers)]
    differ = [(a, b) for a, b in pairs if _answer(a, answers) != _answer(b, answers)]
    if same:
        said = [f"{at(b)} repeats {at(a)}" for a, b in same]
        what = f"{_count(len(same), 'duplicate row')}: {_some(said)}"
        found.append(
            problem(_where(source.name, same[0][1], lines), what, do="Drop them: each counts as one more example.")
        )
    if differ:
        said = [f"{at(a)} and {at(b)} ({_difference(a, b, answers)})" for a, b in differ]
        what = f"{_count(len(differ), 'pair')} of equal inputs with different answers: {_some(said)}"
        do = "Make them agree: no candidate can be right on both."
        found.append(problem(_where(source.name, differ[0][0], lines), what, do=do))
    for name in answers:
        empty = [e for e in examples if _is_blank(e.values.get(name))]  # JSON lines may leave the column out as well
        if empty and len(empty) < len(examples):
            what = f"{name} is empty in {_count(len(empty), 'row')}: {_some([at(e) for e in empty])}"
            do = "Fill in or drop those that are gaps: an empty answer counts as the right one."
            if not all(name in e.values for e in empty):
                do = "Fill in or drop those that are gaps: a metric that reads what a row lacks ends the job."
            found.append(problem(_where(source.name, empty[0], lines), what, do=do))
    return found


def _equal(task: Task, examples: Sequence[Example]) -> Iterator[tuple[Example, Example]]:
    """Pairs of the first example with some inputs, and a later one with equal inputs."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        values = [example.values.get(name) for name in task.fields.inputs]
        groups[canonical_json([normal_text(v) if isinstance(v, str) else v for v in values])].append(example)
    for first, *others in groups.values():
        yield from ((first, other) for other in others)


def _answer(example: Example, answers: Sequence[str]) -> str:
    return canonical_json({name: example.values.get(name) for name in answers})


def _difference(a: Example, b: Example, answers: Sequence[str]) -> str:
    name = next(n for n in answers if _answer(a, [n]) != _answer(b, [n]))
    return f"{name}: {shown(a.values.get(name))!r} and {shown(b.values.get(name))!r}"


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _where(name: str, example: Example, lines: dict[int, int | None]) -> str:
    line = lines.get(example.row)
    return f"{name}: row {example.row}" if line is None else f"{name}:{line}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _some(said: Sequence[str]) -> str:
    more = f"; and {len(said) - MOST_SHOWN} more" if len(said) > MOST_SHOWN else ""
    return f"{'; '.join(said[:MOST_SHOWN])}{more}"
