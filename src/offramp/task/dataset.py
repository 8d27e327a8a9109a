"""Examples from a dataset: columns to fields, ids, gold values checked, and a seeded choice where there are too many.

Everything that would turn into a silent zero later is refused here with the row: a missing column, a null, a label that
no answer can equal, two rows with one id.

Invariant: an example's id and content hash depend on its own content (and on rows with equal content), never on where
it stands in the file.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from offramp.errors import DatasetError, nearest, problem
from offramp.ids import content_hash
from offramp.records import Example
from offramp.space.messages import shown
from offramp.space.model import DatasetPart
from offramp.task.cells import typed_cell
from offramp.task.fields import TaskFields
from offramp.task.labels import refuse_unknown_labels, refuse_unused_labels
from offramp.task.readers import Row, Source, read_source
from offramp.task.readers.base import NotJson, rows_text


def load_examples(
    part: DatasetPart,
    fields: TaskFields,
    gold: Collection[str],
    base: Path,
    *,
    seed: int = 0,
    nullable: Collection[str] = (),
) -> tuple[Example, ...]:
    """The examples of a dataset in file order. Raises DatasetError with the row for data that cannot be used.

    Args:
        part: the `dataset` of a space file. `fields` renames columns; columns of no meaning to the task are kept.
        fields: the task's fields; inputs have to be there in every row.
        gold: columns (after renaming) that the metric compares with; they have to be there in every row.
        base: folder that a relative path starts from.
        seed: decides which rows `limit` keeps.
        nullable: further gold columns that may be null. Gold for an `optional` output always may.
    """
    source = read_source(part, base)
    may_be_null = {*nullable, *(name for name, output in fields.outputs.items() if output.optional)}
    needed = [*fields.inputs, *sorted(gold)]
    _refuse_missing_columns(source, part, needed)
    rows = [_renamed(row, part, source, {*needed, *fields.outputs}) for row in source.rows]
    if source.text_cells:
        rows = [_typed(row, fields, source) for row in rows]
    rows = [_checked(row, needed, may_be_null - {*fields.inputs}, source) for row in rows]
    examples = _examples(rows, {*needed, *fields.outputs}, source, part)
    refuse_unknown_labels(examples, fields, source.at)
    refuse_unused_labels(examples, {name: fields.outputs[name] for name in gold if name in fields.outputs}, source.name)
    return _limited(examples, part.limit, seed)


# ------------------------------------------------------------------------------------------------ columns


def _refuse_missing_columns(source: Source, part: DatasetPart, needed: Sequence[str]) -> None:
    columns = source.columns()
    wanted = {name: part.fields.get(name, name) for name in (*needed, *part.fields)}
    for name, column in wanted.items():
        if column not in columns:
            for_field = f" for {name!r}" if name != column else ""
            known = f"one of {', '.join(map(repr, columns[:20]))}"
            do = nearest(column, columns) or "Rename it, or map the field to a column under `dataset.fields`."
            where = source.at(source.rows[0].number)
            raise DatasetError(problem(where, f"there is no column{for_field}", got=column, expected=known, do=do))


def _renamed(row: Row, part: DatasetPart, source: Source, meant: Collection[str]) -> Row:
    """The row under the task's names. A column that a renamed one takes the name of is left out."""
    taken = {*part.fields, *part.fields.values()}
    values = {name: value for name, value in row.values.items() if name not in taken}
    values |= {name: row.values[column] for name, column in part.fields.items() if column in row.values}
    for name in [name for name, value in values.items() if isinstance(value, NotJson)]:
        if name in meant:
            what = f"{name!r} holds {values[name].kind}"
            raise DatasetError(problem(source.at(row.number), what, expected="text, a number, a list or an object"))
        del values[name]
    return replace(row, values=values, raw_id=row.values.get(part.id) if part.id else None)


def _typed(row: Row, fields: TaskFields, source: Source) -> Row:
    """CSV only: gold for a number, boolean, list or object read from its text."""
    cells = {
        name: typed_cell(row.values[name], output, f"{source.at(row.number)}: {name}")
        for name, output in fields.outputs.items()
        if name in row.values
    }
    return replace(row, values={**row.values, **cells})


def _checked(row: Row, needed: Sequence[str], may_be_null: Collection[str], source: Source) -> Row:
    """The row with a null for every nullable value that it leaves out; refuses any other gap."""
    values = dict(row.values)
    for name in needed:
        if name in may_be_null:
            values.setdefault(name, None)
        elif name not in values:
            do = nearest(name, values)
            raise DatasetError(problem(source.at(row.number), f"the row has no {name!r}", do=do or None))
        elif values[name] is None:
            do = "Fill it in, drop the row, or mark the output `optional: true` if null is an answer."
            raise DatasetError(problem(source.at(row.number), f"{name!r} is null", expected="a value", do=do))
    return replace(row, values=values)


# ---------------------------------------------------------------------------------------------------- ids


def _examples(rows: Sequence[Row], content: Collection[str], source: Source, part: DatasetPart) -> list[Example]:
    hashes = [content_hash({name: row.values[name] for name in sorted(content) if name in row.values}) for row in rows]
    ids = _ids_from_data(rows, source, part.id) if part.id else _ids_from_content(rows, hashes)
    return [
        Example(id=id_, content_hash=hash_, values=MappingProxyType(dict(row.values)), row=row.number)
        for id_, hash_, row in zip(ids, hashes, rows, strict=True)
    ]


def _ids_from_data(rows: Sequence[Row], source: Source, column: str) -> list[str]:
    if column not in source.columns():
        do = nearest(column, source.columns()) or "Leave `dataset.id` out to identify rows by their content."
        expected = f"one of {', '.join(map(repr, source.columns()[:20]))}"
        what = "dataset.id: there is no such column"
        raise DatasetError(problem(source.name, what, got=column, expected=expected, do=do))
    ids = [_id(row, source, column) for row in rows]
    seen = defaultdict(list)
    for id_, row in zip(ids, rows, strict=True):
        seen[id_].append(row.number)
    for id_, numbers in seen.items():
        if len(numbers) > 1:
            what = f"{rows_text(numbers)} have the same id {id_!r}"
            raise DatasetError(problem(source.name, what, do="Give each row its own id, or drop the copies."))
    return ids


def _id(row: Row, source: Source, column: str) -> str:
    value = row.raw_id
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip() or "\0" in str(value):
        expected = "text that is not empty and without NUL, or a whole number"
        raise DatasetError(problem(source.at(row.number), f"the id {column!r}", got=shown(value), expected=expected))
    return str(value)


def _ids_from_content(rows: Sequence[Row], hashes: Sequence[str]) -> list[str]:
    """First 16 characters of the content hash; copies get `-2`, `-3`, in order of their other columns."""
    copies = defaultdict(list)
    for i, hash_ in enumerate(hashes):
        copies[hash_[:16]].append(i)
    ids: dict[int, str] = {}
    for short, places in copies.items():
        ordered = sorted(places, key=lambda i: content_hash(dict(rows[i].values))) if len(places) > 1 else places
        ids |= {i: short if n == 1 else f"{short}-{n}" for n, i in enumerate(ordered, start=1)}
    return [ids[i] for i in range(len(hashes))]


# -------------------------------------------------------------------------------------------------- limit


def _limited(examples: Sequence[Example], limit: int | None, seed: int) -> tuple[Example, ...]:
    """A seeded choice that depends on content, kept in file order."""
    if limit is None or limit >= len(examples):
        return tuple(examples)
    chosen = sorted(examples, key=functools.partial(_draw, seed))[:limit]
    keep = {example.id for example in chosen}
    return tuple(example for example in examples if example.id in keep)


def _draw(seed: int, example: Example) -> tuple[str, str]:
    return content_hash(["limit", seed, example.content_hash]), example.id


def dataset_hash(examples: Iterable[Example]) -> str:
    """Content hash over all columns of all examples, in no particular order."""
    return content_hash(sorted(content_hash([example.id, dict(example.values)]) for example in examples))
