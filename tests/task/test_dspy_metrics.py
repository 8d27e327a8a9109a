"""Metrics as DSPy's users write them run as they are: DSPy's shapes of functions, of objects and of what they return."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import TypeAdapter

from offramp.errors import MetricError
from offramp.records import Example, Score
from offramp.space.model import Metric as MetricPart
from offramp.space.model import TaskPart
from offramp.task.fields import task_fields
from offramp.task.metrics import build_metric
from offramp.task.metrics.rows import Answer, Row

FIELDS = task_fields(TaskPart(signature="question -> answer"), "s.yaml")
ROW = {"question": "Where?", "answer": "Paris", "invoice": {"vendor": {"name": "Acme"}, "lines": [{"sku": "a"}]}}


def scored(folder: Path, source: str, path: str = "m.py:metric", *, answer: Any = None, row: Any = None) -> Score:
    if path.startswith("m.py"):
        (folder / "m.py").write_text(source)
    part = TypeAdapter(MetricPart).validate_python({"kind": "python", "path": path})
    metric = build_metric(part, fields=FIELDS, base=folder, models={})
    example = Example(id="e", content_hash="h", values=MappingProxyType(row or ROW), row=7)
    return asyncio.run(metric.score(example, {"answer": "Paris"} if answer is None else answer, None))


FUNCTIONS = {
    "attributes": "def metric(example, pred, trace=None):\n    return example.answer == pred.answer\n",
    "attributes and keys": "def metric(gold, pred, trace=None):\n    return gold['answer'] == pred.answer == pred['answer']\n",
    "a bool only while bootstrapping": (
        "def metric(example, pred, trace=None):\n"
        "    score = (example.answer == pred.answer) / 1\n    return score if trace is None else score > 0.5\n"
    ),
    "a required trace": "def metric(example, pred, trace):\n    return trace is None and 1\n",
    "an unused trace": "def metric(example, pred, _trace):\n    return 1\n",
    "GEPA's five arguments": (
        "import dspy\ndef metric(gold, pred, trace, pred_name, pred_trace):\n"
        "    assert trace is pred_name is pred_trace is None\n"
        "    return dspy.Prediction(score=gold.answer == pred.answer, feedback='fine')\n"
    ),
    "GEPA's five under other names": "def metric(g, p, t, name, part):\n    return float(g.answer == p.answer)\n",
    "a mapping with score and feedback": "def metric(e, p, trace=None):\n    return {'score': 1, 'feedback': 'fine'}\n",
    "a prediction without feedback": "import dspy\ndef metric(e, p, trace=None):\n    return dspy.Prediction(score=1.0)\n",
    "an object": "class M:\n    def __call__(self, example, pred, trace=None):\n        return 1\nmetric = M()\n",
    "a class": "class metric:\n    def __call__(self, example, pred, trace=None):\n        return 1\n",
    "a module": (
        "import dspy\nclass M(dspy.Module):\n    def forward(self, example, pred, trace=None):\n"
        "        return dspy.Prediction(score=float(example.answer == pred.answer))\nmetric = M()\n"
    ),
    "a module that can only be awaited": (
        "import dspy\nclass metric(dspy.Module):\n    async def aforward(self, example, pred, trace=None):\n"
        "        return dspy.Prediction(score=float(example.answer == pred.answer))\n"
    ),
    "a method": "class M:\n    def score(self, example, pred, trace=None):\n        return 1\nmetric = M().score\n",
    "annotated": (
        "import dspy\ndef metric(example: dspy.Example, pred: dspy.Prediction, trace: list | None = None) -> bool:\n"
        "    return dspy.Example(**example).answer == dspy.Prediction(**pred).answer\n"
    ),
    "a partial function": (
        "from functools import partial\ndef f(example, pred, trace=None, *, least):\n    return least\n"
        "metric = partial(f, least=1.0)\n"
    ),
    "inputs and labels": (
        "def metric(example, pred, trace=None):\n"
        "    assert example.inputs().toDict() == {'question': 'Where?'} and 'question' not in example.labels()\n"
        "    assert example.labels().answer == example.get('answer') and example.get('none', 3) == 3\n"
        "    assert example.without('answer').copy(answer='x').answer == 'x'\n    return 1\n"
    ),
    "objects inside": (
        "def metric(example, pred, trace=None):\n    invoice = example.invoice\n"
        "    return invoice.vendor.name == invoice['vendor']['name'] and invoice.lines[0].sku == 'a'\n"
    ),
    "a dict of it": "def metric(e, p):\n    return {**e}['answer'] == dict(p)['answer'] == (e | {})['answer']\n",
    "built into the row's text": "def metric(e, p, trace=None):\n    return list(p) == ['answer'] and len(p) == 1\n",
}


@pytest.mark.parametrize("shape", FUNCTIONS)
def test_a_metric_of_each_of_dspys_shapes_scores(tmp_path: Path, shape: str) -> None:
    score = scored(tmp_path, FUNCTIONS[shape])
    assert score.value == 1.0 and score.feedback in (None, "fine")


@pytest.mark.parametrize(
    ("gold", "answer", "value"),
    [("Paris", "paris.", 1.0), (["Rome", "the Paris"], "Paris", 1.0), ("Paris", "Rome", 0.0)],
)
def test_dspys_own_exact_match_is_named_by_its_path(tmp_path: Path, gold: Any, answer: str, value: float) -> None:
    score = scored(tmp_path, "", "dspy.evaluate:answer_exact_match", answer={"answer": answer}, row={"answer": gold})
    assert score.value == value


def test_dspys_passage_match_reads_what_the_program_found_beside_its_answer(tmp_path: Path) -> None:
    source = "from dspy.evaluate import answer_passage_match as metric\n"
    found = Answer({"answer": "Paris"}, beside={"context": ["Rome is old.", "Paris is in France."]})
    assert scored(tmp_path, source, answer=found).value == 1.0
    assert scored(tmp_path, source, answer=Answer({"answer": "x"}, beside={"context": ["Rome."]})).value == 0.0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return example.answr == pred.answer", "m.py:metric: row 7: the row has no 'answr'; it has question, answer"),
        ("return example['answr'] == pred.answer", "the row has no 'answr'; it has question, answer"),
        ("return example.answer == pred.response", "the prediction has no 'response'; it has answer"),
        ("return example.invoice.total > 0", "the object has no 'total'; it has vendor, lines"),
        ("example.answer = 'x'; return 1", "the row cannot be changed: 'answer' is read-only"),
        ("pred['answer'] = 'x'; return 1", "does not support item assignment"),
        ("import dspy; return dspy.Prediction(score=1.5)", "what it returned: got Prediction("),
        ("import dspy; return dspy.Prediction(score=None)", "expected a number in [0, 1], a boolean, (number, feedback), or"),
        ("import dspy; return dspy.Prediction(value=1.0)", "what it returned: got Prediction("),
        ("import dspy; return dspy.Prediction(score=1, feedback=3)", "what it returned"),
        ("return {'feedback': 'none'}", "what it returned: got {'feedback': 'none'}"),
        ("return 'yes'", "what it returned: got 'yes'"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_metric_is_said_with_the_row_and_what_there_is(
    tmp_path: Path, body: str, words: str
) -> None:
    with pytest.raises(MetricError) as caught:
        scored(tmp_path, f"def metric(example, pred, trace=None):\n    {body}\n")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def metric(e, p, threshold): return 1", "expected (example, prediction), and none or all of trace, pred_name"),
        ("def metric(e, p, trace, threshold): return 1", "its arguments: got '(e, p, trace, threshold)'"),
        ("def metric(e, p, *, least): return 1", "cannot be called with (example, prediction): missing a required"),
        ("def metric(example): return 1", "cannot be called with (example, prediction)"),
        ("class metric:\n    def __init__(self, least): ...\n    def __call__(self, e, p): ...",
         "metric() raises TypeError: metric.__init__() missing 1 required positional argument: 'least'. Make an object"),
        ("class metric: pass", "not a function: got 'type'"),
    ],
)  # fmt: skip
def test_what_cannot_be_called_as_a_metric_is_refused_when_it_is_read(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(MetricError) as caught:
        scored(tmp_path, source)
    assert words in str(caught.value)


def test_a_metric_that_changes_what_it_is_given_changes_nothing_else(tmp_path: Path) -> None:
    row = {"answer": ["x"], "more": {"a": [1]}}
    scored(tmp_path, "def metric(e, p):\n    e.answer.pop(); e.more.a.pop(); e.more['b'] = 2\n    return 1\n", row=row)
    assert row == {"answer": ["x"], "more": {"a": [1]}}


def test_one_predictor_is_asked_about_with_gepas_arguments_and_the_others_keep_none(tmp_path: Path) -> None:
    source = (
        "def metric(gold, pred, trace, pred_name, pred_trace):\n    if pred_name is None:\n        return 1.0, 'whole'\n"
        "    (name, given, gave), = pred_trace\n    return 0.5, f'{pred_name} of {len(trace)}: {given.question} {gave.gist}'\n"
    )
    steps = (("first", {"question": "Q"}, {"gist": "G"}), ("last", {"gist": "G"}, {"answer": "A"}))
    whole = Answer({"answer": "A"}, steps=steps)
    one = Answer({"answer": "A"}, steps=steps, predictor="first")
    assert scored(tmp_path, source, answer=whole) == Score(value=1.0, feedback="whole")
    assert scored(tmp_path, source, answer=one) == Score(value=0.5, feedback="first of 2: Q G")
    plain = "def metric(example, pred, trace=None):\n    return trace is None\n"
    assert scored(tmp_path, plain, answer=one).value == 1.0


def test_rows_read_like_mappings_and_name_what_they_lack() -> None:
    row = Row({"a": 1}, "row 3", beside={"b": 2})
    assert (row.a, row["b"], row.b, "b" in row, list(row), dict(row)) == (1, 2, 2, True, ["a"], {"a": 1})
    assert repr(row) == "{'a': 1}" and row == {"a": 1}
    with pytest.raises(AttributeError, match=r"row 3 has no 'c'; it has a, b"):
        _ = row.c
    with pytest.raises(KeyError):
        _ = row["c"]
