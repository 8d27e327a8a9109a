"""What the documents say is so: examples load, links lead somewhere, commands exist, jobs that ship are right."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

import offramp as package
from offramp.cli.main import offramp
from offramp.job.resolve import resolve_job
from offramp.models.catalogue import resolve
from offramp.space.load import load_space
from offramp.verbs.reference import filled

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("datasets/*.md")])
SITE = ROOT / "build" / "site-venv" / "bin" / "mkdocs"
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


def test_the_page_of_the_commands_is_what_help_prints() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    # Click remembers a command's help option from its first use, so another test could change what is printed here.
    program = "import sys; from offramp.cli.reference import page; sys.stdout.buffer.write(page().encode())"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.decode()
    assert page == printed, "run: python scripts/gen_cli_docs.py"


def test_every_message_of_the_troubleshooting_page_is_one_of_the_source() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # a text that goes on in the next line
    quoted = re.findall(r"^### `(.*)`$", page, re.MULTILINE)
    assert len(quoted) >= 20 and len(quoted) == page.count("\n### ")
    wrong = [text for text in quoted if not all(part.strip() in source for part in text.split("…") if part.strip())]
    assert wrong == []


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as the site makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_a_heading_lead_to_one(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*\.md)?#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if link[1] not in anchors(page.parent / link[0] if link[0] else page)] == []


HOW_TO = [
    (page.stem, block)
    for page in PAGES
    if page.parent.name == "docs" and page.stem in ("metrics", "judges", "providers")
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.mark.parametrize(("page", "block"), HOW_TO)
def test_a_part_of_a_space_file_on_a_page_is_right_in_a_whole_one(page: str, block: str, tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    fields = {"ticket": None, "case": None, "policy": None}
    outputs = {"team": None, "urgency": None, "reply": None}
    space = {**yaml.safe_load(example[1]), "task": {"signature": {"inputs": fields, "outputs": outputs}}}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**space, **yaml.safe_load(block)}))
    for model in load_space(tmp_path / "space.yaml").space.models:
        assert resolve(model, "models").name


def test_every_page_of_docs_is_in_the_site() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shown = set(re.findall(r"- (?:[\w ]+: )?([\w/-]+\.md)$", text, re.MULTILINE)) - {"notebook.md"}
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("*.md")}
    assert shown == pages | {"decisions/README.md"}
    assert "notebook.md" in text and (ROOT / "docs" / "tutorial.ipynb").exists()  # made from it


@pytest.mark.skipif(not SITE.exists(), reason="`make docs` has not installed mkdocs")
def test_the_site_builds_without_a_warning_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run([str(SITE), "build", "--strict", "--quiet", "--site-dir", str(tmp_path)], cwd=ROOT,
                          env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(
            r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(?:https?:)?//[^\">\s]+", page.read_text("utf-8")
        )
        assert fetched == [], page
    for script in [*tmp_path.rglob("*.js"), *tmp_path.rglob("*.css")]:
        assert not re.search(r"https?://(unpkg|cdn|fonts)", script.read_text("utf-8")), script


def test_no_tracked_page_or_lock_names_an_index_or_a_machine() -> None:
    for lock in (ROOT / "requirements.lock", *(ROOT / "tools" / "peers").glob("*lock*")):
        assert "://" not in lock.read_text(), lock.name
    assert "://" not in (ROOT / "tools" / "site" / "requirements.lock").read_text()


def test_the_page_of_python_is_what_the_functions_say_and_has_all_of_them() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert page == filled(page), "run: python scripts/gen_python_docs.py"
    told = {line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")}
    assert told == set(package.__all__) - {"__version__"}
