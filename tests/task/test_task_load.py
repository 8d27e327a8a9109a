"""The whole of a task from a space file, its hash, and data that nobody here wrote."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from offramp.errors import DatasetError, SpaceError
from offramp.records import Split
from offramp.space.model import SpaceFile
from offramp.task.task import load_task

ROOT = Path(__file__).parents[2]
TASKS = Path(os.environ.get("OFFRAMP_TEST_TASKS", ROOT.parent / "shared" / "tasks"))
LABELS = ["a", "b"]


def _space(**parts):
    given = {
        "name": "t",
        "task": {"signature": f"text -> label: Literal{LABELS}, city"},
        "dataset": {"path": "d.jsonl"},
        "splits": {"stratify": "label"},
        "metric": {"kind": "exact", "field": "label"},
        "models": ["m"],
        "instructions": {"plain": "Label it."},
    }
    return SpaceFile.model_validate({**given, **parts})


def _rows(n=20):
    return [{"text": f"t{i}", "label": LABELS[i % 2], "city": f"c{i}", "want": LABELS[i % 2]} for i in range(n)]


def _load(folder, rows=None, **parts):
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or _rows()))
    return load_task(_space(**parts), base=folder, models={}, where=lambda key: "s.yaml")


def test_a_task_has_fields_splits_and_a_metric_that_scores(tmp_path):
    task = _load(tmp_path)
    assert [len(task.splits.of(split)) for split in Split] == [6, 7, 7]
    example = task.splits.search[0]
    assert asyncio.run(task.metric.score(example, dict(example.values), None)).value == 1.0


def test_the_hash_follows_data_splits_metric_and_fields_and_nothing_else(tmp_path):
    base = _load(tmp_path).hash
    assert _load(tmp_path, _rows()[::-1]).hash == base
    assert _load(tmp_path, name="other", models=["x", "y"], search={"seed": 5}).hash == base
    changed = [
        _load(tmp_path, _rows(21)),
        _load(tmp_path, splits={"stratify": "label", "seed": 1}),
        _load(tmp_path, metric={"kind": "token_f1", "field": "label"}),
        _load(tmp_path, task={"signature": f"text -> label: Literal{LABELS}"}),
    ]
    assert len({base, *(task.hash for task in changed)}) == 5


def test_a_changed_metric_leaves_every_row_in_its_split(tmp_path):
    one = _load(tmp_path)
    two = _load(tmp_path, metric={"kind": "exact", "field": "city", "gold": "want"})
    for split in Split:
        texts = [{e.values["text"] for e in task.splits.of(split)} for task in (one, two)]
        assert texts[0] == texts[1]


def test_a_label_column_of_another_name_is_checked_too(tmp_path):
    rows = [*_rows(), {"text": "z", "label": "a", "city": "c", "want": "A"}]
    with pytest.raises(DatasetError, match=r"d.jsonl:21: want: not a label: 'A' \(row 21\)"):
        _load(tmp_path, rows, metric={"kind": "exact", "field": "label", "gold": "want"})


def test_gold_that_is_not_a_number_is_found_before_a_job(tmp_path):
    with pytest.raises(DatasetError, match=r"d.jsonl:1: want: got 'a', expected a number"):
        _load(tmp_path, metric={"kind": "number", "field": "city", "gold": "want"})


def test_a_column_that_only_the_judge_sees_may_be_null_but_gold_may_not(tmp_path):
    rows = [{**row, "want": None} for row in _rows()]
    metric = {"kind": "contains", "field": "city", "values_from": "want"}
    assert len(_load(tmp_path, rows, metric=metric).splits.search) == 7
    with pytest.raises(DatasetError, match=r"d.jsonl:1: 'want' is null"):
        _load(tmp_path, rows, metric={"kind": "exact", "field": "city", "gold": "want"})


def test_a_metric_of_an_unknown_field_is_refused_before_the_data_is_read(tmp_path):
    space = _space(metric={"kind": "exact", "field": "lable"})
    with pytest.raises(SpaceError, match=r"s.yaml: metric: field: got 'lable'.*Did you mean 'label'"):
        load_task(space, base=tmp_path, models={}, where=lambda key: "s.yaml")


def test_loading_a_task_loads_nothing_heavy():
    heavy = "dspy litellm optuna pandas torch pyarrow datasets"
    code = f"import sys, offramp.task.task; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _real(name):
    if not (TASKS / name).is_file():
        pytest.skip(f"{name} is not here")
    return {"path": name, "id": "id"}


def test_real_intents_are_dealt_evenly(tmp_path):
    dataset = _real("snips_slots.jsonl")
    lines = (TASKS / "snips_slots.jsonl").read_text().splitlines()
    values = sorted({json.loads(line)["label"] for line in lines})
    outputs = {"label": {"type": "enum", "values": values}}
    space = _space(task={"signature": {"inputs": {"input": None}, "outputs": outputs}}, dataset=dataset)
    task = load_task(space, base=TASKS, models={})
    for label in values:
        counts = [sum(e.values["label"] == label for e in task.splits.of(split)) for split in Split]
        assert abs(counts[1] - counts[2]) <= 1


def test_real_slots_score_1_against_themselves_and_0_against_nothing():
    task_part = {"module": "m:P", "inputs": ["input"], "outputs": ["slots"]}
    metric = {"kind": "json_fields", "fields": ["slots"]}
    space = _space(task=task_part, dataset=_real("snips_slots.jsonl"), splits={}, metric=metric)
    task = load_task(space, base=TASKS, models={})
    for example in task.splits.search[:50]:
        assert asyncio.run(task.metric.score(example, dict(example.values), None)).value == 1.0
        assert asyncio.run(task.metric.score(example, {}, None)).value == 0.0
