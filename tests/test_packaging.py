"""The wheel and the image: what they are made of is enough, and what comes out runs from an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from offramp.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def steps(name: str) -> list[str]:
    """The arguments of an instruction, each time that it is there."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def copied() -> list[str]:
    """What the image gets of the project."""
    return [path for line in steps("COPY") for path in line.split()[:-1]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `offramp` of a fresh environment with the wheel that the files of the image make; other packages are those here."""
    folder = tmp_path_factory.mktemp("image")
    source, made, env = folder / "src", folder / "wheels", folder / "venv"
    source.mkdir()
    for path in copied():
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, source / path)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(made),
        str(source),
    ]
    if (done := subprocess.run(build, capture_output=True, text=True, check=False)).returncode:
        if "No module named" in done.stderr:
            pytest.skip("pip or hatchling is not here")
        pytest.fail(done.stderr)
    (wheel,) = made.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
    python = env / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = env.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")] or [sysconfig.get_path("purelib")]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    return env / "bin" / "offramp"


def run(program: Path, work: Path, *arguments: str) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(program), *arguments], cwd=work, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_installed_wheel_has_the_jobs_and_runs_them_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = [str(installed.parent / "python"), "-c", "import offramp; print(offramp.__file__)"]
    assert (
        str(installed.parents[1])
        in subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    )
    run(installed, tmp_path, "init", "--example", "support-triage")
    told = run(installed, tmp_path, "optimize", "support_triage.yaml", "--dry-run")
    assert "Nothing was written or spent" in told and "candidates" in told
    assert yaml.safe_load((tmp_path / "support_triage.yaml").read_text())["dataset"]["path"] == "support_triage.jsonl"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["support_triage.jsonl", "support_triage.yaml"]


def test_the_image_installs_as_make_does_and_runs_for_a_user_without_rights() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for arguments in ("--require-hashes -r requirements.lock", "--no-deps --no-build-isolation"):
        assert arguments in makefile and sum(arguments in step for step in steps("RUN")) == 1
    lines = DOCKERFILE.splitlines()
    assert lines.index("USER offramp") < lines.index('ENTRYPOINT ["offramp"]')
    assert "pip install" not in DOCKERFILE[DOCKERFILE.index("\nUSER ") :]
    assert json.loads(steps("ENTRYPOINT")[0]) == ["offramp"] and json.loads(steps("CMD")[0])[0] in COMMANDS


def test_what_the_image_copies_is_there_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*" and {f"!{path}" for path in copied()} <= set(ignored)
    assert [path for path in copied() if not (ROOT / path).exists()] == []


def test_the_commands_that_the_dockerfile_shows_exist() -> None:
    shown = re.findall(r"^#     docker run (.*?)(?:\s+#.*)?$", DOCKERFILE, re.MULTILINE)
    for line in shown:
        words = shlex.split(line)
        command = words[words.index("offramp") + 1 :]
        assert not command or command[0] in COMMANDS, line
    assert {"init", "optimize"} <= {word for line in shown for word in line.split()}
