"""Things done wrong on purpose: each ends in one message that says where, what, got, expected and what to do.

They run in this process, without a model and without a network. Nothing is written by any of them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

import offramp
from offramp.errors import OfframpError
from offramp.testing.fakes import FunctionTransport
from promoted_jobs import promoted_job
from search_jobs import answered_by, main, reply_to, run_job, write_space

LABELS = ("billing", "shipping", "returns")
ROWS = [{"id": f"r{i}", "message": f"message {i} {LABELS[i % 3]}", "label": LABELS[i % 3]} for i in range(24)]
MODEL = {
    "name": "small", "route": "openai/small", "api_base": "http://127.0.0.1:9/v1", "supports": ["temperature", "max_tokens"],
    "price": {"input_usd": 1.0, "output_usd": 2.0},
}  # fmt: skip
SPACE: Mapping[str, Any] = {
    "schema_version": 1, "name": "job",
    "task": {"signature": {"inputs": {"message": None}, "outputs": {"label": {"type": "enum", "values": [*LABELS]}}}},
    "dataset": {"path": "rows.csv", "id": "id"}, "splits": {"train": 6, "search": 10, "holdout": 8},
    "metric": {"kind": "exact", "field": "label"}, "incumbent": {"model": "small", "instruction": "short"},
    "models": [MODEL], "instructions": {"short": "Sort it.", "long": "Sort the message."},
    "params": {"temperature": {"choices": [0.0, 0.5]}, "max_tokens": 16}, "search": {"trials": 4},
}  # fmt: skip
STATEFUL = """import dspy
class Triage(dspy.Module):
    def __init__(self):
        self.step = dspy.Predict("message -> label")
        self.load("states.json")
    def forward(self, message):
        return self.step(message=message)
"""
CHECK = ("space", "check", "job.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """Something done wrong: the command, what is changed before it, and the message that it has to end with."""

    command: tuple[str, ...] = CHECK
    space: Mapping[str, Any] = field(default_factory=dict)
    data: list[dict[str, Any]] | bytes | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    says: str = ""


def python(body: str, name: str = "score") -> dict[str, Any]:
    return {"space": {"metric": {"kind": "python", "path": f"m.py:{name}"}}, "files": {"m.py": body}}


WRONG: dict[str, Wrong] = {
    # the command line
    "a command that does not exist": Wrong(
        command=("optimise", "job.yaml"),
        says="offramp: no command 'optimise'. Did you mean 'optimize'? See `offramp --help`."),
    "an option that does not exist": Wrong(
        command=("optimize", "job.yaml", "--seeed", "3"),
        says="offramp optimize: No such option '--seeed'. Did you mean '--seed'? See `offramp optimize --help`."),
    "an option without its value": Wrong(
        command=("promote", "job", "--why"),
        says="offramp promote: Option '--why' requires an argument. See `offramp promote --help`."),
    "money with its sign": Wrong(
        command=("optimize", "job.yaml", "--budget-usd", "1$"),
        says="offramp optimize: --budget-usd: got '1$', expected a number. See `offramp optimize --help`."),
    "no argument": Wrong(
        command=("optimize",), says="offramp optimize: Missing argument 'SPACE'. See `offramp optimize --help`."),
    "a form of export that does not exist": Wrong(
        command=("export", "job", "--to", "litelm"),
        says="offramp export: --to: got 'litelm', expected one of 'litellm', 'openai', 'promptfoo', 'dspy', 'mlflow', "
        "'langfuse', 'json'. Did you mean 'litellm'? See `offramp export --help`."),
    "no requests at the same time": Wrong(
        command=("check", "job", "--concurrency", "0"),
        says="offramp check: --concurrency: got 0, expected 1<=x<=1024. See `offramp check --help`."),
    "a blank option, as of an unset variable": Wrong(
        command=("studies", "--storage", ""), says="--storage: is blank: got ''. Give it a value, or leave it out."),
    # the space file
    "a file that does not exist": Wrong(
        command=("space", "check", "jobb.yaml"), says="jobb.yaml: there is no such file. Did you mean 'job.yaml'?"),
    "an empty file": Wrong(
        files={"job.yaml": ""}, says="job.yaml: the file is empty. Begin with `schema_version: 1` and `name:`."),
    "a tab": Wrong(
        files={"job.yaml": "name: x\n\ttask: y\n"},
        says="job.yaml:2: not YAML: a character that cannot start a value. Indent with spaces, and quote the text."),
    "a misspelt key": Wrong(
        space={"serch": {"trials": 4}, "search": None}, says="job.yaml:46: serch: unknown key. Did you mean 'search'?"),
    "a word for a number": Wrong(
        space={"search": {"trials": "many"}},
        says="job.yaml:47: search.trials: got 'many', expected a whole number of 1 or more or null."),
    "no trials": Wrong(
        space={"search": {"trials": 0}},
        says="job.yaml:47: search.trials: got 0, expected a whole number of 1 or more or null."),
    "a percentage for a share": Wrong(
        space={"constraints": {"unreadable_max": 5}},
        says="job.yaml:49: constraints.unreadable_max: got 5, expected a number in [0, 1]."),
    "a temperature that no model takes": Wrong(
        space={"params": {"temperature": 5}},
        says="job.yaml:41: params.temperature: got 5, expected a number in [0, 2]. Lower it."),
    "a sampler that does not exist": Wrong(
        space={"search": {"sampler": "bayes"}},
        says="job.yaml:47: search.sampler: got 'bayes', expected one of tpe, nsga2, random, grid, gp."),
    "an instruction that does not exist": Wrong(
        space={"incumbent": {"model": "small", "instruction": "shrt"}},
        says="job.yaml:26: incumbent.instruction: got 'shrt', expected a variant under `instructions` (short, long). Did "
        "you mean 'short'?"),
    "a prompt file that is missing": Wrong(
        space={"instructions": {"short": {"file": "short.md"}}}, files={"shrt.md": "x"},
        says="job.yaml:39: instructions.short.file: there is no such file: got 'short.md', expected a file in FOLDER. Did "
        "you mean 'shrt.md'?"),
    "more demos than examples": Wrong(
        space={"demos": {"kind": "random", "count": 30}},
        says="job.yaml:50: demos.count: got 30, expected at most 6, the size of `splits.train`."),
    # models
    "a model that does not exist": Wrong(
        space={"models": ["openai/gpt-4.1-mni"], "incumbent": None},
        says="no model has this name: got 'openai/gpt-4.1-mni', expected a name of `offramp models --all`. Did you mean"),
    "an incumbent of another name": Wrong(
        space={"incumbent": {"model": "smal"}}, says="incumbent.model: no model has this name: got 'smal', expected a name of "),
    "a model without a price": Wrong(
        space={"models": [{k: v for k, v in MODEL.items() if k != "price"}]},
        says="the price of 'small' is not known. State `price` for it under `models`, or drop the cost objective"),
    "a parameter that the model does not take": Wrong(
        space={"params": {"topk": 3}},
        says="params.topk is not taken by ['small']. Remove it, or list it under the model's `supports` if it does"),
    "a key that is not set": Wrong(
        command=("optimize", "job.yaml"), space={"models": ["openai/gpt-4.1-mini"], "incumbent": None,
                                                 "objectives": {"cost": None, "latency": None}},
        says="openai/gpt-4.1-mini: its key is missing: environment variable OPENAI_API_KEY is not set. Set it: export "
        "OPENAI_API_KEY=..."),
    # data
    "data that is missing": Wrong(
        space={"dataset": {"path": "row.csv"}},
        says="job.yaml:15: dataset.path: there is no such file: got 'row.csv', expected a file in FOLDER. Did you mean "
        "'rows.csv'?"),
    "data in a folder that does not exist": Wrong(
        space={"dataset": {"path": "datsets/rows.csv"}},
        says="job.yaml:15: dataset.path: its folder does not exist: got 'datsets/rows.csv', expected a path from FOLDER. "
        "Did you mean 'rows.csv'?"),
    "a path from the working directory": Wrong(
        command=("space", "check", "jobs/job.yaml"), files={"jobs/job.yaml": yaml.safe_dump({**SPACE}, sort_keys=False)},
        says="jobs/job.yaml:15: dataset.path: there is no such file: got 'rows.csv', expected a file in FOLDER/jobs. It "
        "starts at the folder of the space file: write '../rows.csv'."),
    "a folder as data": Wrong(
        space={"dataset": {"path": "jobs"}}, files={"jobs/x.csv": ""},
        says="job.yaml:15: dataset.path: is a folder: got 'jobs', expected one file."),
    "data without rows": Wrong(data=b"id,message,label\n", says="rows.csv: has no rows. Add examples, one per row."),
    "a column of another name": Wrong(
        data=[{"id": row["id"], "msg": row["message"], "label": row["label"]} for row in ROWS],
        says="rows.csv: row 1: no such column: got 'message', expected one of 'id', 'msg', 'label'. Did you mean 'msg'?"),
    "a misspelt label": Wrong(
        data=[*ROWS[:-1], {**ROWS[-1], "label": "biling"}],
        says="rows.csv: row 24: label: not a label: 'biling' (row 24); expected one of 'billing', 'shipping', 'returns'. "
        "Did you mean 'billing'?"),
    "one id for two rows": Wrong(
        data=[*ROWS, ROWS[0]],
        says="rows.csv: rows 1, 25 have the same id 'r0'. Give each row its own id, or drop the duplicates."),
    "too few rows": Wrong(
        data=ROWS[:5], says="rows.csv: splits: the sum of the counts: got 24, expected at most 5, the number of rows."),
    "a comma in a cell": Wrong(
        data=b"id,message,label\n1,Hi, there,billing\n",
        says="rows.csv: row 1: has 4 cells (ends in line 2): expected 3. Quote a cell that contains a comma."),
    "bars between cells": Wrong(
        data=b"id|message|label\na|b|billing\n",
        says="rows.csv: the header: got 'id|message|label', expected columns separated by commas. Save it with commas, or "
        "with tabs as .tsv."),
    "an old encoding": Wrong(
        data="id,message,label\na,café,billing\n".encode("latin-1"),
        says="rows.csv:2: not UTF-8: byte 0xe9 at offset 22 of the file. Save the file as UTF-8."),
    "a workbook": Wrong(data=b"PK\x03\x04....", says="rows.csv: the file is an Excel workbook or another ZIP file: expected "
                        "CSV in UTF-8. Rename it to .xlsx if it is one. Save it as CSV (UTF-8)."),
    # metrics
    "a metric of a field that does not exist": Wrong(
        space={"metric": {"kind": "exact", "field": "lable"}},
        says="job.yaml:23: metric.field: got 'lable', expected an output of the task (label). Did you mean 'label'?"),
    "a metric's file that is missing": Wrong(
        space={"metric": {"kind": "python", "path": "metrc.py:score"}}, files={"metric.py": ""},
        says="job.yaml:23: metric.path: there is no such file: got 'metrc.py', expected a file in FOLDER. Did you mean "
        "'metric.py'?"),
    "a metric's module that is missing": Wrong(
        space={"metric": {"kind": "python", "path": "grade:score"}}, files={"grades.py": ""},
        says="job.yaml:23: metric.path: grade:score: it does not import: ModuleNotFoundError: No module named 'grade'. "
        "Did you mean 'grades'?"),
    "a metric in a mix that is missing": Wrong(
        space={"metric": {"kind": "mix", "parts": [{"kind": "exact", "field": "label"}, {"kind": "python", "path": "m.py:f"}]}},
        says="job.yaml:27: metric.parts.1.path: there is no such file: got 'm.py', expected a file in FOLDER."),
    "a metric that opens a file that is missing": Wrong(
        files={"m.py": "labels = open('label.txt').read()\n", "labels.txt": ""},
        space={"metric": {"kind": "python", "path": "m.py:score"}},
        says="job.yaml:23: metric.path: m.py:score: it does not import: FileNotFoundError: [Errno 2] No such file or "
        "directory: 'label.txt' (m.py, line 1). Did you mean 'labels.txt'?"),
    "a program's file that is missing": Wrong(
        space={"task": {"module": "progam.py:Triage", "inputs": ["message"], "outputs": ["label"]}, "incumbent": None},
        files={"program.py": ""},
        says="job.yaml:4: task.module: there is no such file: got 'progam.py', expected a file in FOLDER. Did you mean "
        "'program.py'?"),
    "a state that is missing": Wrong(
        space={"task": {"module": "program.py:Triage", "inputs": ["message"], "outputs": ["label"]}, "incumbent": None,
               "instructions": None},
        files={"program.py": STATEFUL, "state.json": "{}"},
        says="job.yaml:4: task.module: 'program.py:Triage'() raises FileNotFoundError: [Errno 2] No such file or "
        "directory: 'states.json'. Did you mean 'state.json'?"),
    "a program's tools that are missing": Wrong(
        space={"task": {"module": "program.py:Triage", "inputs": ["message"], "outputs": ["label"]}, "incumbent": None,
               "instructions": None},
        files={"program.py": "import tool_box\n", "toolbox.py": ""},
        says="job.yaml:4: task.module: 'program.py:Triage' does not import: ModuleNotFoundError: No module named "
        "'tool_box' (program.py, line 1). Did you mean 'toolbox'?"),
    "a check of answers that is missing": Wrong(
        space={"program": {"form": {"verify_then_retry": 1, "check": "rules.py:is_right"}}}, files={"ruels.py": ""},
        says="job.yaml:49: program.form: there is no such file: got 'rules.py', expected a file in FOLDER. Did you mean "
        "'ruels.py'?"),
    "a metric without a name": Wrong(
        space={"metric": {"kind": "python", "path": "m.py"}},
        says="job.yaml:23: metric.path: m.py: not an import path: expected `package.module:name` or `file.py:name`. Name the function: m.py:score."),
    "a metric of another name": Wrong(
        **python("def score(e, p):\n    return 1\n", "scor"),
        says="job.yaml:23: metric.path: m.py:scor: m.py has no 'scor'. Did you mean 'score'?"),
    "a metric that does not parse": Wrong(
        **python("def score(e, p)\n    return 1\n"),
        says="job.yaml:23: metric.path: m.py:score: it does not import: SyntaxError: expected ':' (m.py, line 1). Fix the file."),
    "a metric that returns text": Wrong(
        **python("def score(e, p):\n    return 'ok'\n"),
        says="what it returned: got 'ok', expected a number in [0, 1], a boolean, (number, feedback), or "),
    # storage, studies and promotions
    "a database that is not supported": Wrong(
        command=("studies", "--storage", "mysql://x/y"),
        says="storage: unknown kind of database: got 'mysql', expected sqlite:///results/offramp.db or "
        "postgresql://user@host/database. Use SQLite, or PostgreSQL for a team."),
    "a folder without studies": Wrong(
        command=("pareto", "--results", "nowhere"),
        says="sqlite:///nowhere/offramp.db: no storage there. Check the path, or run a job first."),
    "a verification before any job": Wrong(
        command=("verify",),
        says="sqlite:///results/offramp.db: folder does not exist: got 'results'. Check the path; `offramp optimize` "
        "creates it."),
    "a feature that was never promoted": Wrong(
        command=("check", "triage"),
        says="promotions: nothing was promoted for this feature: got 'triage'. Promote it first: `offramp promote STUDY`."),
    "force without a reason": Wrong(
        command=("promote", "--force"), says='--force: needs a reason. Give it with --why "...".'),
    # first steps
    "an example that does not exist": Wrong(
        command=("init", "--example", "triage"),
        says="--example: no such job: got 'triage', expected one of order-extraction, reply-writer, support-triage. Did "
        "you mean 'support-triage'?"),
    "a job over one that exists": Wrong(
        command=("init", "job", "--no-input"),
        says="job.yaml: exists already, and init overwrites nothing. Move it away, or give the job another NAME."),
    "a row that is not there": Wrong(
        command=("space", "show", "job.yaml", "--row", "99"),
        says="--row: rows.csv has no such row in use: got 99, expected a row in use, 1 to 24."),
}  # fmt: skip


def write(wrong: Wrong) -> None:
    data = ROWS if wrong.data is None else wrong.data
    if isinstance(data, bytes):
        Path("rows.csv").write_bytes(data)
    else:
        with Path("rows.csv").open("w", newline="") as out:
            writer = csv.DictWriter(out, list(data[0]))
            writer.writeheader()
            writer.writerows(data)
    space = {name: value for name, value in {**SPACE, **wrong.space}.items() if value is not None}
    Path("job.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    for name, text in wrong.files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)


def files() -> dict[str, bytes]:
    """What is in the folder, without what Python keeps of an import."""
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.mark.parametrize("kind", WRONG)
def test_it_ends_in_one_message_and_leaves_everything_as_it_was(capsys: Any, kind: str) -> None:
    wrong = WRONG[kind]
    write(wrong)
    before = files()
    assert main([*wrong.command]) == 2
    told = capsys.readouterr()
    (message,) = [line for line in told.err.splitlines() if not line.startswith(("offramp: preparing", "warning: "))]
    assert message.startswith("error: ") and told.out == ""
    assert wrong.says.replace("FOLDER", str(Path.cwd().resolve())) in message
    assert re.search(r"[.?)\]]$|\.\.\.$", message), "a sentence to its end"
    assert files() == before


def test_each_message_says_what_is_expected_or_what_to_do() -> None:
    assert len(WRONG) > 40
    helps = re.compile(r"expected |Did you mean|[.:] [A-Z][a-z]+ |`offramp ")
    assert [kind for kind, wrong in WRONG.items() if not helps.search(wrong.says)] == []


# ---------------------------------------------------------------------------------------- with a study, with a feature


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        answered_by(patch, FunctionTransport(reply_to))
        run_job(write_space(folder, search={"sampler": "random", "trials": 2}), folder / "results")
        yield folder


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["pareto", "--weights", "qualty=1"], "--weights: unknown objective: got 'qualty', expected one of ['quality', 'cost']. Did you mean 'quality'?"),
        (["pareto", "--weights", "quality=much"], "--weights: "),
        (["pareto", "landscpe"], "landscpe"),
        (["pareto", "--pick", "kne"], "--pick: no such way to choose: got 'kne', expected weights, knee, within:POINTS"),
        (["promote", "--pick", "zzz"], "--pick: no such candidate in the study: got 'zzz'"),
        (["promote", "--label", "a b"], "label"),
        (["compare", "latest", "zzz"], "no such candidate in the study: got 'zzz'"),
        (["compare", "latest", "trial 0", "trial 1", "--by", "lable"], "--by: no such column in the dataset: got 'lable', expected one of "),
    ],
)  # fmt: skip
def test_a_study_that_is_asked_for_what_it_has_not(study: Path, capsys: Any, command: list[str], says: str) -> None:
    assert main([*command, "--results", str(study / "results")]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith("error: ") and says in message


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda load: load("landscpe"), "nothing was promoted for this feature: got 'landscpe'. Did you mean 'landscape'?"),
        (lambda load: load("landscape", label="prod"), "prod"),
        (lambda load: load("landscape"), "it runs on your own server, and no address was given. Pass it: load(..., api_base="),
        (lambda load: load("landscape", api_base="http://127.0.0.1:9/v1")(mesage="x"), "no such input: got 'mesage'. Did you mean 'message'?"),
        (lambda load: load("landscape", api_base="http://127.0.0.1:9/v1")(), "inputs are missing: ['message']"),
        (lambda load: load("landscape", api_base="http://127.0.0.1:9/v1", module=dict), "it is not your own module. Leave `module` out."),
    ],
)  # fmt: skip
def test_an_app_that_asks_for_what_was_not_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any, says: str
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    with pytest.raises(OfframpError) as raised:
        call(lambda feature, **options: offramp.load(feature, promotions=promotions, **options))
    assert says in str(raised.value) and "\n" not in str(raised.value)
