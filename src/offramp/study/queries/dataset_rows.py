"""The rows of a study's dataset, to be shown beside answers and to cut results into slices.

They are read from where the study read them. Nothing of one's own is imported for it: no metric, no module.

Invariant: rows are those that the study ran on, or none: data that is gone or has changed is said to be, and not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offramp.errors import OfframpError
from offramp.space.load import space_from_json
from offramp.space.model import SpaceFile
from offramp.store.studies import StudyRow
from offramp.task.dataset import dataset_hash, load_examples
from offramp.task.fields import task_fields
from offramp.task.metrics import gold_columns, gold_pairs, show_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What examples look like.

    Attributes:
        rows: every column by example id.
        inputs: names of the task's inputs. outputs: names of its outputs.
        gold: by output, the column that it is compared with.
        columns: all columns; any of them can cut results into slices.
        slices: those that are neither input, output, gold nor the id.
        missing: why there are no rows; None where there are.
    """

    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    gold: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    missing: str | None = None


def read_dataset(row: StudyRow, space_file: str | Path | None = None) -> Dataset:
    """The dataset of a study; never raises for data that no longer exists.

    Args:
        space_file: where the space file is now; where the study was run from by default. Only its folder counts.
    """
    where = space_file or row.details.space_file
    if not where:
        return Dataset(missing="the study does not say where its space file is")
    try:
        space = space_from_json(row.space_json)
        return _read(space, Path(where).parent, row.details.dataset_hash)
    except (OfframpError, OSError) as error:
        return Dataset(missing=f"the dataset cannot be read any more: {error}")


def _read(space: SpaceFile, base: Path, expected: str | None) -> Dataset:
    fields = task_fields(space.task, "")
    gold = gold_columns(space.metric)
    nullable = gold | show_columns(space.metric)
    examples = load_examples(space.dataset, fields, gold, base, seed=space.splits.seed, nullable=nullable)
    if expected is not None and dataset_hash(examples) != expected:
        return Dataset(missing="the dataset has changed since the study ran")
    pairs = {output: column for column, output in sorted(gold_pairs(space.metric), reverse=True)}
    used = {*fields.inputs, *fields.outputs, *gold, space.dataset.id}
    columns = tuple(dict.fromkeys(name for example in examples for name in example.values))
    return Dataset(
        rows={example.id: example.values for example in examples},
        inputs=tuple(fields.inputs),
        outputs=tuple(fields.outputs),
        gold=pairs,
        columns=columns,
        slices=tuple(name for name in columns if name not in used),
    )
