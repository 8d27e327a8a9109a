"""A user's function as a metric: found, called safely, and its bugs reported as bugs."""

import asyncio
import threading
from types import MappingProxyType

import pytest
from pydantic import TypeAdapter

from offramp.errors import MetricError
from offramp.records import Example
from offramp.space.model import Metric as MetricPart
from offramp.space.model import TaskPart
from offramp.task.fields import task_fields
from offramp.task.metrics import build_metric

FIELDS = task_fields(TaskPart(signature="q -> a"), "s.yaml")


def _metric(folder, source, path="m.py:f"):
    (folder / path.partition(":")[0]).write_text(source)
    return _built(folder, path)


def _built(folder, path):
    part = TypeAdapter(MetricPart).validate_python({"kind": "python", "path": path})
    return build_metric(part, fields=FIELDS, base=folder, models={})


def _score(metric, values=None, outputs=None):
    example = Example(id="e", content_hash="h", values=MappingProxyType(values or {"a": "x"}), row=7)
    return asyncio.run(metric.score(example, {"a": "x"} if outputs is None else outputs, None))


@pytest.mark.parametrize(
    ("body", "value", "feedback"),
    [
        ("return 0.25", 0.25, None),
        ("return example['a'] == prediction['a']", 1.0, None),
        ("return 0.5, 'so so'", 0.5, "so so"),
        ("return True, None", 1.0, None),
        ("return 1.0000000001", 1.0, None),
        ("import numpy; return numpy.float32(0.5)", 0.5, None),
        ("import numpy; return numpy.bool_(True)", 1.0, None),
    ],
)
def test_what_counts_as_a_score(tmp_path, body, value, feedback):
    score = _score(_metric(tmp_path, f"def f(example, prediction):\n    {body}\n"))
    assert (score.value, score.feedback) == (value, feedback)


@pytest.mark.parametrize(
    "returned", ["None", "'1'", "float('nan')", "float('inf')", "1.5", "-0.1", "(0.5, 3)", "(1, 2, 3)", "[0.5]", "1j"]
)
def test_a_value_that_is_not_a_score_is_an_error_with_function_value_and_row(tmp_path, returned):
    metric = _metric(tmp_path, f"def f(example, prediction):\n    return {returned}\n")
    with pytest.raises(MetricError, match=r"^m.py:f: row 7: what it returned: got ") as caught:
        _score(metric)
    assert repr(eval(returned)) in str(caught.value)  # noqa: S307


def test_a_function_that_raises_stops_with_its_own_words(tmp_path):
    metric = _metric(tmp_path, "def f(example, prediction):\n    return {}[example['a']]\n")
    with pytest.raises(MetricError, match=r"m.py:f: row 7: it raised KeyError: 'x'"):
        _score(metric)


def test_a_coroutine_function_is_awaited_and_so_is_an_object_with_one(tmp_path):
    source = "class C:\n    async def __call__(self, example, prediction, trace=None):\n        return 0.5\nf = C()\n"
    assert _score(_metric(tmp_path, source)).value == 0.5
    source = "async def g(e, p):\n    return 0.75\nf = lambda e, p: g(e, p)\n"
    assert _score(_metric(tmp_path, source, "n.py:f")).value == 0.75


def test_neither_example_nor_prediction_can_be_changed(tmp_path):
    with pytest.raises(MetricError, match=r"does not support item assignment"):
        _score(_metric(tmp_path, "def f(example, prediction):\n    example['a'] = 1\n"))
    values = {"a": ["x"]}
    _score(_metric(tmp_path, "def f(e, p):\n    e['a'].pop(); p['a'].pop()\n    return 1\n", "n.py:f"), values, values)
    assert values == {"a": ["x"]}


def test_calls_of_a_plain_function_run_in_another_thread_and_never_overlap(tmp_path):
    source = (
        "import threading\nbusy = []\nthreads = set()\n"
        "def f(e, p):\n    assert not busy\n    busy.append(1)\n    threads.add(threading.get_ident())\n"
        "    busy.pop()\n    return 1\n"
    )
    metric = _metric(tmp_path, source)
    example = Example(id="e", content_hash="h", values=MappingProxyType({}), row=1)

    async def many():
        return await asyncio.gather(*(metric.score(example, {}, None) for _ in range(50)))

    assert all(score.value == 1 for score in asyncio.run(many()))
    threads = metric.function.__globals__["threads"]
    assert len(threads) == 1 and threading.get_ident() not in threads


@pytest.mark.parametrize(
    ("source", "path", "words"),
    [
        (
            "import nothing_like_this",
            "m.py:f",
            "it does not import: ModuleNotFoundError: No module named 'nothing_like_this' (m.py, line 1). Install it, or",
        ),
        ("1 / 0", "m.py:f", "ZeroDivisionError"),
        ("def f(:", "m.py:f", "SyntaxError"),
        ("raise SystemExit(3)", "m.py:f", "SystemExit"),
        ("def scored(e, p): return 1", "m.py:score", "m.py has no 'score'. Did you mean 'scored'?"),
        ("f = 3", "m.py:f", "not a function: got 'int'"),
        ("class f: pass", "m.py:f", "not a function"),
        ("def f(e): return 1", "m.py:f", "cannot be called with (example, prediction)"),
        ("", "m.py", "not an import path"),
    ],
)
def test_what_cannot_be_imported_is_one_message_with_the_reason(tmp_path, source, path, words):
    with pytest.raises(MetricError) as caught:
        _metric(tmp_path, source, path)
    assert words in str(caught.value)


def test_a_missing_module_names_what_is_near(tmp_path):
    (tmp_path / "grading_here.py").write_text("")
    with pytest.raises(MetricError, match=r"No module named 'grading_her'. Did you mean 'grading_here'"):
        _built(tmp_path, "grading_her:f")
    with pytest.raises(MetricError, match=r"No module named 'not_a_package_here'"):
        _built(tmp_path, "not_a_package_here.sub:f")


def test_modules_beside_the_space_file_and_beside_the_metric_are_found(tmp_path, monkeypatch):
    import sys

    (tmp_path / "offramp_test_pkg").mkdir()
    (tmp_path / "offramp_test_pkg" / "helper_of_metric.py").write_text("VALUE = 0.5\n")
    (tmp_path / "offramp_test_pkg" / "m.py").write_text(
        "from helper_of_metric import VALUE\ndef f(e, p): return VALUE\n"
    )
    (tmp_path / "offramp_test_pkg" / "n.py").write_text("def f(e, p): return 0.75\n")
    before = list(sys.path)
    assert _score(_built(tmp_path, "offramp_test_pkg/m.py:f")).value == 0.5
    assert _score(_built(tmp_path, "offramp_test_pkg.n:f")).value == 0.75
    assert sys.path == before
    for name in ("helper_of_metric", "offramp_test_pkg", "offramp_test_pkg.n"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_fingerprint_follows_the_source_text(tmp_path):
    one = _metric(tmp_path, "K = 1\ndef f(e, p):\n    return K\n").fingerprint
    assert _metric(tmp_path, "K = 1\ndef f(e, p):\n    return K\n").fingerprint == one
    changed = _metric(tmp_path, "K = 0\ndef f(e, p):\n    return K\n")
    assert changed.fingerprint != one and _score(changed).value == 0
