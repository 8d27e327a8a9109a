"""The code of one's own module is part of its study: edited code is another study, and a promotion says what it ran on."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from offramp.errors import UsageError
from offramp.job.clock import Timing
from offramp.job.resolve import resolve_job
from offramp.promote import promoting
from offramp.promote.loading import load
from offramp.promote.recheck import check
from offramp.search import api
from offramp.space.load import load_space
from offramp.store.engine import open_store
from offramp.store.studies import StudyStore
from own_programs import TWO_STEPS, transport, write_own
from search_jobs import at_once, run_job

HELPER = "from sort_rules import clean\n"
FILES = {
    "program.py": HELPER + TWO_STEPS.replace("self.sort(gist=gist).label", "clean(self.sort(gist=gist).label)"),
    "sort_rules.py": "from sort_words import WORDS\n\n\ndef clean(text):\n    return WORDS.get(text, text)\n",
    "sort_words.py": "WORDS = {}\n",
}
STATEFUL = TWO_STEPS + (
    "\n\ndef make():\n    from pathlib import Path\n    made = Sorter()\n"
    "    made.load(str(Path(__file__).with_name('state.json')))\n    return made\n"
)
EDITS = {
    "the module": ("program.py", lambda text: text.replace("[gist]", "[gist, gist]"), "program.py"),
    "a comment in it": ("program.py", lambda text: text + "# edited\n", "program.py"),
    "what it imports": (
        "sort_rules.py",
        lambda text: text.replace("text, text", "text, text.upper()"),
        "sort_rules.py",
    ),
    "what that imports": ("sort_words.py", lambda text: "WORDS = {'a': 'b'}\n", "sort_words.py"),
}


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, logger="offramp"):
        yield caplog


def run(space: Path, wire: Any = None, **more: Any) -> Any:
    transported = {"transport": wire or transport(), "timing": Timing(sleep=at_once)}
    result = run_job(space, space.parent / "results", **transported, **more)
    assert result.error is None
    return result


def edit(folder: Path, change: str) -> str:
    name, how, shown = EDITS[change]
    (folder / name).write_text(how((folder / name).read_text()))
    return shown


def name_of(space: Path) -> str:
    return resolve_job(load_space(space)).study_name(0)


@pytest.mark.parametrize("change", EDITS)
def test_an_edit_is_another_study_that_says_so_and_names_the_one_to_start_from(
    tmp_path: Path, heard: pytest.LogCaptureFixture, change: str
) -> None:
    space = write_own(tmp_path, FILES)
    first = run(space).report.study
    assert run(space).report.study == first and heard.messages == []
    shown = edit(tmp_path, change)
    api.dry_run(space, results=tmp_path / "results")
    second = run(space).report.study
    assert second != first
    words = (
        f"note: the code has changed since study {first} ({shown}): this is a new study. To start from its candidates"
    )
    assert [message.startswith(words) and f"--from {first}" in message for message in heard.messages] == [True, True]
    heard.clear()
    run(space)
    assert heard.messages == []


def test_an_edit_back_continues_the_first_study(tmp_path: Path) -> None:
    space = write_own(tmp_path, FILES)
    text, first = (tmp_path / "program.py").read_text(), name_of(space)
    edit(tmp_path, "the module")
    assert name_of(space) != first
    (tmp_path / "program.py").write_text(text)
    assert name_of(space) == first


def test_files_that_the_module_does_not_use_and_other_folders_change_nothing(tmp_path: Path) -> None:
    names = set()
    for folder in ("a", "b"):
        space = write_own(tmp_path / folder, FILES)
        names.add(name_of(space))
        (space.parent / "unused.py").write_text("1\n")
        names.add(name_of(space))
    assert len(names) == 1


def test_a_start_from_the_study_before_the_edit_takes_candidates_and_no_scores(tmp_path: Path) -> None:
    space = write_own(tmp_path, FILES)
    first = run(space).report.study
    edit(tmp_path, "what it imports")
    second = run(space, from_study=first)
    assert second.report.study != first and second.cached_calls > 0
    with open_store(f"sqlite:///{tmp_path}/results/offramp.db") as store:
        warm = StudyStore(store).get(second.report.study).details.warm
    assert warm is not None and not warm.same_task and not warm.reused
    assert warm.notes[0].startswith("the code of the module differs: its front is tried first, but none of its scores")


def test_a_state_file_and_plain_values_belong_to_the_code(tmp_path: Path) -> None:
    import dspy

    class Sorter(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gist = dspy.Predict("message -> gist")
            self.sort = dspy.Predict("gist -> label")

    program = Sorter()
    program.sort.signature = program.sort.signature.with_instructions("Sort.")
    program.save(str(tmp_path / "state.json"))
    task = {"module": "program.py:make", "inputs": ["message"], "outputs": ["label"]}
    space = write_own(tmp_path, {"program.py": STATEFUL}, task=task)
    job = resolve_job(load_space(space))
    assert {"program.py", "(state)", "(values)"} == set(job.code)
    program.sort.demos = [dspy.Example(gist="a", label="b")]
    program.save(str(tmp_path / "state.json"))
    after = resolve_job(load_space(space))
    assert after.study_name(0) != job.study_name(0) and after.code["program.py"] == job.code["program.py"]
    assert after.code["(state)"] != job.code["(state)"]


def test_what_differs_each_time_the_module_is_made_is_no_part_of_it(tmp_path: Path) -> None:
    random = TWO_STEPS.replace("import dspy\n", "import dspy\nimport uuid\n").replace(
        "super().__init__()\n", "super().__init__()\n        self.mark = str(uuid.uuid4())\n"
    )
    space = write_own(tmp_path, {"program.py": random})
    assert name_of(space) == name_of(space)


def test_values_that_the_module_reads_from_a_file_are_part_of_it(tmp_path: Path) -> None:
    reads = "self.words = __import__('json').load(open(__file__.replace('program.py', 'words.json')))"
    source = TWO_STEPS.replace("super().__init__()\n", f"super().__init__()\n        {reads}\n")
    names = {name_of(write_own(tmp_path, {"program.py": source, "words.json": text})) for text in ("[]", "[1]", "[]")}
    assert len(names) == 2


def promoted(folder: Path) -> Path:
    space = write_own(folder, FILES)
    run(space)
    promoting.promote("latest", results=folder / "results", promotions=folder / "promotions", by="ada", force=True, why="a test")  # fmt: skip
    return space


def test_a_promotion_pins_the_code_and_check_says_when_it_differs(tmp_path: Path) -> None:
    promoted(tmp_path)
    (path,) = (tmp_path / "promotions").rglob("[0-9a-f]*.yaml")
    code = yaml.safe_load(path.read_text())["program"]["code"]
    assert {"program.py", "sort_rules.py", "sort_words.py", "(state)"} <= set(code)
    asked = {"promotions": tmp_path / "promotions", "transport": transport(), "timing": Timing(sleep=at_once),
             "api_base": "http://127.0.0.1:9/v1"}  # fmt: skip
    assert check("landscape", **asked).notes == ()
    edit(tmp_path, "what it imports")
    report = check("landscape", **asked)
    assert report.notes[0].startswith(
        "the code of the module has changed since it was promoted: sort_rules.py. This check"
    )
    assert report.to_json()["notes"] == [*report.notes]


@pytest.mark.parametrize("verb", ["promote", "verify"])
def test_what_ran_on_other_code_is_not_promoted_or_verified(tmp_path: Path, verb: str) -> None:
    space = write_own(tmp_path, FILES)
    run(space)
    edit(tmp_path, "what that imports")
    with pytest.raises(UsageError, match=r"its code has changed since it ran: sort_words.py. Bring it back"):
        if verb == "promote":
            promoting.promote("latest", results=tmp_path / "results", promotions=tmp_path / "promotions", by="ada")
        else:
            api.plan_verify("latest", results=tmp_path / "results")


def test_load_warns_of_code_that_is_not_what_was_measured(
    tmp_path: Path, heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offramp.program.module import import_module_factory

    promoted(tmp_path)
    heard.clear()

    def loaded() -> Any:
        factory = import_module_factory("program.py:Sorter", tmp_path, "space.yaml")
        return load("landscape", promotions=tmp_path / "promotions", module=factory, transport=transport(),
                    api_base="http://127.0.0.1:9/v1")  # fmt: skip

    assert loaded()(message="case 000").label == "billing" and heard.messages == []
    edit(tmp_path, "what it imports")
    assert loaded()(message="case 000").label == "BILLING"
    assert (
        len(heard.messages) == 1 and "sort_rules.py of the module differs from what was measured" in heard.messages[0]
    )


def test_an_edited_import_of_the_metric_is_another_study_too(tmp_path: Path, heard: pytest.LogCaptureFixture) -> None:
    files = {"scoring.py": "from near import close\n\n\ndef f(example, pred, trace=None):\n    return close(example, pred)\n",
             "near.py": "def close(a, b):\n    return a.label == b.label\n"}  # fmt: skip
    space = write_own(tmp_path, files, metric={"kind": "python", "path": "scoring.py:f"})
    first = run(space)
    (tmp_path / "near.py").write_text("def close(a, b):\n    return 0.5\n")
    second = run(space)
    assert second.report.study != first.report.study
    assert f"the code has changed since study {first.report.study} (the metric)" in heard.messages[-1]
    with pytest.raises(UsageError, match="metric have changed since it ran"):
        promoting.promote(first.report.study, results=tmp_path / "results", promotions=tmp_path / "p", by="ada")


@pytest.mark.parametrize("value", ["cycle", "many", "path"])
def test_values_that_cannot_be_compared_are_left_out(value: str) -> None:
    from offramp.program import code

    cycle: list[Any] = [1]
    cycle.append(cycle)
    values = {"cycle": cycle, "many": [0.5] * (code.MOST_VALUES + 1), "path": {"at": ["/home/ada/index"]}}
    assert not code._is_plain(values[value])
    assert code._is_plain({"a": [1, "b", None, {"c": ("d", 2.5)}], "e": "", "f": "C: a letter"})


def change_row(folder: Path, **values: Any) -> None:
    """The study's row as an earlier release would have written it."""
    with sqlite3.connect(folder / "results" / "offramp.db") as db:
        extra = json.loads(db.execute("select extra from offramp_studies").fetchone()[0])
        extra.pop("code", None)
        db.execute("update offramp_studies set extra = ?", (json.dumps(extra),))
        for name, value in values.items():
            db.execute(f"update offramp_studies set {name} = ?", (value,))


def test_a_study_of_before_code_counted_is_promoted_and_verified_and_optimize_begins_another(
    tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    files = {**FILES, "scoring.py": "from near import close\n\n\ndef f(example, pred):\n    return close(example, pred)\n",
             "near.py": "def close(a, b):\n    return a.label == b.label\n"}  # fmt: skip
    space = write_own(tmp_path, files, metric={"kind": "python", "path": "scoring.py:f"})
    first = run(space).report.study
    job = resolve_job(load_space(space))
    assert job.task.metric.fingerprint != job.task.metric.earlier_fingerprint
    earlier = job.task._hash_with(job.task.metric.earlier_fingerprint)
    change_row(tmp_path, task_hash=earlier)
    edit(tmp_path, "what it imports")
    (tmp_path / "near.py").write_text("def close(a, b):\n    return b.label == a.label\n")
    at = {"results": tmp_path / "results", "promotions": tmp_path / "promotions"}
    kept = promoting.promote(first, by="ada", force=True, why="old", dry_run=True, **at)
    assert kept.promotion.program.code is None
    assert api.plan_verify(first, results=tmp_path / "results") is not None
    heard.clear()
    second = run(space).report.study
    assert second != first
    assert heard.messages == [
        f"note: the code was not part of a study when {first} ran: this is a new study. "
        f"To start from its candidates, add --from {first}"
    ]
