"""Small things of the shell: plots, plurals, progress without a terminal, read-only folders, full disks, next commands."""

from __future__ import annotations

import ctypes
import io
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offramp.cli import live
from offramp.cli.live import RunsDone
from offramp.cli.study_tables import plot
from offramp.files import replace_file
from offramp.records import Aggregate, Objective
from offramp.study.domain.members import Member
from offramp.study.study_report import StudyReport
from offramp.study.wording import counted
from offramp.testing.fakes import FunctionTransport
from promoted_jobs import promoted_job, reply
from search_jobs import answered_by, main, reply_to, write_space


def report_of_points(points: list[tuple[float, float]]) -> StudyReport:
    """A report whose members are at (USD of 1,000 runs, quality); the first is the incumbent, the last recommended."""
    members = tuple(
        Member(candidate=f"c{i}", params={"model": f"m{i}"}, utility=0.5, feasible=True, incumbent=i == 0,
               search=Aggregate(n=10, n_fault=0, n_failed=0, quality=y, cost_usd=x / 1000))
        for i, (x, y) in enumerate(points)
    )  # fmt: skip
    objectives = (Objective(name="quality", weight=1.0), Objective(name="cost", weight=1.0))
    return StudyReport(
        study="s", space="s", seed=0, status="finished", stop_reason=None, objectives=objectives, trials=len(members),
        stopped=0, members=members, front=members[1:], incumbent=members[0], recommended=members[-1],
    )  # fmt: skip


def canvas(text: str) -> str:
    """What is inside the frame of a plot."""
    return "\n".join(found[1] for line in text.splitlines() if (found := re.search("[┤│](.*)│$", line)))


CORNERS = [(x, y) for x in (0.0, 0.05, 0.5, 0.95, 1.0) for y in (0.0, 0.5, 0.9, 1.0)]


@pytest.mark.parametrize(
    "points", [CORNERS, CORNERS[::-1], [(0.0, 1.0), (1.0, 0.0)], [(0.01, 1.0), (0.04, 0.8), (1.0, 0.0)]]
)
def test_every_point_is_in_the_plot_and_the_legend_is_below_it(points: list[tuple[float, float]]) -> None:
    text = plot(report_of_points(points)).plain
    inside, below = canvas(text), text.splitlines()[-1]
    assert inside.count("I") == 1 and inside.count("R") == 1
    assert inside.count("●") == len(points) - 2
    assert "I incumbent" in below and "R recommended" in below
    assert max(map(len, text.splitlines())) <= 76


@pytest.mark.parametrize("points", [[(0.0, 0.2), (0.0, 0.4)], [(1.0, 0.0), (2.0, 0.0)], [(0.0, 0.0), (0.0, 0.0)]])
def test_an_axis_of_zeros_begins_at_zero(points: list[tuple[float, float]]) -> None:
    numbers = re.findall(r"-\d", plot(report_of_points(points)).plain)
    assert numbers == []


@pytest.mark.parametrize(
    ("n", "one", "more", "text"),
    [(0, "call", None, "0 calls"), (1, "call", None, "1 call"), (2, "call", None, "2 calls"),
     (1234, "candidate", None, "1,234 candidates"), (1, "study", "studies", "1 study"), (3, "study", "studies", "3 studies")],
)  # fmt: skip
def test_a_number_and_its_noun_agree(n: int, one: str, more: str | None, text: str) -> None:
    assert counted(n, one, more) == text


def test_one_of_each_is_singular_and_answers_not_paid_again_have_one_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space, results = str(write_space(tmp_path)), str(tmp_path / "other results")
    for cached in ("0 cached answers", "16 cached answers"):
        assert main(["optimize", space, "--results", results, "--trials", "1"]) == 0
        told = capsys.readouterr()
        shown = " ".join((told.out + told.err).split())
        assert "1 candidate," in shown and "1 candidates" not in shown and cached in shown
        assert "reused" not in shown and "from ledger" not in shown
        assert f"Again: offramp pareto landscape-{shown.split('landscape-')[1][:8]} --results '{results}'" in shown
    assert main(["verify", "--results", results]) == 0
    assert "Verification: complete. 1 candidate," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "carried"),
    [([], ""), (["--storage", "sqlite:///{}/results/offramp.db"], " --storage sqlite:///{}/results/offramp.db")],
)
def test_suggested_commands_carry_only_what_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, options: list[str], carried: str
) -> None:
    answered_by(monkeypatch, FunctionTransport(reply_to))
    monkeypatch.chdir(tmp_path)
    write_space(tmp_path)
    (tmp_path / "results").mkdir()
    given = [option.format(tmp_path) for option in options]
    assert main(["optimize", "space.yaml", "--trials", "1", *given]) == 0
    (again,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Again: ")]
    assert re.fullmatch(r"Again: offramp pareto landscape-\w{8}" + re.escape(carried.format(tmp_path)), again)


def test_a_password_is_not_carried(tmp_path: Path, capsys: Any) -> None:
    import click

    from offramp.cli.options import same_place, study_options

    @click.command()
    @study_options
    def shown(**_: Any) -> None:
        click.echo(same_place())

    shown.main(["--storage", "postgresql://ada:secret@host/db"], standalone_mode=False)
    assert capsys.readouterr().out == " --storage 'postgresql://ada:***@host/db'\n"


# ------------------------------------------------------------------------------------------------------- progress


def test_a_check_shows_progress_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    answered_by(monkeypatch, FunctionTransport(reply))
    monkeypatch.setattr(live, "LINE_EVERY_S", 0.0)
    capsys.readouterr()
    assert main(["check", "landscape", "--promotions", str(promotions)]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("check: ")]
    assert lines[0].startswith("check: 0/6 runs, elapsed 0:0") and lines[-1].startswith("check: 6/6 runs")
    assert main(["check", "landscape", "--promotions", str(promotions), "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_verify_shows_progress_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space, results = str(write_space(tmp_path, verify={"front": False})), str(tmp_path / "results")
    assert main(["optimize", space, "--results", results]) == 0
    capsys.readouterr()
    assert main(["verify", "--results", results]) == 0
    assert re.search(r"^holdout: \d+/\d+ runs, elapsed 0:", capsys.readouterr().err, re.M)


def test_progress_is_a_line_now_and_then_or_in_place_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, lines, ended in ((io.StringIO(), 2, True), (Terminal(), 1, True)):
        with RunsDone(stream) as shown:
            for phase in ("holdout", "probe"):
                for done in range(50):
                    shown.show(phase, done, 50)
        assert stream.getvalue().count("\n") == lines and stream.getvalue().endswith("\n") is ended
    with RunsDone(None) as nothing:
        nothing.show("holdout", 1, 2)


# ------------------------------------------------------------------------------------- read-only folders, full disks

CLI = [sys.executable, "-m", "offramp"]


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A results folder with one study that nobody but its owner may write."""
    folder = Path(tempfile.mkdtemp())
    answered_by(monkeypatch, FunctionTransport(reply_to))
    assert main(["optimize", str(write_space(folder)), "--results", str(folder / "results"), "--trials", "2"]) == 0
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    yield folder / "results"
    for path in (folder, folder / "results"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def bound_by_permissions() -> None:
    """Takes from a process of root the right to write where permissions forbid it."""
    if os.getuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


def run(arguments: list[str], folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*CLI, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False, **options
    )


def test_looking_works_in_a_folder_that_cannot_be_written(read_only: Path) -> None:
    work = Path(tempfile.mkdtemp())
    work.chmod(0o777)
    before = sorted(path.name for path in read_only.iterdir())
    probe = [sys.executable, "-c", f"open({str(read_only / 'x')!r}, 'w')"]
    if not subprocess.run(probe, capture_output=True, preexec_fn=bound_by_permissions, check=False).returncode:
        pytest.skip("nothing binds this user to permissions")
    for arguments in (["pareto"], ["pareto", "--json"], ["studies"], ["compare", "latest", "trial 0", "trial 1"]):
        done = run([*arguments, "--results", str(read_only)], work, preexec_fn=bound_by_permissions)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    done = run(["report", "--results", str(read_only)], work, preexec_fn=bound_by_permissions)
    assert done.returncode == 0 and len(list(work.glob("landscape-*.html"))) == 1, done.stderr
    assert sorted(path.name for path in read_only.iterdir()) == before
    shutil.rmtree(work)


def no_large_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


@pytest.mark.parametrize(
    "arguments", [["report", "--out", "page.html"], ["report", "--out", "folder/page.html"], ["report"]]
)
def test_a_file_that_does_not_fit_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    answered_by(monkeypatch, FunctionTransport(reply_to))
    assert main(["optimize", str(write_space(tmp_path)), "--results", str(tmp_path / "results"), "--trials", "2"]) == 0
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    done = run([*arguments, "--results", "results"], tmp_path, preexec_fn=no_large_files)
    assert done.returncode == 2
    assert re.search(
        r"error: (page|folder/page|results/landscape-\w+)\.html: cannot be written: File too large", done.stderr
    )
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before, "no scratch file is left"


@pytest.mark.parametrize("size", [0, 100, 30_000])
def test_a_write_that_fails_half_way_leaves_no_scratch_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def full(handle: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    path.write_text("before")
    if size:
        monkeypatch.setattr("offramp.files.os.write", full)
        with pytest.raises(OSError):
            replace_file(path, b"x" * size)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "before")]
