"""Where promotions are, and reading what is there. Nothing here writes, and nothing but the floor and yaml is imported.

    promotions/<feature>/<version>.yaml      one immutable promotion each
    promotions/<feature>/data/<hash>.jsonl   rows that a promotion names by their hash: a pool of demos, holdout results
    promotions/<feature>/labels.yaml         label to version; the only file that changes
    promotions/<feature>/history.jsonl       one line for every move of a label

Invariant: a `Promotion` or rows that leave here have the hash that their name says, and a path never leaves the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offramp.errors import PromotionError, nearest, problem
from offramp.ids import content_hash
from offramp.promote.promotion import FORMAT_VERSION, FileRef, Promotion
from offramp.promote.serialization import Mismatch, Unreadable, read_yaml, record_of

SHORT = 12
"""Characters of a version."""
DEFAULT_LABEL = "production"
USUAL_FOLDER = Path("promotions")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_VERSION = re.compile(rf"[0-9a-f]{{{SHORT}}}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_LEAST = 4


def default_folder(given: str | Path | None = None) -> Path:
    """The promotions folder: what is given, else `OFFRAMP_PROMOTIONS`, else `promotions`."""
    return Path(given or os.environ.get("OFFRAMP_PROMOTIONS") or USUAL_FOLDER)


def checked_name(name: str, what: str) -> str:
    """The name of a feature or label. Raises PromotionError for one that could be a path or an option."""
    if not _NAME.match(name) or name.endswith("."):
        expected = "at most 64 letters, digits, `.`, `_` and `-`, a letter or digit first and no `.` last"
        near = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:64].rstrip(".")
        raise PromotionError(problem("", what, got=name, expected=expected, do=f"Take {near!r}." if near else None))
    return name


class FeatureFolder:
    """The promotions of one feature, to read."""

    def __init__(self, promotions: str | Path | None, feature: str) -> None:
        self.root = default_folder(promotions)
        self.feature = checked_name(feature, "feature")
        self.path = self.root / feature

    @property
    def labels_path(self) -> Path:
        """The labels file."""
        return self.path / "labels.yaml"

    @property
    def history_path(self) -> Path:
        """The history file."""
        return self.path / "history.jsonl"

    def version_path(self, version: str) -> Path:
        """The file of a version."""
        return self.path / f"{version}.yaml"

    def data_path(self, ref: FileRef) -> Path:
        """The file of some rows. Raises PromotionError where its name could be a path."""
        if not _SHA256.match(ref.sha256):  # it becomes a part of a path
            raise PromotionError(problem(str(self.path), "sha256 of rows", got=ref.sha256, expected="64 hex digits"))
        return self.path / "data" / f"{ref.sha256[:16]}.jsonl"

    def versions(self) -> tuple[str, ...]:
        """All versions that are here, sorted."""
        names = (path.stem for path in self.path.glob("*.yaml") if path.name != "labels.yaml")
        return tuple(sorted(name for name in names if _VERSION.match(name)))

    def labels(self) -> dict[str, str]:
        """Label to version; empty where nothing was promoted. Raises PromotionError for a file that is not that."""
        return labels_in(self._bytes(self.labels_path) or b"{}", str(self.labels_path))

    def pointed(self, label: str) -> str:
        """The version that a label points at. Raises PromotionError."""
        labels = self.labels()
        if label not in labels:
            do = nearest(label, labels) or (f"It has labels {sorted(labels)}." if labels else "Promote first.")
            raise PromotionError(problem(str(self.labels_path), "no such label", got=label, do=do))
        return labels[label]

    def resolve(self, name: str = DEFAULT_LABEL) -> str:
        """The version that a label points at, or that begins with `name`. Raises PromotionError."""
        labels = self.labels()
        if name in labels:
            return labels[name]
        hits = [version for version in self.versions() if version.startswith(name)] if len(name) >= _LEAST else []
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise PromotionError(
                problem(str(self.path), "matches several versions", got=name, expected=f"one of {hits}")
            )
        raise PromotionError(self._unknown(name, labels))

    def _unknown(self, name: str, labels: Mapping[str, str]) -> str:
        if not self.path.is_dir():
            others = [p.name for p in self.root.iterdir() if p.is_dir()] if self.root.is_dir() else []
            do = nearest(self.feature, others) or "Promote it first: `offramp promote STUDY`."
            return problem(str(self.root), "nothing was promoted for this feature", got=self.feature, do=do)
        known = [*labels, *self.versions()]
        do = nearest(name, known) or f"It has labels {sorted(labels)} and versions {list(self.versions())}."
        return problem(str(self.path), "no label or version has this name", got=name, do=do)

    def load(self, version: str) -> Promotion:
        """One version, checked against its hash. Raises PromotionError."""
        path = self.version_path(version)
        content = self._bytes(path)
        if content is None:
            do = "Restore it, for example with `git checkout`, or point the label at another version."
            raise PromotionError(problem(str(path), "the promotion is missing", do=do))
        return self._checked(parsed_promotion(content, str(path)), version, path)

    def _checked(self, found: Promotion, version: str, path: Path) -> Promotion:
        if found.version != version or found.feature != self.feature:
            what = f"its content says version {found.version} of {found.feature!r}"
            raise PromotionError(problem(str(path), what, expected=f"version {version} of {self.feature!r}"))
        return found

    def rows(self, ref: FileRef) -> tuple[Any, ...]:
        """Rows kept beside a promotion, checked against their hash. Raises PromotionError."""
        path = self.data_path(ref)
        content = self._bytes(path)
        if content is None:
            raise PromotionError(problem(str(path), "a file of the promotion is missing", do="Restore it."))
        content = content.replace(b"\r\n", b"\n")  # a checkout may have changed line ends; rows hold none of their own
        if hashlib.sha256(content).hexdigest() != ref.sha256:
            raise PromotionError(problem(str(path), "was changed after the promotion", do=_RESTORE))
        return tuple(json.loads(line) for line in content.split(b"\n") if line)

    def _bytes(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            do = "Name the folder of promotions with --promotions."
            raise PromotionError(problem(str(self.path), "is not a folder", do=do)) from None
        except OSError as error:
            raise PromotionError(problem(str(path), f"cannot be read: {error.strerror}")) from None


_RESTORE = "Restore it as it was; to change something, promote again."


def content_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the hash of a promotion is over: everything but its own name."""
    return {name: value for name, value in values.items() if name not in ("version", "sha256")}


def parsed_promotion(content: bytes, where: str) -> Promotion:
    """The promotion that a file holds. Raises PromotionError: unreadable, of another format, or changed."""
    values = _values(content, where)
    try:
        sha256 = content_hash(content_of(values))
    except (TypeError, ValueError):
        sha256 = ""
    if values.get("sha256") != sha256 or values.get("version") != sha256[:SHORT]:
        what = "was changed after the promotion: its content does not have the hash that it states"
        raise PromotionError(problem(where, what, do=_RESTORE))
    try:
        return record_of(Promotion, values)
    except Mismatch as error:
        raise PromotionError(problem(where, str(error))) from None


def _values(content: bytes, where: str) -> Mapping[str, Any]:
    try:
        values = read_yaml(content)
    except Unreadable as error:
        raise PromotionError(problem(where, f"cannot be read as a promotion: {error}", do=_RESTORE)) from None
    if not isinstance(values, dict):
        raise PromotionError(problem(where, "is not a promotion", got=type(values).__name__, expected="a mapping"))
    given = values.get("schema_version")
    if type(given) is not int or given != FORMAT_VERSION:
        newer = isinstance(given, int) and given > FORMAT_VERSION
        do = "Upgrade offramp." if newer else "Promote again with this release."
        raise PromotionError(problem(where, "schema_version", got=given, expected=str(FORMAT_VERSION), do=do))
    return values


def labels_in(content: bytes, where: str) -> dict[str, str]:
    """Label to version as a labels file says. Raises PromotionError."""
    lines = (b"" if line.lstrip().startswith(b"#") else line for line in content.splitlines())
    text = b"\n".join(lines).rstrip()
    try:
        values = read_yaml(text or b"{}")
    except Unreadable as error:
        do = "Resolve the merge conflict in it." if b"\n<<<<<<< " in b"\n" + content else None
        what = f"cannot be read: {error}"
        raise PromotionError(problem(where, what, expected="`label: version` lines", do=do)) from None
    if not isinstance(values, dict):
        raise PromotionError(problem(where, "is not a mapping", expected="`label: version` lines"))
    for label, version in values.items():
        checked_name(label, f"{where}: label")
        if not (isinstance(version, str) and _VERSION.match(version)):
            expected = f"a version of {SHORT} characters, in quotes"
            raise PromotionError(problem(where, label, got=version, expected=expected))
    return values
