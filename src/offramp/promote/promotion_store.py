"""Writing promotions: a version that is there for good, and a label that moves to it.

All writing of a feature happens under one lock (of the operating system, so that a killed holder leaves nothing stale).
The order makes every instant right: rows, then the version, then the intent, then the label, then the history line.

Invariant: a label points at a version that is there; a version file never changes; what somebody edited by hand is
kept, or refused with a message, and never written over.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from offramp.errors import PromotionError, problem
from offramp.files import append_line, make_folder, remedy, remove_file, replace_file
from offramp.ids import canonical_json, content_hash
from offramp.promote.folder import SHORT, FeatureFolder, checked_name, content_of, labels_in
from offramp.promote.history import MOVING, Move, happened, moves, undone_target, unfinished, written
from offramp.promote.promotion import FileRef, Promotion
from offramp.promote.serialization import values_of, yaml_text
from offramp.scrubbing import holds_key, scrubbed

_replace = partial(replace_file, like_folder=True)
"""A promotion is read by apps: who may read its folder may read it."""
_HEAD = b"# Which version each label points at. Moved by `offramp promote` and `offramp rollback`.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows to keep beside a promotion, as the bytes of their file."""

    content: bytes
    ref: FileRef


def rows_of(values: Sequence[Any]) -> Rows:
    """Rows as JSON lines, canonical; half a surrogate pair, which UTF-8 cannot encode, as an escape."""
    content = b"".join(_line(value) + b"\n" for value in values)
    return Rows(content=content, ref=FileRef(sha256=hashlib.sha256(content).hexdigest(), rows=len(values)))


def sealed(promotion: Promotion) -> Promotion:
    """The promotion with the hash of its content as its version."""
    sha256 = content_hash(content_of(values_of(promotion)))
    return replace(promotion, version=sha256[:SHORT], sha256=sha256)


class PromotionStore:
    """The promotions of one feature, to write. Safe between processes of one machine."""

    def __init__(self, promotions: str | Path | None, feature: str) -> None:
        self.folder = FeatureFolder(promotions, feature)

    def promote(
        self, promotion: Promotion, rows: Sequence[Rows], *, label: str, why: str | None = None
    ) -> tuple[Promotion, Move]:
        """Keeps a version and points the label at it.

        A version that differs from one that is there only in who made it, and when, is that version.

        Returns:
            What the label points at now, and the line of the history.
        """
        checked_name(label, "label")
        with self._writing():
            kept = self._keep(sealed(promotion), rows)
            forced = kept.evidence.gate.refused
            return kept, self._move(kept, label, "promote", by=promotion.made.by, why=why, forced=forced)

    def rollback(self, *, to: str | None, label: str, by: str, why: str | None) -> tuple[Promotion, Move]:
        """Points the label back at the version before, or at `to` (a version or its beginning).

        Raises:
            PromotionError: there is none before, or it is the one that runs, or its file is not whole.
        """
        with self._writing():
            current = self.folder.pointed(label)
            target = self.folder.resolve(to) if to is not None else self._before(label, current)
            if target == current:
                raise PromotionError(problem(str(self.folder.path), f"{label} already points at {current}"))
            found = self.folder.load(target)
            self._check_rows(found)
            return found, self._move(found, label, "rollback", by=by, why=why, forced=())

    def _before(self, label: str, current: str) -> str:
        target = undone_target(moves(self.folder), label, current)
        if target is None:
            do = "Name a version with --to; `offramp history` lists them."
            raise PromotionError(problem(str(self.folder.path), f"no version was {label} before {current}", do=do))
        return target

    # ------------------------------------------------------------------------------------------------ versions

    def _keep(self, promotion: Promotion, rows: Sequence[Rows]) -> Promotion:
        for each in rows:
            self._keep_rows(each)
        known = self._same_but_made(promotion)
        if known is not None:
            return known
        path = self.folder.version_path(promotion.version)
        if path.exists():
            return self.folder.load(promotion.version)
        try:
            text = yaml_text(values_of(promotion))
            content = text.encode("utf-8")
        except ValueError as error:
            raise PromotionError(problem(str(path), f"the promotion cannot be written: {error}")) from None
        if holds_key(text):
            do = "Take it out of the space file's instructions and params, and out of the data that demos come from."
            raise PromotionError(problem(str(path), "the promotion would hold the value of a key", do=do))
        _replace(path, content)
        return promotion

    def _same_but_made(self, promotion: Promotion) -> Promotion | None:
        wanted = _without_made(promotion)
        for version in self.folder.versions():
            with contextlib.suppress(PromotionError):  # a broken version does not matter here
                found = self.folder.load(version)
                if _without_made(found) == wanted:
                    return found
        return None

    def _keep_rows(self, rows: Rows) -> None:
        path = self.folder.data_path(rows.ref)
        make_folder(path.parent)
        if not path.exists():
            _replace(path, rows.content)
        self.folder.rows(rows.ref)

    def _check_rows(self, promotion: Promotion) -> None:
        pools = [part.demos.pool for part in promotion.parts]
        rule = None if promotion.cascade is None else promotion.cascade.rows
        for ref in (*pools, promotion.evidence.holdout_results, rule):
            if ref is not None:
                self.folder.rows(ref)

    # -------------------------------------------------------------------------------------------------- labels

    def _move(
        self, promotion: Promotion, label: str, action: str, *, by: str, why: str | None, forced: tuple[str, ...]
    ) -> Move:
        before = self.folder.labels()
        move = Move(
            id=uuid.uuid4().hex[:16],
            at=now(),
            by=by,
            action=action,
            label=label,
            version=promotion.version,
            from_version=before.get(label),
            study=promotion.evidence.study,
            candidate=promotion.evidence.candidate,
            why=None if why is None else scrubbed(why),
            forced=forced,
        )
        _replace(self._moving, canonical_json(values_of(move)).encode())
        try:
            self._point(label, promotion.version)
            self._finish()
        except OSError as error:
            if not happened(self.folder, move):
                raise
            raise self._moved_all_the_same(move, error) from error
        return move

    def _moved_all_the_same(self, move: Move, error: OSError) -> PromotionError:
        """For an error after the label was moved, which apps see from then on."""
        what = (
            f"{move.label} points at {move.version} now, but the move could not be completed: {error.strerror}. The "
            "next promote or rollback writes what is missing of the history"
        )
        return PromotionError(problem(self._place(error), what, do=remedy(error, elsewhere="check the folder")))

    def _place(self, error: OSError) -> str:
        return str(error.filename or self.folder.path)

    def _point(self, label: str, version: str) -> None:
        path = self.folder.labels_path
        content = path.read_bytes() if path.exists() else _HEAD
        if labels_in(content, str(path)).get(label) == version:
            return
        changed = _with_label(content, label, version)
        if labels_in(changed, str(path)) != {**labels_in(content, str(path)), label: version}:
            do = "Write it as `label: version` lines."
            raise PromotionError(problem(str(path), "is written in a form that cannot be changed safely", do=do))
        _replace(path, changed)

    @property
    def _moving(self) -> Path:
        return self.folder.path / MOVING

    def _finish(self) -> None:
        """Ends a move that was begun, by this process or by one that was killed."""
        begun = unfinished(self.folder)
        if begun is None:
            return
        self._mend_torn_line(begun)
        if happened(self.folder, begun) and begun.id not in {move.id for move in written(self.folder)}:
            append_line(self.folder.history_path, canonical_json(values_of(begun)).encode(), like_folder=True)
        remove_file(self._moving)

    def _mend_torn_line(self, begun: Move) -> None:
        """A line that a power cut left unfinished can only be that of the move that was begun."""
        path = self.folder.history_path
        whole, _, torn = (path.read_bytes() if path.exists() else b"").rpartition(b"\n")
        if torn and canonical_json(values_of(begun)).encode().startswith(torn):
            _replace(path, whole + b"\n" if whole else b"")
        elif torn:
            _replace(path, whole + b"\n" + torn + b"\n" if whole else torn + b"\n")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """The lock, with whatever a killed process left finished first."""
        try:
            make_folder(self.folder.path)
            _leave_scratch_out_of_git(self.folder.root)
            with FileLock(self.folder.root / f".{self.folder.feature}.lock"):
                self._finish()
                yield
        except OSError as error:
            do = remedy(error, elsewhere="name another folder with --promotions")
            what = f"cannot be written: {error.strerror}; no label was moved"
            raise PromotionError(problem(self._place(error), what, do=do)) from error


def _leave_scratch_out_of_git(root: Path) -> None:
    path = root / ".gitignore"
    if not path.exists():
        _replace(path, b".*.lock\n.moving.json\n.*.tmp\n")


def _line(value: Any) -> bytes:
    try:
        return canonical_json(value).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _without_made(promotion: Promotion) -> Promotion:
    return replace(promotion, version="", sha256="", made=replace(promotion.made, by="", at=""))


def _with_label(content: bytes, label: str, version: str) -> bytes:
    """The labels file with one line changed or added; comments and other lines stay as they are."""
    line = f"{label}: '{version}'\n".encode()
    pattern = re.compile(rb"^(['\"]?)" + re.escape(label).encode() + rb"\1[ \t]*:[^\n]*\n?", re.MULTILINE)
    if pattern.search(content):
        return pattern.sub(lambda _: line, content, count=1)
    start = content if not content or content.endswith(b"\n") else content + b"\n"
    return start + line
