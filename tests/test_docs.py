"""What the documents say is so: examples load, links lead somewhere, commands exist, jobs that ship are right."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import click
import pytest

import offramp as package
from offramp.cli.main import offramp
from offramp.job.resolve import resolve_job
from offramp.space.load import load_space
from offramp.verbs.reference import filled

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("datasets/*.md")])
JOBS = sorted((ROOT / "search_spaces").glob("*.yaml"))


def test_the_space_file_of_the_readme_is_right_for_data_as_it_says(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert text is not None
    (tmp_path / "routing.yaml").write_text(text[1])
    with (tmp_path / "tickets.csv").open("w", newline="") as file:
        rows = [(f"{team} ticket {n}", team) for n in range(20) for team in ("billing", "technical", "sales")]
        csv.writer(file).writerows([("ticket", "team"), *rows])
    job = resolve_job(load_space(tmp_path / "routing.yaml"))
    assert [param.name for param in job.search_params if param.searched][:2] == ["model", "constrained"]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_that_ships_is_right_and_beats_nothing_by_being_empty(path: Path) -> None:
    job = resolve_job(load_space(path))
    splits = job.task.splits
    assert len(splits.train) + len(splits.search) + len(splits.holdout) >= 150
    assert job.incumbent is not None and job.incumbent.model == "local/smollm2-135m"
    assert sum(param.searched for param in job.search_params) >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_source_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", page.read_text())
    missing = [path for path in named if not any((base / path).exists() for base in (ROOT, ROOT / "src" / "offramp"))]
    assert sorted(set(missing)) == []


def test_every_command_is_in_the_readme_and_none_is_invented() -> None:
    readme = (ROOT / "README.md").read_text()
    rows = "\n".join(line for line in readme.splitlines() if line.startswith("| `offramp "))
    known = set(offramp.list_commands(click.Context(offramp)))
    assert set(re.findall(r"`offramp ([a-z]+)", rows)) == known
    assert set(re.findall(r"^\$ offramp ([a-z]+)", readme, re.MULTILINE)) <= known
    assert len(readme.splitlines()) < 150


def test_no_tracked_page_or_lock_names_an_index_or_a_machine() -> None:
    for lock in (ROOT / "requirements.lock", *(ROOT / "tools" / "peers").glob("*lock*")):
        assert "://" not in lock.read_text(), lock.name


def test_the_page_of_python_is_what_the_functions_say_and_has_all_of_them() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert page == filled(page), "run: python scripts/gen_python_docs.py"
    told = {line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")}
    assert told == set(package.__all__) - {"__version__"}
