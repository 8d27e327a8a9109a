"""Gold is read by the type of the output it is compared with, alike in every format, or refused with the row."""

import asyncio
import csv
import enum
import itertools
import json
from typing import Any, Literal

import pyarrow
import pyarrow.parquet
import pydantic
import pytest

from offramp.errors import DatasetError
from offramp.ids import content_hash
from offramp.records import Example, Split
from offramp.space.model import OutputField, SpaceFile
from offramp.task.dataset import dataset_hash, load_examples
from offramp.task.fields import task_fields
from offramp.task.gold import GoldType, Unreadable, read_gold, type_of_annotation, type_of_output
from offramp.task.metrics import build_metric
from offramp.task.task import load_task, read_for_module

N = 8
ORDER = {"type": "object", "fields": {"quantity": "int", "item": "str"}}
ORDERS = {"type": "list[object]", "fields": {"quantity": "int", "item": "str"}}


def space(output=None, metric=None, name="d.jsonl", **parts):
    task = {"signature": {"inputs": {"text": {"optional": True}}, "outputs": {"out": output}}}
    given = {"name": "t", "task": task, "dataset": {"path": name}, "models": ["m"], "instructions": {"a": "Do it."}}
    return SpaceFile.model_validate({**given, "metric": metric or {"kind": "exact", "field": "out"}, **parts})


def write(folder, values, name="d.jsonl", column="out"):
    rows = [{"text": f"t{i}", column: value} for i, value in enumerate(values)]
    path = folder / name
    if name.endswith("jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name.endswith("parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", column])
            writer.writeheader()
            writer.writerows(rows)


def load(folder, values, output=None, metric=None, *, name="d.jsonl", column="out", **parts):
    write(folder, values, name, column)
    return load_task(space(output, metric, name, **parts), base=folder, models={})


def in_order(task):
    examples = [example for split in Split for example in task.splits.of(split)]
    return sorted(examples, key=lambda example: example.row)


def gold(task, column="out"):
    return [example.values[column] for example in in_order(task)]


def quality(task, answers):
    pairs = zip(in_order(task), answers, strict=True)
    return [asyncio.run(task.metric.score(example, {"out": answer}, None)).value for example, answer in pairs]


@pytest.mark.parametrize("kind", ["exact", "json_fields", "token_f1"])
@pytest.mark.parametrize(
    ("output", "values", "answers"),
    [
        ({"type": "bool"}, [0, 1], [False, True]),
        ({"type": "bool"}, [0.0, 1.0], [False, True]),
        ({"type": "bool"}, ["true", "FALSE", "Yes", "no", "1", " 0 "], [True, False, True, False, True, False]),
        ({"type": "int"}, ["5", " 6", "7.0", 8, 9.0], [5, 6, 7, 8, 9]),
        ({"type": "float"}, ["5", "6.50", 7, 8.5], [5.0, 6.5, 7.0, 8.5]),
        ({"type": "list[str]"}, ['["a", "b"]', '["c"]'], [["a", "b"], ["c"]]),
        (ORDER, ['{"quantity": 2, "item": "nut"}', '{"quantity": "3", "item": 4}'],
         [{"quantity": 2, "item": "nut"}, {"quantity": 3, "item": "4"}]),
        (ORDERS, ['[{"quantity": 2.0, "item": "nut"}]'], [[{"quantity": 2, "item": "nut"}]]),
    ],
)  # fmt: skip
def test_a_right_answer_scores_1_whatever_form_and_format_its_gold_has(tmp_path, kind, output, values, answers):
    metric = {"kind": kind, "fields": ["out"]} if kind == "json_fields" else {"kind": kind, "field": "out"}
    values, answers = values * N, answers * N
    names = ["d.jsonl", "d.csv"]
    names += ["d.parquet"] if len({type(value) for value in values}) == 1 else []
    for name in names:
        task = load(tmp_path, values, output, metric, name=name)
        assert quality(task, answers) == [1.0] * len(values)
        assert quality(load(tmp_path, answers, output, metric), gold(task)) == [1.0] * len(values)


@pytest.mark.parametrize(
    ("output", "value", "says"),
    [
        ({"type": "int"}, "five", "out: got 'five', expected a whole number"),
        ({"type": "int"}, 1.5, "out: got 1.5, expected a whole number"),
        ({"type": "int"}, True, "out: got true, expected a whole number"),
        ({"type": "int"}, [3], "out: got a list, expected a whole number"),
        ({"type": "float"}, "1,5", "out: got '1,5', expected a number"),
        ({"type": "bool"}, "maybe", "out: got 'maybe', expected true or false"),
        ({"type": "bool"}, 2, "out: got 2, expected true or false"),
        ({"type": "list[str]"}, "a", "out: got 'a', expected a JSON list"),
        ({"type": "list[str]"}, {"a": 1}, "out: got a mapping, expected a JSON list"),
        ({"type": "list[str]"}, ["a", ["b"]], "out[1]: got a list, expected text or a number"),
        ({"type": "str"}, ["a"], "out: got a list, expected text or a number"),
        (ORDER, {"quantity": 1.5, "item": "a"}, "out.quantity: got 1.5, expected a whole number"),
        (ORDER, {"quantity": True, "item": "a"}, "out.quantity: got true, expected a whole number"),
        (ORDER, {"item": "a"}, "out.quantity: got null, expected a whole number"),
        (ORDER, {"quantity": 1, "item": "a", "note": "b"}, "out.note: got 'b', expected none but the fields"),
        (ORDERS, [{"quantity": 1, "item": "a"}, {"quantity": "x", "item": "a"}], "out[1].quantity: got 'x', expected"),
        ({"type": "int"}, "", "'out' is null: expected a value"),
    ],
)  # fmt: skip
def test_gold_that_no_answer_can_equal_is_refused_with_the_row(tmp_path, output, value, says):
    good = {"int": 1, "float": 1.0, "bool": True, "list[str]": ["a"], "str": "a",
            "object": {"quantity": 1, "item": "a"}, "list[object]": []}[output["type"]]  # fmt: skip
    with pytest.raises(DatasetError) as caught:
        load(tmp_path, [good] * N + [value], output)
    assert str(caught.value).startswith(f"d.jsonl:{N + 1}: {says}")
    assert any(do in str(caught.value) for do in ("correct the row", "Fill it in"))
    made = space(output, None, "d.jsonl")
    stored = load_task(made, base=tmp_path, models={}, stored=True)  # a study has run on it
    assert gold(stored) == [good] * N + [value or None]
    metric = {"kind": "json_fields", "fields": ["out"]}
    if output["type"] not in ("str", "list[str]"):
        with pytest.raises(DatasetError):
            load(tmp_path, [good] * N + [value], output, metric)


OUTPUTS = [OutputField.model_validate(each) for each in (
    {"type": "str"}, {"type": "int"}, {"type": "float"}, {"type": "bool"}, {"type": "list[str]"}, ORDER, ORDERS
)]  # fmt: skip
ODD = [
    "", " ", "a", "5", "5.0", "1e2", "yes", "TRUE", "null", "NaN", "inf", "[]", "{}", '["a"]', '[1]', "[[", "{\"item\":",
    '{"quantity": 1, "item": "x"}', '{"quantity": 1}', 0, 1, 2, -1, 0.0, 1.0, 1.5, 1e300, True, False, [], {}, ["a"],
    [1], [None], [["a"]], [True], {"quantity": 1, "item": "x"}, {"quantity": None, "item": "x"}, {"item": "x"},
    {"quantity": 1, "item": None}, {"quantity": 1, "item": "x", "more": None}, {"quantity": 1, "item": "x", "more": 1},
    [{"quantity": 1, "item": "x"}], [{"quantity": "1", "item": "x"}], [{"quantity": 1}], "7" * 400, "[" * 100_000,
]  # fmt: skip
ANSWERS: dict[str, list[Any]] = {
    "str": ["", "a", "5", "true", "[]", '["a"]', "1.5"],
    "int": [0, 1, 2, -1, 5, 100],
    "float": [0.0, 1.0, 1.5, 5.0, 100.0],
    "bool": [True, False],
    "list[str]": [[], ["a"], ["1"], ["true"], [""]],
    "object": [{"quantity": q, "item": i} for q, i in itertools.product([0, 1, 2], ["", "x"])],
    "list[object]": [[], [{"quantity": 1, "item": "x"}], [{"quantity": 1, "item": ""}]],
}


@pytest.mark.parametrize("how", ["exact", "json_fields"])
@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.type)
@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:20])
def test_what_is_read_equals_itself_and_what_is_refused_equals_no_answer(output, value, how):
    part = {"kind": how, "fields": ["out"]} if how == "json_fields" else {"kind": how, "field": "out"}
    made = space(output.model_dump(), part)
    metric = build_metric(made.metric, fields=task_fields(made.task, ""), base=None, models={})

    def score(gold, answer):
        example = Example(id="1", content_hash="c", values={"out": gold}, row=1)
        return asyncio.run(metric.score(example, {"out": answer}, None)).value

    try:
        read = read_gold(value, type_of_output(output), how)
    except Unreadable:
        assert all(score(value, answer) < 1.0 for answer in ANSWERS[output.type])
        return
    assert score(read, read) == 1.0
    assert read_gold(read, type_of_output(output), how) == read
    right = [answer for answer in ANSWERS[output.type] if score(value, answer) == 1.0]
    assert all(score(read, answer) == 1.0 for answer in right)


@pytest.mark.parametrize(
    ("output", "values"),
    [
        ({"type": "int"}, [1, 2]), ({"type": "float"}, [1, 2.5]), ({"type": "bool"}, [True, False]), ({}, ["a", 5]),
        ({"type": "list[str]"}, [["a"], []]), (ORDER, [{"quantity": 1, "item": "a"}]),
        ({"type": "int", "optional": True}, [1, None]), ({"type": "str", "optional": True}, ["", None]),
    ],
)  # fmt: skip
def test_a_task_whose_gold_is_of_its_type_keeps_its_hash(tmp_path, output, values):
    task = load(tmp_path, values * N, output)
    assert task.read_hash is None
    before = [task.dataset_hash, task.splits_hash, task.metric.fingerprint, task.fields.hash]
    assert task.hash == content_hash(before)


def test_a_task_whose_gold_is_read_otherwise_has_another_hash_and_the_dataset_and_splits_of_before(tmp_path):
    typed, texts = ([True, False] * N, [1, 0] * N)
    task = load(tmp_path, texts, {"type": "bool"})
    assert gold(task) == typed
    made = space({"type": "bool"})
    raw = load_examples(made.dataset, task.fields, ["out"], tmp_path)
    assert task.dataset_hash == dataset_hash(raw)
    assert {example.id: example.content_hash for example in raw} == {e.id: e.content_hash for e in in_order(task)}
    plain = load(tmp_path, texts, {"type": "bool"}, {"kind": "regex", "field": "out", "pattern": "."})
    assert gold(plain) == texts
    assert plain.read_hash is None
    assert task.read_hash is not None
    assert task.hash != load(tmp_path, typed, {"type": "bool"}).hash


def test_a_gold_column_of_another_name_is_read_by_the_type_of_the_output(tmp_path):
    metric = {"kind": "exact", "field": "out", "gold": "want"}
    for name in ("d.csv", "d.jsonl"):
        task = load(tmp_path, ["yes", "no"] * N, {"type": "bool"}, metric, name=name, column="want")
        assert gold(task, "want") == [True, False] * N
    with pytest.raises(DatasetError, match=r"d.csv: row 1: want: got 'x', expected true or false"):
        load(tmp_path, ["x"] * N, {"type": "bool"}, metric, name="d.csv", column="want")


def test_what_no_built_in_metric_compares_is_neither_changed_nor_refused(tmp_path):
    (tmp_path / "m.py").write_text("def right(example, prediction):\n    return True\n")
    values = ["maybe", 2, [3], "yes", None, 0, {"a": 1}] * 2
    for metric in (
        {"kind": "python", "path": "m.py:right"},
        {"kind": "regex", "field": "out", "pattern": "x"},
        {"kind": "contains", "field": "out", "values": ["x"]},
    ):
        assert gold(load(tmp_path, values, {"type": "bool"}, metric)) == values


def test_numbers_in_text_and_lists_of_accepted_answers_stay_gold(tmp_path):
    number = {"kind": "number", "field": "out"}
    assert gold(load(tmp_path, ["about 5", "so 6"] * N, {"type": "float"}, number)) == ["about 5", "so 6"] * N
    words = {"kind": "token_f1", "field": "out"}
    assert gold(load(tmp_path, [["a", "b"], "c"] * N, {}, words)) == [["a", "b"], "c"] * N
    assert gold(load(tmp_path, ["a b", ["c"]] * N, {"type": "list[str]"}, words)) == ["a b", ["c"]] * N
    texts = {"kind": "json_fields", "fields": ["out"]}  # which parses an answer that is JSON text
    task = load(tmp_path, [["a"]] * N, {}, texts)
    assert quality(task, ['["a"]'] * N) == [1.0] * N


@pytest.mark.parametrize("value", ["10,50", "1 000", "1_000", "3/4", "12:30", "2026-01-31", "0x10", "(5)", "many", ""])
@pytest.mark.parametrize("output", [{"type": "str"}, {"type": "float"}])
def test_gold_that_is_not_one_plain_number_is_refused_with_the_row(tmp_path, value, output):
    number = {"kind": "number", "field": "out"}
    with pytest.raises(DatasetError) as caught:
        load(tmp_path, ["10.50", value] * N, output, number)
    expected = "expected a number with a decimal point, and commas only between groups of three digits. Correct the row"
    assert f"d.jsonl:2: out: got {json.dumps(value).replace(chr(34), chr(39))}, {expected}" in str(caught.value)
    module_task(tmp_path, ["1", "2"] * N, None, metric=number)
    with pytest.raises(DatasetError, match=r"out: got '10,50'"):
        module_task(tmp_path, ["10,50"] * 2 * N, None, metric=number)


def test_a_study_that_ran_on_gold_which_is_refused_now_can_be_opened(tmp_path):
    write(tmp_path, ["10,50"] * N)
    part = space({"type": "str"}, {"kind": "number", "field": "out"})
    assert gold(load_task(part, base=tmp_path, models={}, stored=True)) == ["10,50"] * N


def test_an_input_that_is_gold_as_well_goes_to_the_program_as_it_is(tmp_path):
    values = [str(i) for i in range(N)]
    task = load(tmp_path, values, {"type": "int"}, {"kind": "exact", "field": "out", "gold": "text"}, column="text")
    assert gold(task, "text") == values
    with pytest.raises(DatasetError, match=r"d.jsonl:1: text: got 't0', expected a whole number"):
        load(tmp_path, [1, 2] * N, {"type": "int"}, {"kind": "exact", "field": "out", "gold": "text"})


def test_an_empty_cell_of_an_optional_input_is_null_and_moves_no_row(tmp_path):
    metric = {"kind": "exact", "field": "out", "gold": "want"}
    (tmp_path / "d.csv").write_text("text,want\n" + "".join(f"{'' if i == 3 else i},{i}\n" for i in range(N)))
    task = load_task(space({}, metric, "d.csv"), base=tmp_path, models={})
    assert [e.values["text"] for e in in_order(task)] == ["0", "1", "2", None, "4", "5", "6", "7"]
    assert task.read_hash is not None


# --------------------------------------------------------------------------------------- a module of one's own


class Invoice(pydantic.BaseModel):
    paid: bool
    items: list[int] = []
    note: str | None = None


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "kind", "optional"),
    [
        (int, "int", False), (float, "float", False), (bool, "bool", False), (str, "text", False),
        (bool | None, "bool", True), (int | None, "int", True), (list[str], "list", False), (list, "list", False),
        (set[int], "list", False), (dict, "object", False), (dict[str, int], "object", False),
        (Invoice, "object", False), (Invoice | None, "object", True), (Literal["a", "b"], "text", False),
        (Colour, "text", False), (int | str, "text", False), (Any, "text", False), (None, "text", False),
    ],
)  # fmt: skip
def test_an_annotation_has_a_type_for_gold(annotation, kind, optional):
    found = type_of_annotation(annotation)
    assert (found.kind, found.optional, found.is_sure) == (kind, optional, False)


def test_fields_of_a_models_object_are_read_and_none_is_missed():
    assert read_gold('{"paid": 1, "items": ["2"], "more": "x"}', type_of_annotation(Invoice)) == {
        "paid": True, "items": [2], "more": "x"
    }  # fmt: skip
    assert read_gold('[{"paid": "no"}]', type_of_annotation(list[Invoice])) == [{"paid": False}]
    assert read_gold(["a"], GoldType()) == ["a"]


def module_task(folder, values, annotation, *, name="d.csv", metric=None, inputs=None):
    write(folder, values, name)
    made = space(metric=metric, name=name, task={"module": "own.py:Own", "inputs": ["text"], "outputs": ["out"]})
    task = load_task(made, base=folder, models={})
    return read_for_module(task, made, outputs={"out": annotation} if annotation else {}, inputs=inputs or {})


@pytest.mark.parametrize(
    ("annotation", "values", "answers"),
    [
        (float, ["0.50", "1"], [0.5, 1]),
        (int, ["1000", "5.0"], [1000, 5]),
        (bool, ["true", "0"], [True, False]),
        (list[str], ['["a"]', "[]"], [["a"], []]),
        (str | None, ["a", ""], ["a", None]),
        (Invoice, ['{"paid": true, "items": [1], "note": null}'], [{"paid": True, "items": [1], "note": None}]),
        (Literal["a", "b"], ["a", "b"], ["a", "b"]),
        (None, ["a", "5"], ["a", "5"]),
    ],
)
def test_text_gold_for_a_module_is_read_by_its_annotation(tmp_path, annotation, values, answers):
    task = module_task(tmp_path, values * N, annotation)
    assert gold(task) == answers * N
    assert quality(task, answers * N) == [1.0] * len(answers * N)
    assert (task.read_hash is None) == (values == answers)


def test_a_wrong_cell_for_a_module_is_refused_and_a_column_of_another_form_is_left(tmp_path):
    with pytest.raises(DatasetError, match=r"d.csv: row 9: out: got 'five', expected a whole number\. The module's"):
        module_task(tmp_path, ["1"] * N + ["five"], int)
    assert gold(module_task(tmp_path, ["5 EUR", "6 EUR"] * N, float)) == ["5 EUR", "6 EUR"] * N


def test_null_gold_for_a_module_needs_an_optional_annotation(tmp_path):
    values = ["a", None] * N
    assert gold(module_task(tmp_path, values, str | None, name="d.jsonl")) == values
    for annotation in (str, None):
        with pytest.raises(DatasetError, match=r"d.jsonl:2: 'out' is null.*declare `out` as `Optional\[...\]`"):
            module_task(tmp_path, values, annotation, name="d.jsonl")
    number = {"kind": "number", "field": "out"}
    assert gold(module_task(tmp_path, ["1", ""] * N, float | None, metric=number)) == ["1", None] * N
    with pytest.raises(DatasetError, match="'out' is null"):
        module_task(tmp_path, ["1", ""] * N, float, metric={"kind": "json_fields", "fields": ["out"]})


def test_json_text_of_an_input_that_a_module_takes_as_a_list_is_parsed(tmp_path):
    (tmp_path / "d.csv").write_text("text,out\n" + "".join(f'"[""a{i}""]",b\n' for i in range(N)) + "plain,b\n")
    made = space(name="d.csv", task={"module": "own.py:Own", "inputs": ["text"], "outputs": ["out"]})
    task = load_task(made, base=tmp_path, models={})
    for annotation, wanted in ((list[str], [[f"a{i}"] for i in range(N)]), (str, [f'["a{i}"]' for i in range(N)])):
        read = read_for_module(task, made, outputs={}, inputs={"text": annotation})
        assert gold(read, "text") == [*wanted, "plain"]
        assert [e.id for e in in_order(read)] == [e.id for e in in_order(task)]
