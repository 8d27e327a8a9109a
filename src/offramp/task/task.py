"""The task of a space file, ready to be evaluated: fields, examples in splits, and the metric.

Rows are divided as the dataset has them, then their gold values are read by the types of the outputs. The outputs of a
user's module have none in the space file, so its task is read once more when the module is made (`read_for_module`).

Invariant: `Task.hash` changes if and only if something changes that scores depend on: the data, how its values are
read, which example is in which split, the metric's definition, or the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from offramp.errors import problem
from offramp.ids import content_hash
from offramp.records import Example, Model, Split, Splits
from offramp.space.model import SpaceFile
from offramp.task.dataset import dataset_hash, load_examples, refuse_unknown_labels, unused_labels
from offramp.task.fields import TaskFields, task_fields
from offramp.task.gold import GoldType, is_blank, json_of, read_columns, type_of_annotation, type_of_output
from offramp.task.metrics import (
    Metric,
    build_metric,
    comparisons,
    gold_columns,
    gold_pairs,
    refuse_bad_gold,
    show_columns,
)
from offramp.task.metrics._base import as_text, earlier_fingerprint
from offramp.task.metrics.build import Where
from offramp.task.near_copies import near_copies
from offramp.task.readers.base import place
from offramp.task.splits import split_examples, splits_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What every candidate is evaluated on, and by.

    Attributes:
        dataset_hash: over all columns of the examples in use as the dataset has them, whatever their order.
        splits_hash: over which example is in which split.
        unused_labels: warnings about labels that no example has.
        read_hash: over the values that are read as another than the dataset has; None where none is.
    """

    name: str
    fields: TaskFields
    splits: Splits
    dataset_hash: str
    splits_hash: str
    metric: Metric
    unused_labels: tuple[str, ...] = ()
    read_hash: str | None = None

    @property
    def groups(self) -> dict[str, str]:
        """Group by example id, of examples that belong together; empty where each stands alone."""
        examples = (example for split in Split for example in self.splits.of(split))
        return {example.id: example.group for example in examples if example.group is not None}

    @property
    def hash(self) -> str:
        """Content hash of the whole; scores of different hashes are never compared."""
        return self._hash_with(self.metric.fingerprint)

    def is_of(self, task_hash: str) -> bool:
        """Whether a stored hash is this task's, also as earlier releases made it."""
        return task_hash in (self.hash, self._hash_with(earlier_fingerprint(self.metric)))

    def _hash_with(self, fingerprint: str) -> str:
        read = [] if self.read_hash is None else [self.read_hash]
        return content_hash([self.dataset_hash, self.splits_hash, fingerprint, self.fields.hash, *read])


def load_task(
    space: SpaceFile, *, base: Path, models: Mapping[str, Model], where: Where | None = None, stored: bool = False
) -> Task:  # fmt: skip
    """Read and check everything that a task needs. Raises a UsageError; writes and spends nothing.

    Gold for a module of the user's is left as the dataset has it, until `read_for_module`.

    Args:
        space: the job.
        base: folder that relative paths start from: the space file's.
        models: models by name, judges among them.
        where: from a key of the space file to its place, for messages.
        stored: a study has run on it, so that gold which no answer can equal is taken as it is.
    """
    fields = replace(task_fields(space.task, where("task") if where else ""), strict=space.program.strict)
    metric = build_metric(space.metric, fields=fields, base=base, models=models, where=where)
    examples = _examples(space, fields, base)
    dataset = space.dataset.path or str(space.dataset.hub)
    splits = split_examples(examples, space.splits, dataset, inputs=fields.inputs)
    task = Task(
        name=space.name,
        fields=fields,
        splits=splits,
        dataset_hash=dataset_hash(examples),
        splits_hash=splits_hash(splits),
        metric=metric,
        unused_labels=tuple(unused_labels(examples, fields, gold_columns(space.metric), dataset)),
    )
    if space.task.module is not None:
        return task
    types = {name: type_of_output(output) for name, output in fields.outputs.items()}
    return _read(task, space, types, refuse=not stored)


def read_for_module(
    task: Task, space: SpaceFile, *, outputs: Mapping[str, Any], inputs: Mapping[str, Any], stored: bool = False
) -> Task:  # fmt: skip
    """The task with its values read by the types of a user's module.

    Args:
        outputs: annotation by output, where the module's predictors say one.
        inputs: annotation by input.
        stored: as for `load_task`.

    Raises:
        DatasetError: no answer can equal a gold value.
    """
    types = {name: type_of_annotation(outputs.get(name)) for name in task.fields.outputs}
    lists = {name for name in task.fields.inputs if type_of_annotation(inputs.get(name)).kind in ("list", "object")}
    read = _read(task, space, types, parsed=frozenset(lists - task.fields.media.keys()), refuse=not stored)
    if not stored:
        refuse_bad_gold(space.metric, _in_use(read), _place_in(space))
    return read


def _read(
    task: Task, space: SpaceFile, types: Mapping[str, GoldType], *, parsed: frozenset[str] = frozenset(), refuse: bool
) -> Task:  # fmt: skip
    """The task with gold read by these types, JSON text of `parsed` inputs parsed, and blank optional inputs null."""
    examples, fields = _in_use(task), task.fields
    is_text = (space.dataset.path or "").lower().endswith((".csv", ".tsv"))
    holds_text = is_text or (space.dataset.path or "").lower().endswith(".xlsx")  # for a list or an object
    changed = read_columns(
        examples, comparisons(space.metric), types, _place_in(space), kept=fields.inputs, text_cells=is_text,
        refuse=refuse,
    )  # fmt: skip
    for example in examples:
        blank = [n for n in fields.optional_inputs if is_text and is_blank(example.values.get(n))]
        texts = {n: example.values.get(n) for n in parsed if holds_text}
        found = {n: value for n, text in texts.items() if (value := _parsed(text)) is not text}
        if blank or found:
            changed[example.id] = {**changed.get(example.id, {}), **found, **dict.fromkeys(blank)}
    if not changed:
        return task
    splits = Splits(**{
        split.value: tuple(_with(example, changed.get(example.id)) for example in task.splits.of(split))
        for split in Split
    })  # fmt: skip
    return replace(task, splits=splits, read_hash=content_hash(changed))


def _in_use(task: Task) -> list[Example]:
    return sorted((e for split in Split for e in task.splits.of(split)), key=lambda example: example.row)


def _with(example: Example, values: Mapping[str, Any] | None) -> Example:
    return example if values is None else replace(example, values=MappingProxyType({**example.values, **values}))


def _parsed(text: Any) -> Any:
    """The list or the object that a JSON text writes; anything else as it is."""
    if not isinstance(text, str) or not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json_of(text)
    except ValueError:
        return text


def warnings_of(task: Task, where: str) -> list[str]:
    """What a person should know before money is spent: labels without examples, and near copies across splits.

    Args:
        where: the space file's `dataset`, for messages.
    """
    examples = [(split, example) for split in Split for example in task.splits.of(split)]
    texts = ["\n".join(as_text(example.values.get(name)) for name in task.fields.inputs) for _, example in examples]
    pairs = near_copies(texts, [split for split, _ in examples])
    pairs = [pair for pair in pairs if not _grouped(examples[pair.a][1], examples[pair.b][1])]
    found = list(task.unused_labels)
    if pairs:
        shown = "; ".join(
            f"row {examples[p.a][1].row} ({examples[p.a][0]}) and row {examples[p.b][1].row} ({examples[p.b][0]}), "
            f"{p.alike:.0%} alike" for p in pairs[:3]
        )  # fmt: skip
        more = f"; and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        what = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} of nearly equal inputs in two splits: {shown}{more}"
        do = "A candidate that memorises looks better than it is; name what belongs together with `dataset.group`."
        found.append(problem(where, what, do=do))
    return found


def _grouped(a: Example, b: Example) -> bool:
    return a.group is not None and a.group == b.group


def _examples(space: SpaceFile, fields: TaskFields, base: Path) -> tuple[Example, ...]:
    part, pairs = space.dataset, gold_pairs(space.metric)
    of_module = space.task.module is not None  # which alone knows where null is an answer
    nullable = {column for column, field in pairs if of_module or fields.outputs[field].optional}
    compared = set() if of_module else {column for column, field in pairs if not fields.outputs[field].optional}
    columns = gold_columns(space.metric)
    nullable = (nullable | show_columns(space.metric)) - compared
    examples = load_examples(part, fields, columns, base, seed=space.splits.seed, nullable=nullable)
    at = _place_in(space)
    for column, field in sorted(pairs):
        refuse_unknown_labels(examples, column, fields.outputs[field], at)
    if not of_module:
        refuse_bad_gold(space.metric, examples, at)
    return examples


def _place_in(space: SpaceFile) -> Callable[[int], str]:
    part = space.dataset
    by_line = (part.path or "").lower().endswith(("jsonl", "ndjson"))
    return lambda row: place(part.path or str(part.hub), row, by_line=by_line)
