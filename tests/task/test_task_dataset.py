"""Data in every format becomes the same examples; data that cannot be used is refused with the row."""

import datetime
import json
import math
import random
import sys
import types
import unicodedata

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from offramp.errors import DatasetError
from offramp.space.model import DatasetPart, TaskPart
from offramp.task.dataset import dataset_hash, load_examples, unused_labels
from offramp.task.fields import task_fields
from offramp.task.readers.base import NotJson, plain

FIELDS = task_fields(TaskPart(signature="text -> label: Literal['NA', 'no']"), "s.yaml")
ROWS = [{"text": "one", "label": "NA"}, {"text": "two", "label": "no"}]


def _load(folder, content, *, name="d.jsonl", fields=FIELDS, gold=("label",), seed=0, nullable=(), **part):
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return load_examples(DatasetPart(path=name, **part), fields, gold, folder, seed=seed, nullable=nullable)


def _jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def _fields(**outputs):
    return task_fields(TaskPart(signature={"inputs": {"text": None}, "outputs": outputs}), "s.yaml")


def test_jsonl_with_byte_order_mark_blank_lines_and_windows_line_ends_is_read(tmp_path):
    text = "\ufeff" + json.dumps(ROWS[0]) + "\r\n\r\n  \r\n" + json.dumps(ROWS[1])
    examples = _load(tmp_path, text)
    assert [dict(e.values) for e in examples] == ROWS
    assert [e.row for e in examples] == [1, 4]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no rows"),
        (b"\n\n", "has no rows"),
        (b'{"text": "a", "label": "NA"}\n{"text": "\xff"}\n', "d.jsonl:2: not UTF-8: byte 0xff at offset 39"),
        (b"\xff\xfe{\x00", "UTF-16"),
        (b'{"text": NaN, "label": "NA"}\n', "d.jsonl:1: NaN is not a JSON value"),
        (b'{"text": -Infinity, "label": "NA"}\n', "-Infinity is not a JSON value"),
        (b'{"text": 1e999, "label": "NA"}\n', "too large"),
        (b'{"text": "a", "text": "b"}\n', "duplicate key 'text'"),
        (b'{"text": "\\ud800", "label": "NA"}\n', "unpaired surrogate"),
        (b"[1, 2]\n", "the line is a list"),
        (b'{"text": \n', "d.jsonl:1: not JSON"),
        (b"[" * 100_000 + b"\n", "d.jsonl:1"),
        (b'{"txt": "a", "label": "NA"}\n', "Did you mean 'txt'?"),
        (b'{"text": "a", "labell": "NA"}\n', "Did you mean 'labell'?"),
        (
            b'{"text": "a", "label": "NA"}\n{"text": "b", "lable": "no"}\n',
            "d.jsonl:2: the row has no 'label'. Did you mean 'lable'?",
        ),
        (b'{"text": null, "label": "NA"}\n', "d.jsonl:1: 'text' is null"),
        (b'{"text": "a", "label": null}\n', "'label' is null"),
        (
            b'{"text": "a", "label": "NA"}\n{"text": "b", "label": "noo"}\n',
            "d.jsonl:2: label: not a label: 'noo' (row 2)",
        ),
    ],
)
def test_jsonl_that_cannot_be_used_is_refused_with_the_line(tmp_path, content, words):
    with pytest.raises(DatasetError) as caught:
        _load(tmp_path, content)
    assert words in str(caught.value)


def test_a_label_that_no_example_has_is_a_warning_and_no_error(tmp_path):
    examples = _load(tmp_path, b'{"text": "a", "label": "NA"}\n')
    (warning,) = unused_labels(examples, FIELDS, ["label"], "d.jsonl")
    assert "no example has the label 'no'" in warning
    assert unused_labels(examples, FIELDS, [], "d.jsonl") == []


def test_rows_of_one_group_carry_it_and_a_missing_group_is_refused(tmp_path):
    rows = b'{"text": "a", "label": "NA", "q": 1}\n{"text": "b", "label": "no", "q": 1}\n'
    assert [e.group for e in _load(tmp_path, rows, group="q")] == ["1", "1"]
    assert [e.group for e in _load(tmp_path, rows)] == [None, None]
    for content, words in ((rows.replace(b'"q": 1}', b'"q": null}'), "'q' is empty"), (rows, "no such column")):
        with pytest.raises(DatasetError, match=words):
            _load(tmp_path, content, group="q" if b"null" in content else "qq")


def test_csv_cells_stay_the_text_they_are(tmp_path):
    text = 'text,label,code\n"a, ""b""\nc",NA,007\ntrue,no,1e5\n'
    examples = _load(tmp_path, text, name="d.csv")
    assert [dict(e.values) for e in examples] == [
        {"text": 'a, "b"\nc', "label": "NA", "code": "007"},
        {"text": "true", "label": "no", "code": "1e5"},
    ]


def test_csv_gold_is_read_by_the_type_of_its_output(tmp_path):
    fields = _fields(
        n={"type": "int", "optional": True}, ok={"type": "bool"}, tags={"type": "list[str]"}, s={"optional": True}
    )
    text = 'text,n,ok,tags,s\na,007,TRUE,"[""x""]",\nb,,0,[],007\n'
    rows = [dict(e.values) for e in _load(tmp_path, text, name="d.csv", fields=fields, gold=("n", "ok", "tags", "s"))]
    assert rows[0] == {"text": "a", "n": 7, "ok": True, "tags": ["x"], "s": None}
    assert rows[1] == {"text": "b", "n": None, "ok": False, "tags": [], "s": "007"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text,label\na,NA\nb\n", "d.csv: row 2: has 1 cells (ends in line 3): expected 2"),
        ("text,label\na,b,NA\n", "d.csv: row 1: has 3 cells"),
        ("text,text\na,b\n", "header: 'text'"),
        ('text,label\n"a,NA\n', "a cell that begins with a quotation mark is never closed"),
        ("text;label\na;b;c\n", "Quote a cell that contains a semicolon"),
        ("text|label\na|NA\n", "commas"),
        ("text,label\n", "has no rows"),
        ("", "has no rows"),
        (b"text,label\na,NA\n\xe9,no\n", "d.csv:3: not UTF-8: byte 0xe9 at offset 16"),
        (b"\xef\xbb\xbftext,label\n\xe9,no\n", "d.csv:2: not UTF-8: byte 0xe9 at offset 14"),
    ],
)
def test_csv_that_cannot_be_used_is_refused_with_the_place(tmp_path, content, words):
    with pytest.raises(DatasetError) as caught:
        _load(tmp_path, content, name="d.csv")
    assert words in str(caught.value)


def test_csv_gold_of_the_wrong_type_names_row_and_column(tmp_path):
    with pytest.raises(DatasetError, match=r"d.csv: row 2: n: the cell: got 'many', expected a whole number"):
        _load(tmp_path, "text,n\na,1\nb,many\n", name="d.csv", fields=_fields(n={"type": "int"}), gold=("n",))


def test_a_csv_cell_longer_than_the_readers_default_limit_is_read(tmp_path):
    long = "x" * 300_000
    examples = _load(tmp_path, f"text,label\n{long},NA\nb,no\n", name="d.csv")
    assert examples[0].values["text"] == long


def test_parquet_values_become_plain_json(tmp_path):
    table = pyarrow.table(
        {
            "text": ["a", "b"],
            "label": pyarrow.array(["NA", "no"]).dictionary_encode(),
            "n": pyarrow.array([1, None], pyarrow.int64()),
            "x": [math.nan, 0.5],
            "when": pyarrow.array([datetime.datetime(2026, 1, 2, 3, 4, 5), None], pyarrow.timestamp("us")),
            "tags": [["p"], []],
            "picture": [b"\x00", b"\x01"],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    examples = load_examples(DatasetPart(path="d.parquet"), FIELDS, ["label"], tmp_path)
    assert dict(examples[0].values) == {
        "text": "a",
        "label": "NA",
        "n": 1,
        "x": None,
        "when": "2026-01-02T03:04:05",
        "tags": ["p"],
    }
    assert examples[1].values["n"] is None and examples[1].values["when"] is None
    json.dumps(dict(examples[0].values), allow_nan=False)


def test_bytes_in_a_column_that_the_task_needs_are_refused(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"text": [b"a"], "label": ["NA"]}), tmp_path / "d.parquet")
    with pytest.raises(DatasetError, match=r"row 1: 'text' is bytes"):
        load_examples(DatasetPart(path="d.parquet"), FIELDS, ["label"], tmp_path)


def test_a_file_that_is_not_parquet_says_so(tmp_path):
    with pytest.raises(DatasetError, match=r"not a readable Parquet file"):
        _load(tmp_path, b"hello", name="d.parquet")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (numpy.float32(0.5), 0.5),
        (numpy.int64(3), 3),
        (numpy.bool_(True), True),
        (numpy.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (numpy.float64("nan"), None),
        (numpy.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
        ({"a": (1, None)}, {"a": [1, None]}),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ([b"x"], NotJson("bytes")),
        (math.inf, NotJson("infinity")),
    ],
)
def test_typed_values_become_plain_ones(value, expected):
    got = plain(value)
    assert got == expected and type(got) is type(expected)


def test_a_missing_file_names_the_nearest_one(tmp_path):
    (tmp_path / "support.jsonl").write_text("{}")
    with pytest.raises(DatasetError, match=r"suport.jsonl: there is no such file. Did you mean 'support.jsonl'"):
        load_examples(DatasetPart(path="suport.jsonl"), FIELDS, [], tmp_path)


def test_a_folder_and_an_unknown_ending_are_refused(tmp_path):
    (tmp_path / "x.d").mkdir()
    with pytest.raises(DatasetError, match=r"is a folder"):
        load_examples(DatasetPart(path="x.d"), FIELDS, [], tmp_path)
    with pytest.raises(DatasetError, match=r"one JSON object per line"):
        _load(tmp_path, "[]", name="d.json")


def test_columns_are_renamed_and_others_kept(tmp_path):
    rows = [{"body": "a", "label": "NA", "tone": "x"}, {"body": "b", "label": "no", "tone": "y"}]
    (tmp_path / "d.jsonl").write_text(_jsonl(rows))
    examples = load_examples(DatasetPart(path="d.jsonl", fields={"text": "body"}), FIELDS, ["label"], tmp_path)
    assert dict(examples[0].values) == {"text": "a", "label": "NA", "tone": "x"}
    with pytest.raises(DatasetError, match=r"no such column for 'text': got 'bdy'.*Did you mean 'body'"):
        load_examples(DatasetPart(path="d.jsonl", fields={"text": "bdy"}), FIELDS, ["label"], tmp_path)


@pytest.mark.parametrize(("in_file", "in_space"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_column_is_found_whichever_way_its_accents_are_written(tmp_path, in_file, in_space):
    """An editor of macOS writes `fräge` with two characters for its second letter."""
    there, here = (unicodedata.normalize(form, "fräge") for form in (in_file, in_space))
    rows = _jsonl([{there: f"q{i}", "label": "no", there + "_id": f"k{i}"} for i in range(2)])
    (tmp_path / "d.jsonl").write_text(rows)
    part = DatasetPart(path="d.jsonl", id=here + "_id", fields={"text": here})
    examples = load_examples(part, FIELDS, ("label",), tmp_path)
    assert [(example.id, example.values["text"]) for example in examples] == [("k0", "q0"), ("k1", "q1")]


def test_two_columns_that_look_alike_are_not_chosen_between(tmp_path):
    forms = [unicodedata.normalize(form, "\u1e69") for form in ("NFC", "NFD")]
    (tmp_path / "d.jsonl").write_text(_jsonl([{forms[0]: "x", forms[1]: "y", "label": "no"}]))

    def text_of(column):
        part = DatasetPart(path="d.jsonl", fields={"text": column})
        return load_examples(part, FIELDS, ("label",), tmp_path)[0].values["text"]

    assert [text_of(form) for form in forms] == ["x", "y"]
    with pytest.raises(DatasetError, match=r"no such column for 'text'.*differ in Unicode form alone: rename all but"):
        text_of("s\u0307\u0323")


def test_ids_come_from_the_data_and_duplicates_are_an_error(tmp_path):
    rows = [{**row, "key": key} for row, key in zip(ROWS, (1, "b"), strict=True)]
    assert [e.id for e in _load(tmp_path, _jsonl(rows), id="key")] == ["1", "b"]
    with pytest.raises(DatasetError, match=r"rows 1, 3 have the same id '1'"):
        _load(tmp_path, _jsonl([*rows, {**ROWS[0], "key": "1"}]), id="key")
    with pytest.raises(
        DatasetError, match=r"no such column: got 'kee', expected one of 'text', 'label', 'key'. Did you mean 'key'"
    ):
        _load(tmp_path, _jsonl(rows), id="kee")
    with pytest.raises(DatasetError, match=r"d.jsonl:3: the id 'key'"):
        _load(tmp_path, _jsonl([*rows, {**ROWS[0], "key": " "}]), id="key")


def test_ids_from_content_do_not_depend_on_file_order_even_for_copies(tmp_path):
    rows = [*ROWS, {**ROWS[0], "tone": "z"}, {**ROWS[0], "tone": "b"}]
    first = {json.dumps(dict(e.values), sort_keys=True): e.id for e in _load(tmp_path, _jsonl(rows))}
    second = {json.dumps(dict(e.values), sort_keys=True): e.id for e in _load(tmp_path, _jsonl(rows[::-1]))}
    assert first == second and len(set(first.values())) == 4


def test_the_content_hash_is_of_inputs_and_gold_only(tmp_path):
    plain_hash = _load(tmp_path, _jsonl(ROWS))[0].content_hash
    other = [{**row, "tone": "x"} for row in ROWS]
    assert _load(tmp_path, _jsonl(other))[0].content_hash == plain_hash
    changed = [{**ROWS[0], "text": "One"}, ROWS[1]]
    assert _load(tmp_path, _jsonl(changed))[0].content_hash != plain_hash


def test_null_gold_is_allowed_for_an_optional_output_only(tmp_path):
    rows = _jsonl([{"text": "a", "city": None}, {"text": "b"}, {"text": "c", "city": "Oslo"}])
    examples = _load(tmp_path, rows, fields=_fields(city={"optional": True}), gold=("city",))
    assert [e.values["city"] for e in examples] == [None, None, "Oslo"]
    with pytest.raises(DatasetError, match=r"optional"):
        _load(tmp_path, rows, fields=_fields(city=None), gold=("city",))
    assert len(_load(tmp_path, rows, fields=_fields(city=None), gold=("city",), nullable=("city",))) == 3


def test_limit_keeps_a_seeded_choice_that_file_order_does_not_move(tmp_path):
    rows = [{"text": str(i), "label": ("NA", "no")[i % 2]} for i in range(60)]
    shuffled = random.Random(1).sample(rows, len(rows))
    one = _load(tmp_path, _jsonl(rows), limit=20)
    assert {e.id for e in one} == {e.id for e in _load(tmp_path, _jsonl(shuffled), limit=20)}
    assert len(one) == 20 and [e.row for e in one] == sorted(e.row for e in one)
    assert {e.id for e in one} != {e.id for e in _load(tmp_path, _jsonl(rows), limit=20, seed=1)}


def test_the_dataset_hash_sees_every_column_but_not_the_order(tmp_path):
    one = dataset_hash(_load(tmp_path, _jsonl(ROWS)))
    assert one == dataset_hash(_load(tmp_path, _jsonl(ROWS[::-1])))
    assert one != dataset_hash(_load(tmp_path, _jsonl([{**ROWS[0], "tone": 1}, ROWS[1]])))


class _Labels:
    def int2str(self, value):
        return ("NA", "no")[value]


class _Data(list):
    @property
    def features(self):
        return {"label": _Labels()}


def _hub(monkeypatch, load):
    module = types.ModuleType("datasets")
    module.load_dataset = load
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_hub_rows_have_label_names_and_their_split(tmp_path, monkeypatch):
    asked = []

    def load(*args, **kwargs):
        asked.append((args, kwargs))
        return {"train": _Data([{"text": "a", "label": 0}]), "test": _Data([{"text": "b", "label": 1}])}

    _hub(monkeypatch, load)
    examples = load_examples(DatasetPart(hub="o/n", revision="abc"), FIELDS, ["label"], tmp_path)
    assert [dict(e.values) for e in examples] == [
        {"text": "a", "label": "NA", "split": "train"},
        {"text": "b", "label": "no", "split": "test"},
    ]
    assert asked == [(("o/n", None), {"split": None, "revision": "abc"})]


def test_a_hub_without_package_or_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match=r"pip install 'offramp\[hub\]'"):
        load_examples(DatasetPart(hub="o/n"), FIELDS, ["label"], tmp_path)

    def offline(*args, **kwargs):
        raise ConnectionError("no route\nmore")

    _hub(monkeypatch, offline)
    with pytest.raises(DatasetError, match=r"ConnectionError: no route\).*download the data to a file"):
        load_examples(DatasetPart(hub="o/n"), FIELDS, ["label"], tmp_path)
