"""Examples from a dataset: columns renamed to fields, cells typed, gold values checked, ids, and a seeded `limit`.

Everything that would become a silent zero later is refused with the row: here a missing column, a null, a label that no
answer can equal, two rows with one id; in `gold.py` a value that is not of its output's type. Gold is checked against
the labels of an enum in both directions, because `refund` in the file and `refunds` in the data make every candidate
look worse than it is.

Invariant: an example's id and content hash depend on its own content (and on rows with equal content), never on its
position in the file.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from offramp import media
from offramp.errors import DatasetError, nearest, problem
from offramp.ids import canonical_json, content_hash
from offramp.records import Example
from offramp.space.messages import shown
from offramp.space.model import DatasetPart, OutputField
from offramp.task.fields import TaskFields
from offramp.task.gold import EXPECTED, is_blank, of_text, type_of_output
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
        part: the `dataset` of a space file. `fields` renames columns; columns that the task does not use are kept.
        fields: the task's fields; every row has to have the inputs.
        gold: columns (after renaming) that the metric compares with; every row has to have them.
        base: folder that a relative path starts from.
        seed: decides which rows `limit` keeps.
        nullable: further gold columns that may be null. Gold for an `optional` output may always be null.

    Values are those of the dataset: what `gold.py` reads otherwise has no part in ids, order and splits.
    """
    source = read_source(part, base)
    wanted = [part.fields.get(name, name) for name in (*fields.inputs, *sorted(gold), *part.fields)]
    source = _as_named(source, [*wanted, *(name for name in (part.id, part.group) if name)])
    may_be_null = {*nullable, *(name for name, output in fields.outputs.items() if output.optional)}
    needed = [*fields.inputs, *sorted(gold)]
    _refuse_missing_columns(source, part, needed)
    folder = (base / part.path).parent if part.path else base
    rows = [_with_media(row, part, fields, source, folder) for row in source.rows]
    rows = [_renamed(row, part, source, {*needed, *fields.outputs}) for row in rows]
    if source.text_cells:
        rows = [_typed(row, fields, source) for row in rows]
    may_be_null = may_be_null - {*fields.inputs} | fields.optional_inputs
    rows = [_checked(row, needed, may_be_null, fields.inputs, source) for row in rows]
    examples = _examples(rows, {*needed, *fields.outputs}, source, part)
    for name, output in fields.outputs.items():
        refuse_unknown_labels(examples, name, output, source.at)
    return _limited(examples, part.limit, seed)


# ------------------------------------------------------------------------------------------------ columns


def _as_named(source: Source, wanted: Iterable[str]) -> Source:
    """With columns under the names that are wanted, where those of the file differ in Unicode form alone.

    A letter with an accent may be one character or two, which look alike. A name that two columns may mean stays.
    """
    columns = source.columns()
    alike: dict[str, list[str]] = defaultdict(list)
    for column in columns:
        alike[_composed(column)].append(column)
    found = {name: alike[_composed(name)] for name in wanted if name not in columns}
    names = {held[0]: name for name, held in found.items() if len(held) == 1}
    if not names:
        return source
    rows = (
        replace(row, values={names.get(name, name): value for name, value in row.values.items()}) for row in source.rows
    )
    return replace(source, rows=tuple(rows))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _refuse_missing_columns(source: Source, part: DatasetPart, needed: Sequence[str]) -> None:
    columns = source.columns()
    wanted = {name: part.fields.get(name, name) for name in (*needed, *part.fields)}
    for name, column in wanted.items():
        if column not in columns:
            for_field = f" for {name!r}" if name != column else ""
            known = f"one of {', '.join(map(repr, columns[:20]))}"
            if sum(_composed(one) == _composed(column) for one in columns) > 1:
                do = "Several columns look like it and differ in Unicode form alone: rename all but one."
            else:
                do = nearest(column, columns) or "Rename it, or map the field to a column under `dataset.fields`."
            where = source.at(source.rows[0].number)
            raise DatasetError(problem(where, f"no such column{for_field}", got=column, expected=known, do=do))


def _with_media(row: Row, part: DatasetPart, fields: TaskFields, source: Source, folder: Path) -> Row:
    """The row with a reference in each column of an image, a recording or a file, or with a list of them."""
    values = dict(row.values)
    for name, kind in fields.media.items():
        column = part.fields.get(name, name)
        value = values.get(column)
        if source.text_cells and name in fields.optional_inputs and is_blank(value):
            values[column] = None
        elif value is not None:
            held = value.value if isinstance(value, NotJson) else value
            where = f"{source.at(row.number)}: {column}"
            values[column] = (
                [media.read_cell(each, kind=kind, base=folder, where=f"{where}[{i}]") for i, each in enumerate(held)]
                if isinstance(held, list)
                else media.read_cell(held, kind=kind, base=folder, where=where)
            )
    return replace(row, values=values)


def _renamed(row: Row, part: DatasetPart, source: Source, meant: Collection[str]) -> Row:
    """The row under the task's names. A column whose name a renamed column takes is left out."""
    taken = {*part.fields, *part.fields.values()}
    values = {name: value for name, value in row.values.items() if name not in taken}
    values |= {name: row.values[column] for name, column in part.fields.items() if column in row.values}
    for name in [name for name, value in values.items() if isinstance(value, NotJson)]:
        if name in meant:
            what = f"{name!r} is {values[name].kind}"
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


_OPTIONAL_OUTPUT = "output `optional: true` if null is a valid answer"


def _checked(
    row: Row, needed: Sequence[str], may_be_null: Collection[str], inputs: Collection[str], source: Source
) -> Row:
    """The row with null for every nullable value that it leaves out; any other gap is refused."""
    values = dict(row.values)
    for name in needed:
        if name in may_be_null:
            values.setdefault(name, None)
        elif name not in values:
            do = nearest(name, values)
            raise DatasetError(problem(source.at(row.number), f"the row has no {name!r}", do=do or None))
        elif values[name] is None:
            marked = "input `optional: true` if the program takes null" if name in inputs else _OPTIONAL_OUTPUT
            do = f"Fill it in, drop the row, or mark the {marked}."
            raise DatasetError(problem(source.at(row.number), f"{name!r} is null", expected="a value", do=do))
    return replace(row, values=values)


# ---------------------------------------------------------------------------------------------------- ids


def _examples(rows: Sequence[Row], content: Collection[str], source: Source, part: DatasetPart) -> list[Example]:
    hashes = [content_hash({name: row.values[name] for name in sorted(content) if name in row.values}) for row in rows]
    ids = _ids_from_data(rows, source, part.id) if part.id else _ids_from_content(rows, hashes)
    groups = [None if part.group is None else _group(row, part.group, source) for row in rows]
    return [
        Example(id=id_, content_hash=hash_, values=MappingProxyType(dict(row.values)), row=row.number, group=group)
        for id_, hash_, row, group in zip(ids, hashes, rows, groups, strict=True)
    ]


def _group(row: Row, column: str, source: Source) -> str:
    """Which rows this one belongs with, by the column as the file has it or as the task names it."""
    if column not in row.values:
        do = nearest(column, row.values) or f"The row has {', '.join(map(repr, row.values))}."
        raise DatasetError(problem(source.at(row.number), "dataset.group: no such column", got=column, do=do))
    value = row.values[column]
    if value is None or value == "":
        do = "Give the row a group of its own."
        raise DatasetError(problem(source.at(row.number), f"dataset.group: {column!r} is empty", do=do))
    return value if isinstance(value, str) else canonical_json(value)


def _ids_from_data(rows: Sequence[Row], source: Source, column: str) -> list[str]:
    if column not in source.columns():
        do = nearest(column, source.columns()) or "Leave `dataset.id` out to identify rows by their content."
        expected = f"one of {', '.join(map(repr, source.columns()[:20]))}"
        what = "dataset.id: no such column"
        raise DatasetError(problem(source.name, what, got=column, expected=expected, do=do))
    ids, seen = [], defaultdict(list)
    for row in rows:
        id_ = row.raw_id
        if isinstance(id_, bool) or not isinstance(id_, str | int) or not str(id_).strip() or "\0" in str(id_):
            expected = "text that is not empty and without NUL, or a whole number"
            what = f"the id {column!r}"
            raise DatasetError(problem(source.at(row.number), what, got=shown(id_), expected=expected))
        ids.append(str(id_))
        seen[str(id_)].append(row.number)
    for id_, numbers in seen.items():
        if len(numbers) > 1:
            what = f"{rows_text(numbers)} have the same id {id_!r}"
            raise DatasetError(problem(source.name, what, do="Give each row its own id, or drop the duplicates."))
    return ids


def _ids_from_content(rows: Sequence[Row], hashes: Sequence[str]) -> list[str]:
    """First 16 characters of the content hash; duplicates get `-2`, `-3`, in order of their other columns."""
    duplicates = defaultdict(list)
    for i, hash_ in enumerate(hashes):
        duplicates[hash_[:16]].append(i)
    ids: dict[int, str] = {}
    for short, places in duplicates.items():
        ordered = sorted(places, key=lambda i: content_hash(dict(rows[i].values))) if len(places) > 1 else places
        ids |= {i: short if n == 1 else f"{short}-{n}" for n, i in enumerate(ordered, start=1)}
    return [ids[i] for i in range(len(hashes))]


# --------------------------------------------------------------------------------------------------- cells


def typed_cell(text: str, output: OutputField, where: str) -> Any:
    """The value of a cell of a format that has only text, read by the type of its output and nothing else.

    Text and labels stay as they are. An empty cell is null if the output may be null or cannot be text.

    Raises:
        DatasetError: the text is not of the output's type.
    """
    kind = type_of_output(output).kind
    if is_blank(text) and (output.optional or kind != "text"):
        return None
    try:
        return text if kind == "text" else of_text(text, kind)
    except ValueError:
        do = "Correct the cell, or the output's type under `task`."
        raise DatasetError(problem(where, "the cell", got=text[:80], expected=EXPECTED[kind], do=do)) from None


# -------------------------------------------------------------------------------------------------- labels


def refuse_unknown_labels(
    examples: Iterable[Example], column: str, output: OutputField, at: Callable[[int], str]
) -> None:
    """Raises DatasetError for gold that is not among an enum output's `values`. A missing column passes."""
    labels = output.values
    if labels is None:
        return
    rows_of: dict[str, list[int]] = defaultdict(list)
    for example in examples:
        value = example.values.get(column, labels[0])
        if value not in labels and not (value is None and output.optional):
            rows_of[repr(value)].append(example.row)
    if rows_of:
        values = "; ".join(f"{value} ({rows_text(rows)})" for value, rows in list(rows_of.items())[:5])
        more = f"; and {len(rows_of) - 5} more values" if len(rows_of) > 5 else ""
        first = min(row for rows in rows_of.values() for row in rows)
        known = f"one of {', '.join(map(repr, labels[:20]))}"
        what = f"{column}: not a label: {values}{more}; expected {known}"
        raise DatasetError(problem(at(first), what, do=nearest(next(iter(rows_of)).strip("'\""), labels) or None))


def unused_labels(examples: Sequence[Example], fields: TaskFields, gold: Collection[str], where: str) -> list[str]:
    """Warnings about labels that no example has: legitimate with many labels and few rows, else perhaps a typo.

    Args:
        gold: columns that the metric compares with.
        where: the dataset.
    """
    found = []
    for name, output in fields.outputs.items():
        seen = {str(example.values.get(name)) for example in examples}
        unused = [label for label in output.values or () if label not in seen] if name in gold else []
        if unused:
            shown = ", ".join(map(repr, unused[:5])) + (f" and {len(unused) - 5} more" if len(unused) > 5 else "")
            what = f"{name}: no example has the label{'s' if len(unused) > 1 else ''} {shown}"
            found.append(problem(where, what, do="Nothing can be said of it; add examples, or check its spelling."))
    return found


# -------------------------------------------------------------------------------------------------- limit


def _limited(examples: Sequence[Example], limit: int | None, seed: int) -> tuple[Example, ...]:
    """A seeded choice that depends on content, kept in file order."""
    if limit is None or limit >= len(examples):
        return tuple(examples)
    chosen = sorted(examples, key=lambda e: (content_hash(["limit", seed, e.content_hash]), e.id))[:limit]
    keep = {example.id for example in chosen}
    return tuple(example for example in examples if example.id in keep)


def dataset_hash(examples: Iterable[Example]) -> str:
    """Content hash over all columns of all examples, in no particular order."""
    return content_hash(sorted(content_hash([example.id, dict(example.values)]) for example in examples))
