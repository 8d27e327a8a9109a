"""What offramp writes is for its owner alone, whatever the umask says; what was there before keeps its mode."""

import os
import stat
import sys
from pathlib import Path

import pytest

from offramp.cli.doctor import run_checks
from offramp.files import append_line, make_empty, make_folder, others_can_read, replace_file
from offramp.promote.promotion_store import PromotionStore
from offramp.review.report_file import report
from offramp.store.engine import open_store
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids="{:03o}".format)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def shared(tmp_path_factory):
    """A folder that every user of the machine can pass through."""
    folder = tmp_path_factory.mktemp("shared")
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.getuid() and each.name.startswith(("shared", "pytest-")):
            each.chmod(0o755)
    yield folder


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_files_are_made_for_their_owner(tmp_path, umask):
    folder = tmp_path / "a" / "b"
    make_folder(folder)
    make_folder(folder)
    replace_file(folder / "whole", b"1")
    append_line(folder / "lines", b"1")
    make_empty(folder / "empty")
    assert [mode(path) for path in (tmp_path / "a", folder)] == [0o700, 0o700]
    assert {path.name: mode(path) for path in folder.iterdir()} == dict.fromkeys(("whole", "lines", "empty"), 0o600)


@pytest.mark.parametrize("kept", [0o640, 0o644, 0o600, 0o400])
def test_a_file_that_is_there_keeps_its_mode(tmp_path, umask, kept):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(kept)
    make_empty(path)
    assert path.read_bytes() == b"before"
    replace_file(path, b"after")
    assert path.read_bytes() == b"after" and mode(path) == kept


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o700, 0o600), (0o750, 0o640), (0o755, 0o644), (0o777, 0o644)])
def test_a_file_may_be_read_by_whoever_reads_its_folder_where_that_is_asked_for(
    tmp_path, umask, folder_mode, file_mode
):
    tmp_path.chmod(folder_mode)
    replace_file(tmp_path / "whole", b"1", like_folder=True)
    append_line(tmp_path / "lines", b"1", like_folder=True)
    assert {mode(path) for path in tmp_path.iterdir()} == {file_mode}


def test_a_folder_below_a_file_says_what_is_wrong(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "folder")


def test_a_job_its_storage_and_its_reports_are_private(tmp_path, umask, monkeypatch):
    answered_by(monkeypatch, FunctionTransport(reply_to))
    small = {"splits": {"train": 2, "search": 3, "holdout": 3}, "search": {"sampler": "random", "trials": 2}}
    done = run_job(write_space(tmp_path / "job", **small), tmp_path / "new" / "results")
    report(done.report.study, results=tmp_path / "new" / "results")
    with open_store(f"sqlite:///{tmp_path}/new/results/offramp.db") as store, store.transaction():
        found = {path.name: mode(path) for path in (tmp_path / "new").rglob("*")}
    assert found.pop("results") == 0o700
    assert {".db", ".html"} <= {Path(name).suffix for name in found}
    assert any(name.endswith(("-wal", "-shm")) for name in found)
    assert set(found.values()) == {0o600}


@pytest.mark.parametrize(("made", "folder_mode"), [(False, 0o700), (True, 0o755)])
def test_a_new_store_of_promotions_is_private_and_one_that_is_there_stays_as_shared_as_it_is(
    tmp_path, open_umask, made, folder_mode
):
    root = tmp_path / "promotions"
    if made:
        (root / "triage").mkdir(parents=True, mode=0o755)
        (root / "triage").chmod(0o755)
    with PromotionStore(root, "triage")._writing():
        pass
    assert mode(root / "triage") == folder_mode


def test_a_storage_that_others_can_read_is_named_once_and_made_private_by_the_doctor(shared, caplog):
    url = f"sqlite:///{shared}/offramp.db"
    open_store(url).close()
    for name in ("offramp.db", "triage-1.json", "triage-1.html"):
        (shared / name).touch()
        (shared / name).chmod(0o644)
    if not others_can_read(shared / "offramp.db"):
        pytest.skip("the folder of temporary files is private on this machine")
    for _ in range(2):
        open_store(url).close()
    assert caplog.text.count("`offramp doctor` makes it private") == 1
    assert len([check for check in run_checks(url, shared) if check.name == "privacy"]) == 3
    assert {mode(path) for path in shared.glob("*.*")} == {0o600}
    assert not [check for check in run_checks(url, shared) if check.name == "privacy"]


@pytest.mark.parametrize(
    ("file", "folder", "readable"),
    [(0o644, 0o755, True), (0o600, 0o755, False), (0o644, 0o700, False), (0o640, 0o750, True), (0o604, 0o750, False)],
)
def test_a_file_is_readable_only_through_folders_that_let_pass(shared, file, folder, readable):
    inner = shared / "inner"
    inner.mkdir()
    (inner / "file").touch()
    (inner / "file").chmod(file)
    if not others_can_read_all(shared):
        pytest.skip("the folder of temporary files is private on this machine")
    inner.chmod(folder)
    assert others_can_read(inner / "file") is readable


def others_can_read_all(folder):
    probe = folder / "probe"
    probe.touch()
    probe.chmod(0o644)
    return others_can_read(probe)
