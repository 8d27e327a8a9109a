"""Studies as the live page reads them, kept while nothing has changed: one source per study and weights.

Invariant: a source is used only while the study's stamp is the one it was read at; so a page never mixes two states.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from offramp.review.study_page import StudyPage, study_page
from offramp.review.study_source import StudySource
from offramp.store.candidates import CandidateStore
from offramp.store.engine import Store
from offramp.store.studies import StudyRow, StudyStore, change_stamp

_KEPT = 8
Key = tuple[str, str, tuple[tuple[str, float], ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A study as it was at one stamp: money spent since then is shown with the next candidate."""

    stamp: str
    source: StudySource
    page: StudyPage


class Library:
    """The studies of a storage. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Seen] = OrderedDict()

    def studies(self) -> tuple[StudyRow, ...]:
        """All studies, the newest first."""
        return StudyStore(self.store).list()

    def stamp(self, study: str) -> str:
        """What changes when the study does. Raises StorageError where there is none."""
        return change_stamp(self.store, study) or StudyStore(self.store).get(study).updated_at

    def row(self, study: str) -> StudyRow:
        """The record of a study. Raises StorageError where there is none."""
        return StudyStore(self.store).get(study)

    def tried(self, study: str) -> int:
        """How many candidates a study has tried."""
        return CandidateStore(self.store).count(study)

    def study(self, name: str, weights: Mapping[str, float] | None = None) -> Seen:
        """A study as it is now.

        Raises:
            StorageError: no such study. UsageError: weights that do not fit its objectives.
        """
        now = self.stamp(name)
        key = (name, now, None if weights is None else tuple(sorted(weights.items())))
        with self._lock:
            if key not in self._kept:
                base = self._kept.get((name, now, None))
                source = StudySource(self.store, name) if base is None else base.source
                source = source if weights is None else source.reweighed(weights)
                self._kept[key] = Seen(stamp=now, source=source, page=study_page(source, whole=False))
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]
