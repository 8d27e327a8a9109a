"""Files that somebody made on purpose: bombs, links, devices and paths in names end in one message, or do no harm."""

import json
import os
import zipfile

import pytest

from offramp.errors import DatasetError, PromotionError, UsageError
from offramp.job.declared import check_declared
from offramp.promote.folder import FeatureFolder, labels_in
from offramp.promote.promotion import FileRef
from offramp.search import api
from offramp.space.check import check_space
from offramp.space.load import instruction_texts, load_space
from offramp.task.readers import xlsx
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, rows, write_space


def aliases(levels):
    start = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    return start + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, levels))


@pytest.mark.parametrize(
    "text", [aliases(9), "a: " + "[" * 5000 + "]" * 5000, "".join(" " * i + "a:\n" for i in range(900)), "name: a\0b\n",
             "a: &a [*a]\n", "x: " + "y" * 2_000_000, "? {? {? a}}\n"],
)  # fmt: skip
def test_a_space_file_made_to_blow_up_is_one_message(text, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        check_space(load_space(path))
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", "/etc/x", "-rf", "x\0y", "a" * 300, ".hidden", "a\\b"])
def test_no_name_of_a_job_a_feature_or_a_label_is_a_path(name, tmp_path):
    with pytest.raises(UsageError):
        check_space(load_space(write_space(tmp_path, name=name)))
    with pytest.raises(PromotionError):
        FeatureFolder(tmp_path, name)
    for text in (json.dumps({name: "0123456789abcdef"}), json.dumps({"production": name})):
        with pytest.raises(PromotionError):
            labels_in(text.encode(), "labels.yaml")


@pytest.mark.parametrize(
    "sha256", ["../../../../etc/x", "/etc/passwd", "..", "", "A" * 64, "0" * 63 + "/", "0" * 64 + "\n"]
)
def test_the_rows_of_a_promotion_lie_beside_it(sha256, tmp_path):
    with pytest.raises(PromotionError, match="64 hex digits"):
        FeatureFolder(tmp_path, "triage").rows(FileRef(sha256=sha256, rows=1))


@pytest.mark.parametrize("cell", ['"' + "[" * 9000, "[" * 100_000 + "]" * 100_000, "9" * 5000, '{"a":' * 9000])
def test_a_row_made_to_blow_up_is_one_message(cell, tmp_path):
    path = write_space(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "label": "billing", "message": ' + cell + "}\n")
    with pytest.raises(DatasetError, match=r"rows\.jsonl:1") as caught:
        check_declared(load_space(path))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("parts", [1, 3])
def test_a_workbook_that_unpacks_to_any_size_is_refused_before_it_is_unpacked(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(xlsx, "MOST_UNPACKED", 3 * 1024**2)
    with zipfile.ZipFile(tmp_path / "rows.xlsx", "w", zipfile.ZIP_DEFLATED) as made:
        for i in range(parts):
            made.writestr(f"xl/worksheets/sheet{i}.xml", b"x" * (4 * 1024**2 // parts))
    path = write_space(tmp_path, dataset={"path": "rows.xlsx"})
    with pytest.raises(DatasetError, match="unpacked: got '4 MB', expected at most 3 MB"):
        check_declared(load_space(path))


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("place", ["instruction", "dataset", "image"])
def test_a_pipe_that_never_ends_is_no_file(place, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.jsonl")
    if place == "instruction":
        path = write_space(tmp_path, instructions={"vague": "Vague.", "x": {"file": "pipe"}})
        call = instruction_texts
    elif place == "dataset":
        path, call = write_space(tmp_path, dataset={"path": "pipe.jsonl"}), check_declared
    else:
        task = {"signature": {"inputs": {"message": {"type": "image"}}, "outputs": {"label": None}}}
        path, call = write_space(tmp_path, task=task), check_declared
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps({**row, "message": "pipe"}) + "\n" for row in rows()))
    with pytest.raises(UsageError, match=r"pipe"):
        call(load_space(path))


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_links_in_a_results_folder_are_replaced_and_not_followed(tmp_path, monkeypatch):
    answered_by(monkeypatch, FunctionTransport(reply_to))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    small = {"splits": {"train": 2, "search": 3, "holdout": 3}, "search": {"sampler": "random", "trials": 2}}
    space, results = write_space(tmp_path / "job", **small), tmp_path / "results"
    done = api.optimize(space, results=results, transport=FunctionTransport(reply_to))
    for name in (".write-probe", f"{done.report.study}.json", f"{done.report.study}.json.tmp"):
        (results / name).unlink(missing_ok=True)
        (results / name).symlink_to(victim)
    again = api.optimize(space, results=results, transport=FunctionTransport(reply_to), trials=3)
    assert victim.read_text() == "precious"
    assert json.loads((results / f"{again.report.study}.json").read_text())["study"] == done.report.study
