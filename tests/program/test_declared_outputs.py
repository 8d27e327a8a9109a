"""What is known of the outputs of a user's module before it runs, and gold that is read by it."""

import json
from typing import Any, Optional

import dspy
import pytest

from offramp.errors import DatasetError
from offramp.job.resolve import resolve_job
from offramp.program.module import declared_outputs
from offramp.records import Split
from offramp.space.load import load_space

OWN = """
import dspy
from typing import Optional


class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("item: list[str] -> vip: bool, tags: list[str], note: Optional[str]")

    def forward(self, item: list[str], hint: Optional[str] = None):
        return self.ask(item=item)
"""
SPACE = {
    "schema_version": 1, "name": "own", "dataset": {"path": "rows.csv"}, "models": ["openai/gpt-4o-mini"],
    "task": {"module": "own.py:Own", "inputs": {"item": None, "hint": {"optional": True}},
             "outputs": ["vip", "tags", "note"]},
    "metric": {"kind": "json_fields", "fields": ["vip", "tags", "note"]}, "incumbent": {"model": "openai/gpt-4o-mini"},
    "objectives": {"latency": None},
}  # fmt: skip


def asked(forward):
    class Asked(dspy.Module):
        def __init__(self):
            super().__init__()
            self.ask = dspy.Predict("text -> vip: bool, tags: list[str], note: Optional[str]")

    Asked.forward = forward
    return Asked()


def handed_on(self, text):
    return self.ask(text=text)


def written_out(self, text):
    found = self.ask(text=text)
    tags = found["tags"]
    return dspy.Prediction(vip=found.vip, tags=tags, note=found.note)


def computed(self, text):
    found = self.ask(text=text)
    tags = ", ".join(found.tags)
    return dspy.Prediction(vip="yes" if found.vip else "no", tags=tags, note=found.note.strip())


def changed(self, text):
    found = self.ask(text=text)
    found.vip = "yes" if found.vip else "no"
    return found


KNOWN = {"vip": bool, "tags": list[str], "note": Optional[str]}  # noqa: UP045 (as DSPy has it)


@pytest.mark.parametrize(
    ("forward", "known"),
    [
        (handed_on, KNOWN),
        (written_out, KNOWN),
        (computed, {"note": Any | None}),
        (changed, {"tags": list[str], "note": KNOWN["note"]}),
    ],
)
def test_an_output_has_its_predictors_type_where_the_code_hands_it_on(forward, known):
    assert declared_outputs(asked(forward), ["vip", "tags", "note", "more"]) == known


def test_predictors_that_disagree_say_nothing_of_an_output():
    module = asked(handed_on)
    module.again = dspy.Predict("text -> vip: int, tags: list[str]")
    assert declared_outputs(module, ["vip", "tags"]) == {"tags": list[str]}


def resolved(folder, rows, **parts):
    (folder / "own.py").write_text(OWN)
    (folder / "rows.csv").write_text("item,hint,vip,tags,note\n" + "".join(rows))
    (folder / "space.yaml").write_text(json.dumps({**SPACE, **parts}))
    return resolve_job(load_space(folder / "space.yaml"))


def test_cells_for_a_module_are_values_of_its_types(tmp_path):
    rows = [f'"[""a"", ""b{i}""]",{"" if i % 2 else "x"},{i % 2},"[""t""]",{"" if i % 2 else "n"}\n' for i in range(12)]
    job = resolved(tmp_path, rows)
    examples = [example for split in Split for example in job.task.splits.of(split)]
    for example in examples:
        i = example.row - 1
        assert dict(example.values) == {
            "item": ["a", f"b{i}"], "hint": None if i % 2 else "x", "vip": bool(i % 2), "tags": ["t"],
            "note": None if i % 2 else "n",
        }  # fmt: skip
    assert len(examples) == 12


def test_a_cell_that_is_not_of_the_modules_type_is_refused_with_its_row(tmp_path):
    rows = [f'"[""b{i}""]",x,{"maybe" if i == 7 else "yes"},"[""t""]",n\n' for i in range(12)]
    with pytest.raises(DatasetError, match=r"rows.csv: row 8: vip: got 'maybe', expected true or false"):
        resolved(tmp_path, rows)


def test_gold_that_only_a_metric_of_ones_own_reads_stays_text(tmp_path):
    (tmp_path / "m.py").write_text('def right(example, pred):\n    return example.vip == "yes"\n')
    rows = [f'"[""b{i}""]",x,yes,"[""t""]",n\n' for i in range(12)]
    job = resolved(tmp_path, rows, metric={"kind": "python", "path": "m.py:right"})
    assert {example.values["vip"] for example in job.task.splits.search} == {"yes"}
