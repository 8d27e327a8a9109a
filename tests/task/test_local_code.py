"""Code of the user's own: found where its user would look, importable while it runs, and known by what it is made of."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import TypeAdapter

from offramp.errors import MetricError
from offramp.records import Example
from offramp.space.model import Metric as MetricPart
from offramp.space.model import TaskPart
from offramp.task.fields import task_fields
from offramp.task.local_code import import_code, import_folders, local_code
from offramp.task.metrics import build_metric
from user_code import own_modules, write  # noqa: F401 (a fixture)

FIELDS = task_fields(TaskPart(signature="q -> a"), "s.yaml")
ONE = "def f(e, p):\n    return 1\n"


pytestmark = pytest.mark.usefixtures("own_modules")


def metric(folder: Path, path: str) -> Any:
    part = TypeAdapter(MetricPart).validate_python({"kind": "python", "path": path})
    return build_metric(part, fields=FIELDS, base=folder, models={})


def value(built: Any) -> float:
    example = Example(id="e", content_hash="h", values=MappingProxyType({"a": "x"}), row=7)
    return float(asyncio.run(built.score(example, {"a": "x"}, None)).value)


HALF = "VALUE = 0.5\n"
USES = "from {where} import VALUE\ndef f(e, p):\n    return VALUE\n"
LAZY = "def f(e, p):\n    from {where} import VALUE\n    return VALUE\n"
PLACES = {
    "beside the file": ("spaces/m.py", "spaces/helper_a.py", "helper_a"),
    "beside the space file": ("spaces/deep/m.py", "spaces/helper_b.py", "helper_b"),
    "in the project": ("spaces/m.py", "helper_c.py", "helper_c"),
    "in the project's src": ("spaces/m.py", "src/app_d/helper.py", "app_d.helper"),
    "in a package without __init__": ("spaces/m.py", "lib_e/sub/helper.py", "lib_e.sub.helper"),
}


@pytest.mark.parametrize("source", [USES, LAZY], ids=["at the top", "inside a function"])
@pytest.mark.parametrize("mark", ["pyproject.toml", ".git/HEAD"])
@pytest.mark.parametrize("place", PLACES)
def test_code_is_imported_from_the_space_file_its_project_and_their_src(
    tmp_path: Path, place: str, mark: str, source: str
) -> None:
    file, helper, name = PLACES[place]
    write(tmp_path, {mark: "", file: source.format(where=name), helper: HALF})
    assert value(metric(tmp_path / "spaces", f"{file.removeprefix('spaces/')}:f")) == 0.5


@pytest.mark.parametrize("folder", ["here", "here/src"])
def test_code_is_imported_from_the_working_directory_and_its_src(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    write(tmp_path, {"elsewhere/s.yaml": "", f"{folder}/app_here/scoring.py": LAZY.format(where="app_here.values"),
                     f"{folder}/app_here/values.py": HALF})  # fmt: skip
    monkeypatch.chdir(tmp_path / "here")
    assert value(metric(tmp_path / "elsewhere", "app_here.scoring:f")) == 0.5


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize(
    "source",
    [USES.format(where=".values"), LAZY.format(where=".values"), USES.format(where="..top"), LAZY.format(where="..top"),
     "from . import values\ndef f(e, p):\n    return values.VALUE\n"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["app_rel/sub/m.py:f", "app_rel.sub.m:f"])
def test_relative_imports_work_in_packages_also_where_the_file_is_named(
    tmp_path: Path, source: str, path: str, init: bool
) -> None:
    inits = {"app_rel/__init__.py": "", "app_rel/sub/__init__.py": ""} if init else {}
    write(tmp_path, {"app_rel/sub/m.py": source, "app_rel/sub/values.py": HALF, "app_rel/top.py": HALF, **inits})
    assert value(metric(tmp_path, path)) == 0.5


def test_a_name_that_only_running_code_knows_is_found_too(tmp_path: Path) -> None:
    source = "import importlib\ndef f(e, p):\n    return importlib.import_module('plug_' + e.a).VALUE\n"
    write(tmp_path, {"m.py": source, "plug_x.py": HALF})
    assert value(metric(tmp_path, "m.py:f")) == 0.5


@pytest.mark.parametrize("source", [USES, LAZY], ids=["at the top", "inside a function"])
@pytest.mark.parametrize("where", ["helper_two", "app_two.helper"])
def test_two_space_files_with_modules_of_the_same_name_each_have_their_own(
    tmp_path: Path, where: str, source: str
) -> None:
    helper = where.replace(".", "/") + ".py"
    for name, number in (("one", "0.25"), ("two", "0.75")):
        write(tmp_path / name, {"m.py": source.format(where=where), helper: f"VALUE = {number}\n"})
    for name, number in (("one", 0.25), ("two", 0.75), ("one", 0.25)):
        assert value(metric(tmp_path / name, "m.py:f")) == number


@pytest.mark.parametrize("path", ["m.py:f", "app_edit.m:f"])
def test_an_edited_import_counts_in_the_same_process_also_at_the_same_size(tmp_path: Path, path: str) -> None:
    files = {"m.py": USES.format(where="app_edit.values"), "app_edit/m.py": USES.format(where="app_edit.values")}
    write(tmp_path, {**files, "app_edit/values.py": "VALUE = 0.5\n"})
    before = metric(tmp_path, path)
    assert value(before) == 0.5
    write(tmp_path, {"app_edit/values.py": "VALUE = 0.9\n"})
    after = metric(tmp_path, path)
    assert value(after) == 0.9 and after.fingerprint != before.fingerprint


def test_what_was_not_edited_is_not_imported_twice(tmp_path: Path) -> None:
    write(tmp_path, {"m.py": USES.format(where="helper_kept"), "helper_kept.py": HALF})
    metric(tmp_path, "m.py:f")
    kept = sys.modules["helper_kept"]
    metric(tmp_path, "m.py:f")
    assert sys.modules["helper_kept"] is kept


# ------------------------------------------------------------------------------------------- what it is made of


def names(folder: Path, start: str) -> list[str]:
    found = local_code([folder / start], import_folders(folder))
    return sorted(str(file.relative_to(folder)) for file in found)


def test_every_local_import_counts_however_it_is_written_and_nothing_that_is_installed(tmp_path: Path) -> None:
    source = (
        "import json, numpy, dspy, offramp\nimport plain_g, app_g.deep.leaf as leaf\nfrom app_g import other, NAME\n"
        "from app_g.star import *\nimport importlib\n"
        "def f():\n    from lazy_g import x\n    importlib.import_module('dynamic_g')\n    __import__('dunder_g')\n"
        "try:\n    import absent_g\nexcept ImportError:\n    pass\n"
    )
    used = {
        "main.py": source, "plain_g.py": "import chained_g\n", "chained_g.py": "import main\n", "lazy_g.py": "x = 1\n",
        "dynamic_g.py": "1\n", "dunder_g.py": "1\n", "app_g/__init__.py": "NAME = 1\n",
        "app_g/deep/leaf.py": "from ..near import y\n", "app_g/near.py": "y = 1\n", "app_g/other.py": "1\n",
        "app_g/star.py": "1\n",
    }  # fmt: skip
    write(tmp_path, {**used, "unused_g.py": "1\n", "app_g/unused.py": "1\n", "app_g/deep/__init__.py": "\n",
                     "numpy_data/x.txt": "", ".venv/lib/python3/site-packages/absent_g.py": "1\n"})  # fmt: skip
    assert names(tmp_path, "main.py") == sorted(used)


def test_code_that_cannot_be_parsed_counts_as_a_file(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "import broken_h\n", "broken_h.py": "def f(:\n"})
    assert names(tmp_path, "main.py") == ["broken_h.py", "main.py"]


def test_the_fingerprint_follows_local_imports_and_is_as_it_was_without_any(tmp_path: Path) -> None:
    write(tmp_path, {"alone.py": ONE, "m.py": USES.format(where="helper_f"), "helper_f.py": "import helper_g\nVALUE = 0.5\n",
                     "helper_g.py": "1\n"})  # fmt: skip
    alone = metric(tmp_path, "alone.py:f")
    assert alone.fingerprint == alone.earlier_fingerprint
    before = metric(tmp_path, "m.py:f")
    assert before.fingerprint != before.earlier_fingerprint
    write(tmp_path, {"helper_g.py": "2\n"})
    after = metric(tmp_path, "m.py:f")
    assert after.fingerprint != before.fingerprint and after.earlier_fingerprint == before.earlier_fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_project_is(tmp_path: Path) -> None:
    files = {"pyproject.toml": "", "s/m.py": USES.format(where="app_moved.x"), "src/app_moved/x.py": HALF}
    marks = [metric(write(tmp_path / name, files) / "s", "m.py:f").fingerprint for name in ("a", "b")]
    assert marks[0] == marks[1]


def test_an_object_made_in_a_file_of_ones_own_follows_that_file(tmp_path: Path) -> None:
    source = "from functools import partial\nfrom helper_o import base\nf = partial(base, least={})\n"
    write(tmp_path, {"m.py": source.format("0.5"), "helper_o.py": "def base(e, p, *, least):\n    return least\n"})
    before = metric(tmp_path, "m.py:f").fingerprint
    write(tmp_path, {"m.py": source.format("0.9")})
    assert metric(tmp_path, "m.py:f").fingerprint != before


# ------------------------------------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("files", "path", "words"),
    [
        ({"m.py": "import helper_bad\n", "helper_bad.py": "import not_there_at_all\n"}, "m.py:f",
         ["No module named 'not_there_at_all' (helper_bad.py, line 1)", "Install it, or put it into"]),
        ({"app_bad/m.py": "\n\nimport not_there_at_all\n"}, "app_bad.m:f", ["(m.py, line 3)"]),
        ({}, "no_such_app.m:f", ["No module named 'no_such_app'", "looked for: "]),
        ({"m.py": "from ..x import y\n"}, "m.py:f", ["No module named"]),
        ({"m.py": "x = {}['k']\n"}, "m.py:f", ["it does not import: KeyError: 'k' (m.py, line 1)"]),
    ],
)  # fmt: skip
def test_a_failed_import_says_what_where_and_where_it_was_looked_for(
    tmp_path: Path, files: dict[str, str], path: str, words: list[str]
) -> None:
    write(tmp_path, files)
    with pytest.raises(MetricError) as caught:
        metric(tmp_path, path)
    assert str(caught.value).startswith(f"metric.path: {path}: it does not import: ")
    assert all(word in str(caught.value) for word in words)


def test_a_module_that_failed_is_imported_again_once_it_is_fixed(tmp_path: Path) -> None:
    write(tmp_path, {"m.py": "import helper_late\n" + ONE})
    with pytest.raises(ModuleNotFoundError):
        import_code("m.py", tmp_path)
    write(tmp_path, {"helper_late.py": HALF})
    assert import_code("m.py", tmp_path).helper_late.VALUE == 0.5
