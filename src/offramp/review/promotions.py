"""Promotions as the live page shows them: what was promoted from which study, history, undo."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from offramp.errors import PromotionError
from offramp.promote.folder import DEFAULT_LABEL, FeatureFolder, default_folder
from offramp.promote.history import Move, moves, undone_target


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label of a feature: the version that it points at, by which move, and to which one an undo goes back."""

    feature: str
    name: str
    version: str
    move: Move | None
    before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureView:
    """A feature as it is shown.

    Attributes:
        labels: where each points.
        history: the newest move first.
        folder: of all promotions; None for the usual one.
    """

    name: str
    labels: tuple[Label, ...]
    history: tuple[Move, ...]
    folder: str | None

    def app(self, label: str) -> str:
        """What an app runs to use a label."""
        more = "" if label == DEFAULT_LABEL else f", label={label!r}"
        more += "" if self.folder is None else f", promotions={self.folder!r}"
        load = f"program = offramp.load({self.name!r}{more})"
        return f"import offramp\n\n{load}\nanswer = program(...)  # your inputs, by name"

    def shell(self, label: Label) -> str:
        """How a terminal checks a label, and takes it back where there is a version to go back to."""
        more = "" if label.name == DEFAULT_LABEL else f" --label {quote(label.name)}"
        more += "" if self.folder is None else f" --promotions {quote(self.folder)}"
        commands = ("check", "rollback") if label.before else ("check",)
        return "\n".join(f"offramp {command} {self.name}{more}" for command in commands)


def feature_view(promotions: Path | None, feature: str) -> FeatureView:
    """A feature with its history. Raises PromotionError where nothing was promoted under that name."""
    folder = FeatureFolder(promotions, feature)
    if not folder.path.is_dir():
        folder.resolve()
    given = None if promotions is None else str(promotions)
    return FeatureView(
        name=feature, labels=tuple(_labels(folder)), history=tuple(reversed(moves(folder))), folder=given
    )


def promoted(promotions: Path | None) -> Mapping[str, tuple[Label, ...]]:
    """By study, the labels that point at a candidate of it; a feature whose files cannot be read is left out."""
    root, found = default_folder(promotions), defaultdict[str, list[Label]](list)
    for path in sorted(root.glob("*/labels.yaml")) if root.is_dir() else ():
        try:
            for label in _labels(FeatureFolder(promotions, path.parent.name)):
                if label.move is not None:
                    found[label.move.study].append(label)
        except PromotionError:
            continue
    return {study: tuple(labels) for study, labels in found.items()}


def _labels(folder: FeatureFolder) -> Iterator[Label]:
    history = moves(folder)
    for name, version in sorted(folder.labels().items()):
        move = next((m for m in reversed(history) if m.label == name and m.version == version), None)
        before = undone_target(history, name, version)
        yield Label(feature=folder.feature, name=name, version=version, move=move, before=before)
