"""Which columns of a dataset are inputs and which are answers, guessed from names and values; each guess says why.

Invariant: a guess only chooses: no value is changed, and every column that is left out is named.
"""

from __future__ import annotations

import json
import keyword
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from offramp.errors import UsageError, nearest, problem
from offramp.task.readers import Source

MOST_LABELS = 300
LONGEST_LABEL = 60
_WORDS = "title subject text message question query prompt body content utterance sentence review ticket email mail " \
    "description comment document article context passage input input_text user_message instruction"  # fmt: skip
_INPUTS = frozenset(_WORDS.split())
_ANSWERS = (
    "label", "labels", "category", "categories", "class", "intent", "target", "gold", "expected", "output", "answer",
    "response", "completion", "reply", "sentiment", "urgency", "priority", "severity", "topic", "team", "department",
    "queue", "tag", "tags", "rating", "stars", "score", "summary", "translation", "entities", "slots", "type", "spam",
)  # fmt: skip
"""Names of columns that hold what a program has to find out, the most telling first."""
_ID = re.compile(r"(id|uuid|guid|key|index|.*[_ -]id|unnamed: 0|column_1)", re.I)
_SPLITS: Mapping[str, frozenset[str]] = {
    "train": frozenset({"train", "training"}),
    "search": frozenset({"search", "validation", "valid", "val", "dev", "development"}),
    "holdout": frozenset({"holdout", "test", "testing", "eval"}),
}
_SPLIT_WORDS = frozenset(word for words in _SPLITS.values() for word in words)
_TAKEN = frozenset({"signature", "demos", "config", "lm", "new_signature", "completions", "self", "instructions", "id"})
_SCALAR = {bool: "bool", int: "int", float: "float", str: "str"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessedField:
    """A field of the task, and where it is in the data.

    Attributes:
        why: for people.
        output: keys of an `OutputField` in the space file; empty for an input.
        metric: keys of the metric that scores it; empty for an input.
        longest: characters of a long value (the 95th percentile).
        choices: the labels, of an answer that is one or a list of a few; empty for others.
    """

    name: str
    column: str
    why: str
    longest: int
    output: Mapping[str, Any] = field(default_factory=dict)
    metric: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What a dataset seems to be for.

    Attributes:
        id: column with an id of its own in each row; None where there is none.
        splits: column that says which split a row is in, with its values by split; None where there is none.
        left_out: column to why it is not used.
        notes: what a person should look at in the data.
    """

    rows: int
    inputs: tuple[GuessedField, ...]
    outputs: tuple[GuessedField, ...]
    id: str | None
    splits: tuple[str, Mapping[str, Sequence[str]]] | None
    left_out: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What was guessed, for people."""
        found = [(kind, f.column, f.why) for kind, fs in (("input", self.inputs), ("output", self.outputs)) for f in fs]
        found += [("metric", " ".join(str(f.metric["kind"]) for f in self.outputs[:1]), f"on {self.outputs[0].name}")]
        if len(self.outputs) > 1:
            found[-1] = ("metric", "mix", ", ".join(f"{f.metric['kind']} on {f.name}" for f in self.outputs))
        if self.id is not None:
            found.append(("id", self.id, "a value of its own in each row"))
        if self.splits is not None:
            found.append(("splits", self.splits[0], "says which split a row is in"))
        found += [("left out", name, why) for name, why in self.left_out.items()]
        wide = max(len(name) for _, name, _ in found)
        return [f"  {kind:<9} {name:<{wide}}  {why}" for kind, name, why in found] + [
            f"  note: {n}" for n in self.notes
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    name: str
    values: tuple[Any, ...]
    text_cells: bool

    @property
    def known(self) -> list[Any]:
        return [v for v in self.values if v is not None and not (isinstance(v, str) and not v.strip())]

    @property
    def texts(self) -> list[str]:
        return [v if isinstance(v, str) else _text(v) for v in self.known]

    @property
    def longest(self) -> int:
        lengths = sorted(len(text) for text in self.texts)
        return lengths[int(0.95 * (len(lengths) - 1))] if lengths else 0

    @property
    def plain_name(self) -> str:
        return re.sub(r"\W+", "_", self.name.strip().lower()).strip("_")

    @property
    def labels(self) -> list[str] | None:
        """The labels that it seems to hold, the most frequent first; None where it holds none."""
        known = self.known
        if not known or not all(isinstance(v, str) for v in known):
            return None
        counts = Counter(known)
        if (self.text_cells and self._cell_type() == "float") or (self._cell_type() == "int" and len(counts) > 20):
            return None
        few = 2 <= len(counts) <= min(MOST_LABELS, len(known) / 2)
        return [v for v, _ in counts.most_common()] if few and max(map(len, counts)) <= LONGEST_LABEL else None

    @property
    def output(self) -> dict[str, Any] | None:
        """Keys of an output field for its values; None where the space file has no type for them."""
        kinds = {type(v) for v in self.known}
        optional = {"optional": True} if len(self.known) < len(self.values) else {}
        if labels := self.labels:
            return {"type": "enum", "values": sorted(labels), **optional}
        if kinds <= {int, float} and kinds:
            return {"type": "float" if float in kinds else "int", **optional}
        if kinds in ({bool}, {str}):
            return {"type": self._cell_type() if self.text_cells else _SCALAR[kinds.pop()], **optional}
        if kinds == {list} and all(isinstance(item, str) for v in self.known for item in v):
            return {"type": "list[str]", **optional}
        items = [item for v in self.known if isinstance(v, list) for item in v]
        if kinds == {list} and items and all(isinstance(item, dict) for item in items):
            fields = _object_fields(items)
            return None if fields is None else {"type": "list[object]", "fields": fields, **optional}
        if kinds == {dict} and (fields := _object_fields(self.known)):
            return {"type": "object", "fields": fields, **optional}
        return None

    def _cell_type(self) -> str:
        for kind, pattern in (("int", r"[+-]?\d{1,15}"), ("float", r"[+-]?\d+\.\d+"), ("bool", r"(?i:true|false)")):
            if all(re.fullmatch(pattern, v.strip()) for v in self.known):
                return kind
        return "str"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _object_fields(rows: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """Name to type where each object has the same names with scalars of one type; None otherwise."""
    names = list(rows[0])
    types: dict[str, set[str | None]] = {name: {_SCALAR.get(type(row.get(name))) for row in rows} for name in names}
    same = all(list(row) == names or set(row) == set(names) for row in rows)
    plain = all(
        len(found) == 1 and None not in found and re.fullmatch(r"[A-Za-z_]\w{0,63}", n) for n, found in types.items()
    )
    named = names and all(re.fullmatch(r"[A-Za-z_]\w{0,63}", name) for name in names)
    return {name: str(next(iter(found))) for name, found in types.items()} if same and plain and named else None


def guess_columns(source: Source, *, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Guess:
    """What the rows seem to be for. `inputs` and `outputs` name columns and go before any guess.

    Raises:
        UsageError: no such column, or nothing tells which column is the input or the answer.
    """
    columns = {}
    for name in source.columns():
        values = tuple(row.values.get(name) for row in source.rows)
        columns[name] = _Column(name=name, values=values, text_cells=source.text_cells)
    for option, asked in (("--input", inputs), ("--output", outputs)):
        for name in asked:
            if name not in columns:
                expected = f"one of {', '.join(map(repr, list(columns)[:20]))}"
                do = nearest(name, columns) or None
                raise UsageError(problem(source.name, f"{option}: no such column", got=name, expected=expected, do=do))
    left: dict[str, str] = {}
    id_, splits = _id_of(columns, (*inputs, *outputs)), _splits_of(columns, (*inputs, *outputs))
    free = [c for c in columns.values() if c.name not in {id_, splits[0] if splits else None}]
    for column in free:
        if not column.known:
            left[column.name] = "it is empty"
        elif len({_text(v) for v in column.values}) == 1 and len(column.values) > 1:
            left[column.name] = "it is the same in all rows"
        elif {str(v).strip().lower() for v in column.known} <= _SPLIT_WORDS:
            left[column.name] = "it does not name both a search and a holdout split, so all rows are divided"
    free = [c for c in free if c.name not in left or c.name in (*inputs, *outputs)]
    chosen_out = [columns[name] for name in outputs] or _outputs(free, set(inputs))
    chosen_in = [columns[name] for name in inputs] or _inputs(free, {c.name for c in chosen_out})
    if not chosen_in or not chosen_out:
        what = "input" if not chosen_in else "answer"
        raise UsageError(problem(source.name, f"nothing tells which column is the {what}", do=_instead(what, columns)))
    used = {c.name for c in (*chosen_in, *chosen_out)}
    for column in free:
        if column.name not in used:
            why = _no_type(column) if column.output is None else "not needed, as far as names tell"
            left.setdefault(column.name, why)
    names = _names([*chosen_in, *chosen_out])
    return Guess(
        rows=len(source.rows),
        inputs=tuple(_input(c, names[c.name]) for c in chosen_in),
        outputs=tuple(_output(c, names[c.name], source.name) for c in chosen_out),
        id=id_,
        splits=splits,
        left_out={name: why for name, why in left.items() if name not in used},
        notes=(*_header_notes(columns), *(note for c in chosen_out for note in _label_notes(c))),
    )


def _id_of(columns: Mapping[str, _Column], used: Sequence[str]) -> str | None:
    for name, column in columns.items():
        ids = [str(v) for v in column.known if isinstance(v, str | int) and not isinstance(v, bool)]
        if name not in used and _ID.fullmatch(name.strip()) and len(set(ids)) == len(column.values):
            return name
    return None


def _splits_of(columns: Mapping[str, _Column], used: Sequence[str]) -> tuple[str, Mapping[str, Sequence[str]]] | None:
    """A column whose every value is the name of a split, with search and holdout among them."""
    for name, column in columns.items():
        values = sorted({v for v in column.values if isinstance(v, str)})
        if name in used or len(column.known) < len(column.values) or not 2 <= len(values) <= 4:
            continue
        found = {split: [v for v in values if v.strip().lower() in words] for split, words in _SPLITS.items()}
        if sum(map(len, found.values())) == len(values) and found["search"] and found["holdout"]:
            return name, found
    return None


def _outputs(free: Sequence[_Column], inputs: set[str]) -> list[_Column]:
    usable = [c for c in free if c.output is not None and c.name not in inputs]
    named = [c for c in usable if c.plain_name in _ANSWERS or c.plain_name.endswith(("_label", "_class", "_category"))]
    typed = [c for c in named if c.output is not None and c.output["type"] != "str"]
    if named:
        first = min(named, key=lambda c: _ANSWERS.index(c.plain_name) if c.plain_name in _ANSWERS else 0)
        return typed or [first]
    others = [c for c in usable if c.plain_name not in _INPUTS]
    labelled = [c for c in others if c.labels]
    return (labelled or others)[-1:] if len(free) > 1 else []


def _inputs(free: Sequence[_Column], outputs: set[str]) -> list[_Column]:
    left = [c for c in free if c.name not in outputs]
    named = [c for c in left if c.plain_name in _INPUTS]
    texts = [c for c in left if all(isinstance(v, str) for v in c.known)]
    return named or [max(texts or left, key=lambda c: c.longest)] if left else []


def _names(columns: Sequence[_Column]) -> dict[str, str]:
    """Column to a name that DSPy can have for a field."""
    found: dict[str, str] = {}
    for column in columns:
        name = re.sub(r"\W+", "_", column.name.strip(), flags=re.ASCII).strip("_")[:60] or "field"
        name = f"field_{name}" if name[0].isdigit() else name
        taken = (
            name.lower() in _TAKEN or keyword.iskeyword(name) or hasattr(BaseModel, name) or name.startswith("model_")
        )
        name = f"the_{name}" if taken else name
        while name in found.values():
            name = f"{name}_2"
        found[column.name] = name
    return found


def _input(column: _Column, name: str) -> GuessedField:
    named = column.plain_name in _INPUTS
    why = "by its name" if named else "the longest text"
    return GuessedField(
        name=name, column=column.name, why=f"{why}, up to {column.longest} characters", longest=column.longest
    )


def _output(column: _Column, name: str, where: str) -> GuessedField:
    output = column.output
    if output is None:
        expected = "text, labels, a number, true or false, a list of texts, or objects with the same keys"
        raise UsageError(
            problem(where, f"no type of the space file fits the column {column.name!r}", expected=expected)
        )
    kind = output["type"]
    metric: dict[str, Any] = {"kind": "exact", "field": name}
    if kind == "enum":
        counts = Counter(column.known)
        fewest, most = min(counts.values()), max(counts.values())
        each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        why = f"{len(counts)} labels, {each} rows each"
    else:
        words = {"str": "text", "bool": "true or false", "int": "whole numbers", "float": "numbers"}
        why = words.get(kind, f"{'lists of ' * (kind == 'list[object]')}objects with the same keys")
    if kind == "str":
        metric = {"kind": "token_f1", "field": name}
    elif kind == "float":
        metric = {"kind": "number", "field": name, "relative": 0.01}
    elif kind in ("list[str]", "object", "list[object]"):
        metric = {"kind": "json_fields", "fields": [name]}
    if output.get("optional"):
        why = f"{why}, {len(column.values) - len(column.known)} rows without"
    choices = output.get("values", ())
    if kind == "list[str]":
        choices = sorted({item for value in column.known for item in value})
        why = f"lists of {len(choices)} different texts"
    return GuessedField(
        name=name, column=column.name, why=why, longest=column.longest, output=output, metric=metric,
        choices=tuple(choices),
    )  # fmt: skip


def _no_type(column: _Column) -> str:
    """Why a column cannot be an answer as it is."""
    if column.known and all(isinstance(v, dict) for v in column.known):
        return "its objects have different keys or nested values; give it a column for each value that is to be found"
    return "no type of the space file fits it"


def _instead(what: str, columns: Mapping[str, _Column]) -> str:
    """What to do where no column is an input or an answer as it is."""
    for name, column in columns.items():
        if column.known and all(isinstance(v, list) and v and _is_message(v[-1]) for v in column.known):
            take = f"{{input: .{name}[-2].content, answer: .{name}[-1].content}}"
            split = "make a column for the text and one for the answer"
            return f"{name} holds conversations: {split}, as jq -c '{take}' does."
    nested = [name for name, c in columns.items() if c.known and c.output is None]
    fits = f"; {', '.join(nested)} cannot be one as it is, having nested or mixed values" if nested else ""
    return f"Name it with --{what.replace('answer', 'output')} COLUMN; the columns are {', '.join(columns)}{fits}."


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and {"role", "content"} <= set(value)


def _header_notes(columns: Mapping[str, _Column]) -> list[str]:
    """A note where the names of the columns look like a first row of data."""
    data = [name for name in columns if len(name) > 60 or re.fullmatch(r"[+-]?\d+[.,]\d+|\d{4}-\d\d-\d\d.*", name)]
    if not data:
        return []
    shown = ", ".join(repr(name if len(name) <= 30 else f"{name[:29]}…") for name in columns)
    return [f"the first line names the columns: {shown}; if it is data, put a line with names above it"]


def _label_notes(column: _Column) -> list[str]:
    """Labels that differ only in case or space, and rows without one."""
    notes, labels = [], column.labels or []
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(" ".join(label.lower().split()), []).append(label)
    for same in alike.values():
        if len(same) > 1:
            notes.append(
                f"{column.name}: {', '.join(map(repr, sorted(same)))} differ only in case or space: make them one"
            )
    if missing := len(column.values) - len(column.known):
        notes.append(
            f"{column.name}: {missing} rows have none, so null counts as an answer (`optional: true`); fill in or "
            "drop those that are gaps"
        )
    return notes
