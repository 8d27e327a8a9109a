"""The demos of a candidate, to be shown: chosen as its program chooses them, from the study's own train split.

Invariant: nothing is shown that the program did not show; where that cannot be known, a note says how they are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from offramp.errors import OfframpError
from offramp.program.demos import choose_demos, distinct
from offramp.records import Candidate, DemoKind, Example
from offramp.review.own_demos import Shown
from offramp.review.shown import as_text
from offramp.space.load import space_from_json
from offramp.space.model import SpaceFile
from offramp.store.studies import StudyRow
from offramp.study.queries.dataset_rows import Dataset
from offramp.task.dataset import load_examples
from offramp.task.fields import TaskFields, task_fields
from offramp.task.metrics import gold_columns, show_columns
from offramp.task.splits import split_examples

BOOTSTRAPPED = "Up to {count} of its own answers on train examples, such as the metric approved of."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What demos are chosen from: the train split in its order, the task's fields, and the column to balance by."""

    train: tuple[Example, ...]
    fields: TaskFields
    balance_by: str | None


def read_pool(row: StudyRow, dataset: Dataset) -> Pool | None:
    """The pool of a study; None where its data is not what it ran on any more."""
    if dataset.missing is not None:
        return None
    try:
        return _read(space_from_json(row.space_json), Path(row.details.space_file or "").parent)
    except (OfframpError, OSError, KeyError):
        return None


def _read(space: SpaceFile, base: Path) -> Pool:
    fields = task_fields(space.task, "")
    gold = gold_columns(space.metric)
    nullable = gold | show_columns(space.metric)
    examples = load_examples(space.dataset, fields, gold, base, seed=space.splits.seed, nullable=nullable)
    where = space.dataset.path or str(space.dataset.hub)
    train = split_examples(examples, space.splits, where, inputs=fields.inputs).train
    enums = [name for name, output in fields.outputs.items() if output.type == "enum"]
    return Pool(train=train, fields=fields, balance_by=space.demos.balance_by or next(iter(enums), None))


def shown_demos(candidate: Candidate, pool: Pool | None) -> tuple[tuple[Shown, ...], str | None]:
    """The demos of a candidate, and a note on how they were chosen; nothing of both for a candidate without."""
    kind, count = candidate.demo_kind, candidate.demo_count
    if kind is DemoKind.NONE or not count:
        return (), None
    if kind is DemoKind.NEAREST:
        return (), _nearest(count, pool)
    if kind is DemoKind.BOOTSTRAPPED:
        return (), BOOTSTRAPPED.format(count=count)
    if pool is None:
        return (), f"{count} train examples ({kind}, seed {candidate.demo_seed}); the dataset is not here to show them."
    chosen = choose_demos(kind, count, candidate.demo_seed, pool.train, pool.balance_by)
    return tuple(_demo(example, pool.fields) for example in chosen), None


def _nearest(count: int, pool: Pool | None) -> str:
    size = "" if pool is None else f"{len(distinct(pool.train))} "
    return (
        f"For each input, the {count} of the {size}train examples whose inputs are most like it (cosine of the TF-IDF "
        "of 3 to 5 letters in a row within words), the most similar last; never the example itself."
    )


def _demo(example: Example, fields: TaskFields) -> Shown:
    names = [*fields.inputs, *fields.outputs]
    return tuple((name, as_text(example.values[name])) for name in names if name in example.values)
