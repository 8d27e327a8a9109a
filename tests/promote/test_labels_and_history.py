"""Labels move, history tells, and neither lies: also when many move at once, or one is killed between two writes."""

from __future__ import annotations

import errno
import itertools
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from offramp import files
from offramp.errors import PromotionError
from offramp.promote import promotion_store
from offramp.promote.folder import FeatureFolder
from offramp.promote.history import moves
from offramp.promote.promotion_store import PromotionStore, rows_of
from promotion_records import make_promotion

FORK = multiprocessing.get_context("fork")


def promote(root: Path, text: str, label: str = "production", why: str | None = None) -> str:
    kept, _ = PromotionStore(root, "triage").promote(make_promotion(text=text), [rows_of([text])], label=label, why=why)
    return kept.version


def rollback(root: Path, to: str | None = None) -> str:
    return PromotionStore(root, "triage").rollback(to=to, label="production", by="ada", why="worse")[0].version


def test_the_label_moves_and_each_move_has_a_line(tmp_path: Path) -> None:
    one, two = promote(tmp_path, "one", why="first"), promote(tmp_path, "two")
    folder = FeatureFolder(tmp_path, "triage")
    assert folder.labels() == {"production": two} and set(folder.versions()) == {one, two}
    assert [(m.version, m.from_version, m.why, m.by) for m in moves(folder)] == [
        (one, None, "first", "ada"),
        (two, one, None, "ada"),
    ]


def test_the_same_promotion_again_is_the_same_version_and_one_more_line(tmp_path: Path) -> None:
    assert promote(tmp_path, "one") == promote(tmp_path, "one")
    folder = FeatureFolder(tmp_path, "triage")
    assert len(folder.versions()) == 1 and len(moves(folder)) == 2


def test_rollbacks_walk_back_and_end_at_the_first(tmp_path: Path) -> None:
    one, two, three = (promote(tmp_path, text) for text in ("one", "two", "three"))
    assert rollback(tmp_path) == two
    assert rollback(tmp_path) == one
    with pytest.raises(PromotionError, match="no version was production before"):
        rollback(tmp_path)
    assert rollback(tmp_path, to=three[:5]) == three
    with pytest.raises(PromotionError, match="already"):
        rollback(tmp_path, to=three)


def test_each_rollback_goes_one_promotion_further_back_where_a_version_came_twice(tmp_path: Path) -> None:
    """A, B, A went back to B, A, B, A, without end."""
    one, two, again = (promote(tmp_path, text) for text in ("one", "two", "one"))
    assert one == again
    assert [rollback(tmp_path), rollback(tmp_path)] == [two, one]
    with pytest.raises(PromotionError, match="no version was production before"):
        rollback(tmp_path)
    assert promote(tmp_path, "two") == two and rollback(tmp_path) == one


def test_after_a_rollback_to_a_later_version_the_next_goes_to_what_that_one_replaced(tmp_path: Path) -> None:
    one, two, three = (promote(tmp_path, text) for text in ("one", "two", "three"))
    assert rollback(tmp_path, to=one) == one and rollback(tmp_path, to=three) == three
    assert [rollback(tmp_path), rollback(tmp_path)] == [two, one]


def test_a_rollback_to_a_version_that_is_gone_or_changed_is_refused(tmp_path: Path) -> None:
    one, two = promote(tmp_path, "one"), promote(tmp_path, "two")
    folder = FeatureFolder(tmp_path, "triage")
    folder.version_path(one).write_text("schema_version: 1\n")
    with pytest.raises(PromotionError, match="changed after"):
        rollback(tmp_path)
    assert folder.labels() == {"production": two}


def test_a_labels_file_edited_by_hand_is_respected_with_its_comments(tmp_path: Path) -> None:
    one, two = promote(tmp_path, "one"), promote(tmp_path, "two")
    folder = FeatureFolder(tmp_path, "triage")
    folder.labels_path.write_text(f"# ask Ada before you move this\nproduction: '{one}'  # by hand\nstaging: '{two}'\n")
    three = promote(tmp_path, "three")
    assert folder.labels() == {"production": three, "staging": two}
    assert "# ask Ada before you move this\n" in folder.labels_path.read_text()
    assert moves(folder)[-1].from_version == one


@pytest.mark.parametrize("text", ["production\n", "- a\n", "production: latest\n", "production: 1\n", "<<: {a: b}\n"])
def test_a_labels_file_that_makes_no_sense_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    promote(tmp_path, "one")
    path = FeatureFolder(tmp_path, "triage").labels_path
    path.write_text(text)
    with pytest.raises(PromotionError, match=r"labels\.yaml"):
        promote(tmp_path, "two")
    assert path.read_text() == text


def test_marks_of_a_merge_are_told_as_such_with_the_line(tmp_path: Path) -> None:
    """Two branches that both promote conflict in labels and history."""
    one, two = promote(tmp_path, "one"), promote(tmp_path, "two")
    folder = FeatureFolder(tmp_path, "triage")
    marks = f"<<<<<<< HEAD\nproduction: '{one}'\n=======\nproduction: '{two}'\n>>>>>>> other\n"
    folder.labels_path.write_text(f"# a comment\n{marks}")
    with pytest.raises(PromotionError, match=r"line 3: .*Resolve the merge"):
        folder.labels()
    folder.labels_path.write_text(f"production: '{two}'\n")
    lines = folder.history_path.read_text()
    folder.history_path.write_text(f"<<<<<<< HEAD\n{lines}=======\n>>>>>>> other\n")
    with pytest.raises(
        PromotionError, match=r"history.jsonl:1: not a move of a label: it is not JSON. Resolve the merge"
    ):
        moves(folder)


def test_an_unknown_label_names_what_is_near_and_what_there_is(tmp_path: Path) -> None:
    promote(tmp_path, "one")
    for label, says in (("prodution", "Did you mean 'production'"), ("x", r"It has labels \['production'\]")):
        with pytest.raises(PromotionError, match=says):
            PromotionStore(tmp_path, "triage").rollback(to=None, label=label, by="ada", why=None)


def test_a_history_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    promote(tmp_path, "one")
    folder = FeatureFolder(tmp_path, "triage")
    folder.history_path.unlink()
    folder.history_path.mkdir()
    with pytest.raises(PromotionError, match=r"history\.jsonl: cannot be read: Is a directory"):
        moves(folder)


def test_a_version_edited_by_hand_is_never_written_over(tmp_path: Path) -> None:
    version = promote(tmp_path, "one")
    path = FeatureFolder(tmp_path, "triage").version_path(version)
    edited = path.read_text().replace("one", "mine")
    path.write_text(edited)
    with pytest.raises(PromotionError, match="changed after the promotion"):
        promote(tmp_path, "one")
    assert path.read_text() == edited


def test_ten_promotes_at_once_lose_nothing(tmp_path: Path) -> None:
    jobs = [FORK.Process(target=promote, args=(tmp_path, f"text {i % 5}")) for i in range(10)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    folder = FeatureFolder(tmp_path, "triage")
    history = moves(folder)
    assert [job.exitcode for job in jobs] == [0] * 10
    assert len(history) == 10 and len({m.id for m in history}) == 10
    assert folder.labels()["production"] == history[-1].version
    assert all(late.from_version == early.version for early, late in itertools.pairwise(history))
    for version in folder.versions():
        folder.load(version)


# ------------------------------------------------------------------------------------------- killed between writes

STEPS = ("write", "replace", "fsync", "unlink", "open")


def _killed_at(step: int, root: Path, text: str, before: bool) -> None:
    """A promote whose process is killed just before (or just after) its `step`-th change of the file system."""
    left = [step]

    def deadly(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0 and before:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*args, **kwargs)
            finally:
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in STEPS:
        setattr(os, name, deadly(getattr(os, name)))
    promote(root, text)
    os._exit(0)


@pytest.mark.parametrize("text", ["two", "one"], ids=["another version", "the same version"])
def test_killed_between_any_two_writes_labels_point_at_something_and_history_never_lies(
    tmp_path: Path, text: str
) -> None:
    steps, survived = 0, False
    while not survived:
        steps += 1
        for before in (True, False):
            root = tmp_path / f"{steps}-{before}"
            one = promote(root, "one")
            child = FORK.Process(target=_killed_at, args=(steps, root, text, before))
            child.start()
            child.join()
            survived = child.exitcode == 0
            _check_truth(root, one)
    assert steps > 10


def _check_truth(root: Path, one: str) -> None:
    folder = FeatureFolder(root, "triage")
    for look in range(2):
        points = folder.labels()["production"]
        told = moves(folder)
        assert folder.load(points).version == points
        assert told[0].version == one and told[-1].version == points
        assert len(told) in (1, 2) if look == 0 else len(told) >= 2
        if look == 0:
            three = promote(root, "three")
    after = moves(folder)
    assert after[: len(told)] == told and after[-1].version == three and after[-1].from_version == after[-2].version
    lines = folder.history_path.read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [move.id for move in after]
    assert not (folder.path / ".moving.json").exists()


def test_a_line_that_a_power_cut_left_unfinished_is_mended(tmp_path: Path) -> None:
    promote(tmp_path, "one")
    two = promote(tmp_path, "two")
    folder = FeatureFolder(tmp_path, "triage")
    lines = folder.history_path.read_bytes().splitlines(keepends=True)
    (folder.path / ".moving.json").write_bytes(lines[-1].strip())
    folder.history_path.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    assert moves(folder)[-1].version == two
    promote(tmp_path, "three")
    assert [m.from_version for m in moves(folder)][-1] == two and len(moves(folder)) == 3


def test_a_history_line_that_somebody_changed_is_named(tmp_path: Path) -> None:
    promote(tmp_path, "one")
    folder = FeatureFolder(tmp_path, "triage")
    folder.history_path.write_text("{}\n")
    with pytest.raises(PromotionError, match=r"history\.jsonl:1"):
        moves(folder)


def failing(number: int) -> Any:
    def fail(path: Path, *rest: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    return fail


@pytest.mark.parametrize(
    ("number", "do"),
    [
        (errno.ENOSPC, "Free space on its disk, or name another folder with --promotions."),
        (errno.EDQUOT, "Free space on its disk, or name another folder with --promotions."),
        (errno.EACCES, "Get write permission, or name another folder with --promotions."),
        (errno.EROFS, "Get write permission, or name another folder with --promotions."),
        (errno.EIO, "Name another folder with --promotions."),
    ],
)
def test_what_cannot_be_written_says_why_and_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, do: str
) -> None:
    """A full disk said "Get write permission"."""
    one = promote(tmp_path, "one")
    monkeypatch.setattr(promotion_store, "_replace", failing(number))
    with pytest.raises(PromotionError) as told:
        promote(tmp_path, "two")
    assert f"cannot be written: {os.strerror(number)}; no label was moved. {do}" in str(told.value)
    assert FeatureFolder(tmp_path, "triage").labels() == {"production": one}


def test_a_label_that_moved_before_the_disk_was_full_is_said_to_have_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message said that nothing could be written, and apps ran on the new version."""
    one = promote(tmp_path, "one")
    with monkeypatch.context() as full:
        full.setattr(promotion_store, "append_line", failing(errno.ENOSPC))
        with pytest.raises(PromotionError) as told:
            promote(tmp_path, "two")
    folder = FeatureFolder(tmp_path, "triage")
    two = folder.labels()["production"]
    assert two != one and f"production points at {two} now, but the move could not be completed" in str(told.value)
    assert "Free space" in str(told.value) and "permission" not in str(told.value)
    assert [move.version for move in moves(folder)] == [one, two]
    with monkeypatch.context() as full:
        full.setattr(promotion_store, "append_line", failing(errno.ENOSPC))
        with pytest.raises(PromotionError, match="no label was moved"):
            rollback(tmp_path)
    assert rollback(tmp_path) == one
    assert [move.version for move in moves(folder)] == [one, two, one]


def test_a_line_of_which_the_disk_took_half_is_not_taken_for_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The move had no line in the history, and nothing said so."""
    one = promote(tmp_path, "one")
    write, short = os.write, [True]

    def half(handle: int, content: bytes) -> int:
        if not bytes(content).startswith(b'{"action"') or not bytes(content).endswith(b"\n"):
            if not short:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(handle, content)
        short.clear()
        return write(handle, content[: len(content) // 2])

    with monkeypatch.context() as full:
        full.setattr(files.os, "write", half)
        with pytest.raises(PromotionError, match="points at"):
            promote(tmp_path, "two")
    folder = FeatureFolder(tmp_path, "triage")
    two = folder.labels()["production"]
    three = promote(tmp_path, "three")
    assert [move.version for move in moves(folder)] == [one, two, three]
