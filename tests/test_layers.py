"""Imports go down only, each heavy library has one door, and the light paths load none of them.

The rules are those of docs/decisions/0001-layering.md. They are read from the source, so an import inside a function
counts as well; imports for type checkers only do not count for the order, since nothing runs.
"""

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "offramp"

FLOOR = {"errors", "files", "garbage", "ids", "media", "printable", "prints", "records", "scrubbing"}
ORDER = (
    "stats", "store", "space", "models", "task", "study", "tracking", "calls", "program", "evaluate", "job", "starter", "search",
    "promote", "lifecycle", "review", "cli", "verbs",
)  # fmt: skip
FREE = {"testing"}  # fakes and contract tests may use everything; nothing may use them

DOORS = {
    "dspy": ("program/", "verbs/compiling.py"),
    "optuna": ("search/",),
    "litellm": ("calls/transports/", "models/"),
    "gepa": ("search/proposals/",),
    "torch": ("tune/",),
}
HEAVY = ("dspy", "litellm", "optuna", "scipy", "pandas", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module: where, what, and whether only type checkers see it."""

    file: str
    line: int
    module: str
    typing_only: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def names(node, file):
    """Absolute names of what one import statement may load: `from a import b` may load a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = ("offramp", *file.relative_to(ROOT).parts[:-1])
        base = ".".join((*package[: len(package) - node.level + 1], *filter(None, [base])))
    if base == "offramp":
        return [f"{base}.{alias.name}" for alias in node.names]
    return [base]


def imports_below(node, file, typing_only=False):
    where = file.relative_to(ROOT).as_posix()
    for child in ast.iter_child_nodes(node):
        for name in names(child, file):
            yield Import(file=where, line=child.lineno, module=name, typing_only=typing_only)
        yield from imports_below(child, file, typing_only or is_type_checking(child))


def all_imports():
    for file in sorted(ROOT.rglob("*.py")):
        yield from imports_below(ast.parse(file.read_text(encoding="utf-8")), file)


IMPORTS = list(all_imports())


def layer_of_file(file):
    return file.split("/", 1)[0].removesuffix(".py")


def layer_of_module(module):
    parts = module.split(".")
    return parts[1] if parts[0] == "offramp" and len(parts) > 1 else None


def allowed(user, used):
    """Whether a layer may import another."""
    if user == used or used in FLOOR or used == "__version__":
        return user not in FLOOR or used in FLOOR
    if user in FLOOR or used in FREE:
        return user in FREE
    if user in FREE:
        return True
    return user in ORDER and used in ORDER and ORDER.index(used) < ORDER.index(user)


def test_every_folder_has_a_place_in_the_order():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert folders <= set(ORDER) | FREE, "add the new folder to ORDER, above what it imports"


def test_imports_go_down_only():
    wrong = [
        str(item)
        for item in IMPORTS
        if not item.typing_only
        and item.file not in ("__init__.py", "__main__.py")
        and (used := layer_of_module(item.module)) is not None
        and not allowed(layer_of_file(item.file), used)
    ]
    assert wrong == []


STUDY = {
    "study/domain/": ("offramp.study.domain.",),
    "study/wording.py": ("offramp.study.domain.",),
    "study/proof.py": ("offramp.study.domain.", "offramp.study.wording"),
    "study/study_report.py": (
        "offramp.study.domain.",
        "offramp.study.wording",
        "offramp.study.proof",
        "offramp.study.shown",
    ),
}
"""What these parts of study/ may import of it: domain is pure, and a report is a function of rows."""


@pytest.mark.parametrize("part", STUDY)
def test_study_keeps_domain_wording_and_queries_apart(part):
    wrong = [
        str(item)
        for item in IMPORTS
        if item.file.startswith(part)
        and item.module.startswith("offramp.study.")
        and not item.module.startswith(STUDY[part])
    ]
    assert wrong == []


@pytest.mark.parametrize("part", STUDY)
def test_what_a_study_says_is_computed_without_reading_a_storage(part):
    trees = {f: ast.parse(f.read_text()) for f in ROOT.rglob("*.py") if f.relative_to(ROOT).as_posix().startswith(part)}
    names = [
        f"{file.name}: {alias.name}"
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("offramp.store.")
        for alias in node.names
        if alias.name.endswith(("Store", "_store")) or node.module in ("offramp.store.engine", "offramp.store.tables")
    ]
    assert trees and names == []


def test_the_floor_imports_nothing_heavy():
    wrong = [
        str(item)
        for item in IMPORTS
        if layer_of_file(item.file) in FLOOR and item.module.split(".")[0] not in sys.stdlib_module_names | {"offramp"}
    ]
    assert wrong == []


@pytest.mark.parametrize("library", DOORS)
def test_each_heavy_library_has_one_door(library):
    wrong = [
        str(item)
        for item in IMPORTS
        if item.module.split(".")[0] == library and not item.file.startswith((*DOORS[library], "testing/"))
    ]
    assert wrong == []


UNDECLARED = {"mlflow", "pytest"}
"""What is only imported where the user has it: an export asks for it, and a plugin is loaded by it."""


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name != "dev"}
    texts = [*project["dependencies"], *(text for wanted in extras.values() for text in wanted)]
    declared = {re.split(r"[^\w.-]", text)[0].lower().replace("_", "-") for text in texts}
    packages = packages_distributions()
    imported = {item.module.split(".")[0] for item in IMPORTS} - sys.stdlib_module_names - {"offramp"} - UNDECLARED
    named = {name: {d.lower().replace("_", "-") for d in packages.get(name, [name])} for name in sorted(imported)}
    assert {name for name, distributions in named.items() if not distributions & declared} == set()


def test_stats_knows_numpy_and_scipy_alone():
    outside = {
        item.module.split(".")[0] for item in IMPORTS if layer_of_file(item.file) == "stats"
    } - sys.stdlib_module_names
    assert outside <= {"numpy", "scipy", "offramp"}


def test_nothing_that_can_run_code_from_a_file_is_imported():
    wrong = [str(item) for item in IMPORTS if item.module.split(".")[0] in ("pickle", "dill", "cloudpickle", "shelve")]
    assert wrong == []


@pytest.mark.parametrize("module", ["offramp", "offramp.cli.main", "offramp.records", "offramp.space.model"])
def test_light_modules_load_no_heavy_library(module):
    code = f"import {module}, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("user", "used", "right"),
    [
        ("search", "evaluate", True),
        ("evaluate", "search", False),
        ("stats", "errors", True),
        ("errors", "stats", False),
        ("errors", "ids", True),
        ("cli", "testing", False),
        ("testing", "search", True),
        ("calls", "calls", True),
        ("cli", "unheard_of", False),
    ],
)
def test_the_rule_itself(user, used, right):
    assert allowed(user, used) is right


# ------------------------------------------------------------------------------------------- one way to run a candidate

SEARCH_FREE = ("promote", "review")
PUBLIC_SEARCH = "offramp.search.api"
WAY_TO_A_MODEL = {
    "Caller", "Clock", "Evaluator", "LiteLLMTransport", "LocalTransport", "RouteTransport", "Session", "Timing",
    "open_caller", "open_session",
}  # fmt: skip
"""What a transport was once put into by assigning another in its place: `transport=` does that now."""


def test_what_people_do_with_a_study_does_not_import_the_search():
    wrong = [
        str(item)
        for item in IMPORTS
        if layer_of_module(item.module) == "search"
        and (
            layer_of_file(item.file) in SEARCH_FREE
            or (layer_of_file(item.file) == "lifecycle" and item.module != PUBLIC_SEARCH)
        )
    ]
    assert wrong == []


@pytest.mark.parametrize("made", ["Evaluator", "open_caller"])
def test_what_runs_candidates_is_composed_in_one_place(made):
    calls = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == made
    ]
    assert len(calls) == 1 and calls[0].startswith("job/session.py"), calls


def test_no_test_and_no_benchmark_assigns_a_transport_into_a_module():
    """`module.open_caller = ...`, `monkeypatch.setattr(module, "open_caller", ...)` and the same by a dotted string."""
    found = []
    for file in [f for folder in ("tests", "benchmarks") for f in (ROOT.parents[1] / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = [t.attr for t in targets if isinstance(t, ast.Attribute)]
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("setattr", "patch"):
                texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                names += [text.rpartition(".")[2] for text in texts]
            found += [f"{file.name}:{node.lineno} {name}" for name in names if name in WAY_TO_A_MODEL]
    assert found == []
