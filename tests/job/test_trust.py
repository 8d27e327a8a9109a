"""A space file of somebody else reads, runs and sends nothing that is yours, unless its user says so."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from offramp import media
from offramp.errors import SpaceError
from offramp.job import trust
from offramp.job.declared import check_declared
from offramp.job.resolve import resolve_job
from offramp.models.keys import strange_address
from offramp.search import api
from offramp.space.load import as_loaded, load_space
from search_jobs import PRICES, rows, write_space

CODE = "from pathlib import Path\nPath({mark!r}).touch()\ndef score(example, pred, trace=None):\n    return 1.0\n"


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    """Folder of settings and home of a user who trusts nothing yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "settings"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A stranger's folder, what is the user's own outside of it, and the file that running any code would leave."""
    mine = tmp_path / "mine"
    mine.mkdir()
    mark = tmp_path / "code-ran"
    (mine / "diary.txt").write_text("Dear diary.")
    (mine / "own_metric.py").write_text(CODE.format(mark=str(mark)))
    (mine / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    monkeypatch.chdir(mine)
    return tmp_path / "stranger", mine, mark


def model(**more):
    return [{"name": "small", "route": "openai/small", "price": PRICES["small"], **more}]


def local(**more):
    return {"models": model(api_base="http://127.0.0.1:9/v1"), **more}


REACHES = {
    "instruction by ..": (local(instructions={"vague": "Vague.", "x": {"file": "../mine/diary.txt"}}), "instructions.x"),
    "instruction by /": (local(instructions={"vague": "Vague.", "x": {"file": "/etc/passwd"}}), "instructions.x"),
    "instruction by a link": (local(instructions={"vague": "Vague.", "x": {"file": "link.txt"}}), "instructions.x"),
    "dataset by ..": (local(dataset={"path": "../mine/rows.jsonl", "id": "id"}), "dataset.path"),
    "dataset by /": (local(dataset={"path": "/etc/passwd"}), "dataset.path"),
    "dataset by a link": (local(dataset={"path": "link.jsonl", "id": "id"}), "dataset.path"),
    "metric file": (local(metric={"kind": "python", "path": "../mine/own_metric.py:score"}), "metric.path"),
    "metric module of the working directory": (local(metric={"kind": "python", "path": "own_metric:score"}), "metric.path"),
    "metric of Python's own": (local(metric={"kind": "python", "path": "os:system"}), "metric.path"),
    "metric in a mix": (
        local(metric={"kind": "mix", "parts": [
            {"kind": "exact", "field": "label"}, {"kind": "python", "path": "../mine/own_metric.py:score"}]}),
        "metric.parts.1.path",
    ),
    "program file": (
        local(task={"module": "../mine/own_metric.py:score", "inputs": ["message"], "outputs": ["label"]}, instructions={}, incumbent=None),
        "task.module",
    ),
    "key to an address": ({"models": model(api_base="https://evil.example/v1", api_key_env="OPENAI_API_KEY")}, "models.0"),
    "key to a look-alike": (
        {"models": model(api_base="https://api.openai.com.evil.example/v1", api_key_env="OPENAI_API_KEY")}, "models.0"),
    "key to another provider": ({"models": model(api_key_env="ANTHROPIC_API_KEY")}, "models.0"),
    "secret of a service": ({"models": model(api_base="https://e.example/v1", api_key_env="AWS_SECRET_ACCESS_KEY")}, "models.0"),
}  # fmt: skip


def stranger(world, changes):
    folder, mine, _ = world
    path = write_space(folder, **changes)
    for name, target in (("link.txt", "diary.txt"), ("link.jsonl", "rows.jsonl")):
        (folder / name).symlink_to(mine / target)
    return path


@pytest.mark.parametrize("reach", REACHES)
def test_what_reaches_beyond_its_project_is_refused_with_line_and_remedy_before_anything_runs(reach, world):
    changes, key = REACHES[reach]
    path = stranger(world, changes)
    with pytest.raises(SpaceError) as caught:
        check_declared(load_space(path))
    text = str(caught.value)
    assert re.search(rf"space.yaml:\d+: {re.escape(key)}", text) and "Add --trust" in text
    assert "Dear diary" not in text and "root:" not in text
    assert not world[2].exists()
    for call in (api.dry_run, api.optimize):
        with pytest.raises(SpaceError, match="--trust"):
            call(path, results=world[0] / "results")
    assert not world[2].exists() and not (world[0] / "results").exists()


@pytest.mark.parametrize("reach", ["instruction by ..", "dataset by a link", "metric file", "key to an address"])
def test_trust_in_python_is_for_this_call_and_by_the_command_for_good(reach, world, settings, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-of-trust-123456")
    path = stranger(world, REACHES[reach][0])
    resolve_job(as_loaded(path, trust=True))
    api.dry_run(path, results=world[0] / "results", trust=True)
    assert not settings.exists()
    check_declared(trust.load_for(path, trust=True))
    listed = settings / "offramp" / "trusted.json"
    assert json.loads(listed.read_text()) == {"folders": [str(world[0])]}
    assert stat.S_IMODE(listed.stat().st_mode) == 0o600
    check_declared(load_space(path))


def test_a_trusted_folder_covers_what_is_in_it_and_nothing_else(world):
    path = stranger(world, REACHES["dataset by .."][0])
    trust.load_for(path, trust=True)
    inner = write_space(
        world[0] / "inner", incumbent=None, **local(dataset={"path": "../../mine/rows.jsonl", "id": "id"})
    )
    check_declared(load_space(inner))
    other = write_space(world[0].parent / "stranger-too", incumbent=None, **REACHES["dataset by .."][0])
    with pytest.raises(SpaceError, match="--trust"):
        check_declared(load_space(other))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"folders": 5}', '{"folders": ["relative"]}', '{"folders": [null]}'])
def test_a_broken_list_of_trusted_folders_trusts_nothing(text, world, settings):
    (settings / "offramp").mkdir(parents=True)
    (settings / "offramp" / "trusted.json").write_text(text)
    with pytest.raises(SpaceError, match="--trust"):
        check_declared(load_space(stranger(world, REACHES["dataset by .."][0])))


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_a_list_that_others_can_write_trusts_nothing(world, settings, caplog):
    path = stranger(world, REACHES["dataset by .."][0])
    trust.load_for(path, trust=True)
    (settings / "offramp" / "trusted.json").chmod(0o666)
    with pytest.raises(SpaceError, match="--trust"):
        check_declared(load_space(path))
    assert "others can write it" in caplog.text


@pytest.mark.parametrize("around", ["git", "pyproject", "working directory"])
def test_within_a_project_nobody_is_asked(around, tmp_path, world, monkeypatch):
    folder = tmp_path / "project"
    write_space(folder / "spaces", incumbent=None)
    (folder / "data").mkdir()
    (folder / "spaces" / "rows.jsonl").rename(folder / "data" / "rows.jsonl")
    (folder / "metrics.py").write_text("def score(example, pred):\n    return 1.0\n")
    (folder / "text.txt").write_text("Be brief.")
    path = write_space(
        folder / "spaces", incumbent=None, dataset={"path": "../data/rows.jsonl", "id": "id"},
        metric={"kind": "python", "path": "../metrics.py:score"},
        instructions={"vague": "Vague.", "x": {"file": "../text.txt"}},
    )  # fmt: skip
    if around == "git":
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
    elif around == "pyproject":
        (folder / "pyproject.toml").touch()
    else:
        monkeypatch.chdir(folder)
    check_declared(load_space(path))


@pytest.mark.parametrize("wide", [".", "..", "/"])
def test_a_home_folder_is_never_a_project_as_a_whole(wide, tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id").write_text("private")
    path = write_space(
        home / "Downloads", incumbent=None, instructions={"vague": "Vague.", "x": {"file": "../.ssh/id"}}
    )
    monkeypatch.chdir(home / wide)
    (home / ".git").mkdir()
    with pytest.raises(SpaceError, match="outside of the project"):
        check_declared(load_space(path))
    at_home = write_space(home, incumbent=None, instructions={"vague": "Vague.", "x": {"file": ".ssh/id"}})
    with pytest.raises(SpaceError, match="outside of the project"):
        check_declared(load_space(at_home))


def test_a_row_with_an_image_from_elsewhere_is_refused(world):
    folder, mine, _ = world
    for i in range(40):
        (mine / f"{i}-photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([i]))
    task = {"signature": {"inputs": {"message": {"type": "image"}}, "outputs": {"label": None}}}
    path = write_space(folder, incumbent=None, task=task, **local())
    found = [{**row, "message": str(mine / f"{i}-photo.png")} for i, row in enumerate(rows())]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    with pytest.raises(SpaceError, match=r"photo.png, which is outside of the project .* --trust"):
        check_declared(load_space(path))
    check_declared(as_loaded(path, trust=True))


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\nseen before", b"GIF8 seen before", b"%PDF- seen before"])
def test_an_image_of_the_project_that_another_project_has_too_is_its_own(content, world):
    folder, mine, _ = world
    kind = "file" if content.startswith(b"%") else "image"
    task = {"signature": {"inputs": {"message": {"type": kind}}, "outputs": {"label": None}}}
    path = write_space(folder, incumbent=None, task=task, **local())
    for place in (mine, folder):
        for i in range(40):
            (place / f"{i}-seen").write_bytes(content + bytes([i]))
    for i in range(40):
        media.of_file(mine / f"{i}-seen")
    found = [{**row, "message": f"{i}-seen"} for i, row in enumerate(rows())]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    check_declared(load_space(path))


@pytest.mark.parametrize(
    ("variable", "route", "address"),
    [
        (None, "openai/x", "https://evil.example"), ("OPENAI_API_KEY", "openai/x", None),
        ("OPENAI_API_KEY", "openai/x", "https://api.openai.com/v1"), ("OPENAI_API_KEY", "openai/x", "http://127.0.0.1:4000"),
        ("OPENAI_API_KEY", "gpt-4.1", None), ("HOUSE_PASS", "openai/x", "https://llm.house.example/v1"),
        ("GROQ_API_KEY", "openai/x", "https://api.groq.com/openai/v1"), ("AZURE_API_KEY", "azure/x", "https://a.openai.azure.com"),
        ("PERPLEXITY_API_KEY", "openai/x", "https://api.perplexity.ai"), ("ANTHROPIC_API_KEY", "anthropic/x", None),
        ("AWS_ACCESS_KEY_ID", "bedrock/x", None), ("GITHUB_TOKEN", "openai/x", "https://models.github.ai/inference"),
    ],
)  # fmt: skip
def test_a_key_that_goes_where_it_belongs_needs_no_word(variable, route, address):
    assert strange_address(variable, route, address) is None


@pytest.mark.parametrize(
    ("variable", "route", "address"),
    [
        ("OPENAI_API_KEY", "openai/x", "https://evil.example"), ("OPENAI_API_KEY", "openai/x", "http://api.openai.com/v1"),
        ("OPENAI_API_KEY", "groq/x", None), ("GROQ_API_KEY", "openai/x", None),
        ("OPENAI_API_KEY", "openai/x", "https://api.groq.com"), ("OPENAI_API_KEY", "openai/x", "https://notopenai.com"),
        ("PERPLEXITY_API_KEY", "openai/x", "https://perplexity.evil.example"), ("PGPASSWORD", "openai/x", "https://h.example"),
        ("GITHUB_TOKEN", "openai/x", "https://evil.example"), ("OPENAI_API_KEY", "openai/x", "https://127.0.0.1.evil.example"),
    ],
)  # fmt: skip
def test_a_key_that_goes_elsewhere_is_strange(variable, route, address):
    assert "would be sent to" in strange_address(variable, route, address)


def test_the_shipped_spaces_need_no_word():
    for path in sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml")):
        trust.refuse_untrusted(load_space(path))
