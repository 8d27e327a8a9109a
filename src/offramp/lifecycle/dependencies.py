"""Judges and proposers of promotions: as recorded, else as the study in the storage ran, else as the space file says.

Promotions of earlier versions do not record them.

Invariant: what cannot be found is named in `unknown`, never taken for nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from offramp.errors import OfframpError, StorageError
from offramp.promote.folder import default_folder
from offramp.promote.promotion import Dependency, Promotion
from offramp.space.load import load_space, space_from_json
from offramp.space.model import SpaceFile

if TYPE_CHECKING:
    from offramp.store.engine import Store


class DependencyReader:
    """Finds the dependencies of promotions.

    Args:
        promotions: their folder; space files are named relative to the folder that holds it.
        store: with their studies; None where there is none.

    Attributes:
        unknown: promotions whose dependencies nothing tells, by feature and version.
    """

    def __init__(self, promotions: Path | None, store: Store | None) -> None:
        self._root = default_folder(promotions).absolute().parent.resolve()
        self._store = store
        self.unknown: set[tuple[str, str]] = set()

    def __call__(self, promotion: Promotion) -> tuple[Dependency, ...]:
        """The judges and proposers of one promotion."""
        if promotion.dependencies is not None:
            return promotion.dependencies
        space = self.space_of(promotion)
        if space is None:
            self.unknown.add((promotion.feature, promotion.version))
            return ()
        from offramp.promote.dependencies import dependencies_of

        return dependencies_of(space)

    def space_of(self, promotion: Promotion) -> SpaceFile | None:
        """Its space as the study ran it, else as the file says now; None where neither is found."""
        return self._of_study(promotion) or self._of_file(promotion)

    def _of_study(self, promotion: Promotion) -> SpaceFile | None:
        if self._store is None:
            return None
        from offramp.store.studies import StudyStore

        try:
            return space_from_json(StudyStore(self._store).get(promotion.evidence.study).space_json)
        except (StorageError, ValueError):  # deleted, in another storage, or of a version that is not read any more
            return None

    def _of_file(self, promotion: Promotion) -> SpaceFile | None:
        named = promotion.evidence.space_file
        path = None if named is None else (self._root / named).resolve()
        if path is None or not path.is_relative_to(self._root):
            return None
        try:
            return load_space(path).space
        except OfframpError:  # moved, or changed since
            return None
