"""The task of a space file, ready to be evaluated: fields, examples in splits, and the metric.

Invariant: `Task.hash` changes if and only if something changes that scores depend on: the data, which example is in
which split, the metric's definition, or the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from offramp.errors import problem
from offramp.ids import content_hash
from offramp.records import Example, Model, Split, Splits
from offramp.space.model import SpaceFile
from offramp.task.dataset import dataset_hash, load_examples, refuse_unknown_labels, unused_labels
from offramp.task.fields import TaskFields, task_fields
from offramp.task.metrics import Metric, build_metric, gold_columns, gold_pairs, refuse_bad_gold, show_columns
from offramp.task.metrics._base import as_text, earlier_fingerprint
from offramp.task.metrics.build import Where
from offramp.task.near_copies import near_copies
from offramp.task.readers.base import place
from offramp.task.splits import split_examples, splits_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What every candidate is evaluated on, and by.

    Attributes:
        dataset_hash: over all columns of the examples in use, whatever their order.
        splits_hash: over which example is in which split.
        unused_labels: warnings about labels that no example has.
    """

    name: str
    fields: TaskFields
    splits: Splits
    dataset_hash: str
    splits_hash: str
    metric: Metric
    unused_labels: tuple[str, ...] = ()

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
        return content_hash([self.dataset_hash, self.splits_hash, fingerprint, self.fields.hash])


def load_task(space: SpaceFile, *, base: Path, models: Mapping[str, Model], where: Where | None = None) -> Task:
    """Read and check everything that a task needs. Raises a UsageError; writes and spends nothing.

    Args:
        space: the job.
        base: folder that relative paths start from: the space file's.
        models: models by name, judges among them.
        where: from a key of the space file to its place, for messages.
    """
    fields = replace(task_fields(space.task, where("task") if where else ""), strict=space.program.strict)
    metric = build_metric(space.metric, fields=fields, base=base, models=models, where=where)
    examples = _examples(space, fields, base)
    dataset = space.dataset.path or str(space.dataset.hub)
    splits = split_examples(examples, space.splits, dataset, inputs=fields.inputs)
    return Task(
        name=space.name,
        fields=fields,
        splits=splits,
        dataset_hash=dataset_hash(examples),
        splits_hash=splits_hash(splits),
        metric=metric,
        unused_labels=tuple(unused_labels(examples, fields, gold_columns(space.metric), dataset)),
    )


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
    nullable = {column for column, field in pairs if fields.outputs[field].optional} | show_columns(space.metric)
    compared = {column for column, field in pairs if not fields.outputs[field].optional}
    columns = gold_columns(space.metric)
    seed = space.splits.seed
    examples = load_examples(part, fields, columns, base, seed=seed, nullable=nullable - compared)
    by_line = (part.path or "").lower().endswith(("jsonl", "ndjson"))

    def at(row: int) -> str:
        return place(part.path or str(part.hub), row, by_line=by_line)

    for column, field in sorted(pairs):
        refuse_unknown_labels(examples, column, fields.outputs[field], at)
    refuse_bad_gold(space.metric, examples, at)
    return examples
