"""Studies as the live page reads them, kept while nothing has changed: one source per study and weights.

Invariant: a source is used only while the study's stamp is the one it was read at; so a page never mixes two states.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from offramp.review.index_page import StudyCard, pace_of, study_card
from offramp.review.promotions import Label
from offramp.review.study_page import StudyPage, study_page
from offramp.review.study_source import StudySource
from offramp.store.candidates import CandidateStore
from offramp.store.engine import Store
from offramp.store.studies import StudyRow, StudyStatus, StudyStore, change_stamp
from offramp.study.domain.pace import Pace

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
        self._cards: dict[str, tuple[str, StudyCard]] = {}

    def studies(self) -> tuple[StudyRow, ...]:
        """All studies, the newest first."""
        return StudyStore(self.store).list()

    def cards(self, promoted: Mapping[str, tuple[Label, ...]]) -> tuple[StudyCard, ...]:
        """All studies as the list shows them, the newest first; those that have not changed are not read again."""
        return tuple(self._card(row, promoted.get(row.name, ())) for row in self.studies())

    def _card(self, row: StudyRow, labels: tuple[Label, ...]) -> StudyCard:
        stamp = self.stamp(row.name)
        kept = self._cards.get(row.name)
        if kept is None or kept[0] != stamp or row.status is StudyStatus.RUNNING:
            kept = self._cards[row.name] = (stamp, study_card(self.store, row, labels))
        return replace(kept[1], promoted=labels)

    def pace(self, study: str) -> Pace | None:
        """How far a study is; None unless it runs."""
        return pace_of(self.row(study))

    def stamp(self, study: str) -> str:
        """What changes when the study does. Raises StorageError where there is none."""
        return change_stamp(self.store, study) or StudyStore(self.store).get(study).updated_at

    def row(self, study: str) -> StudyRow:
        """The record of a study. Raises StorageError where there is none."""
        return StudyStore(self.store).get(study)

    def tried(self, study: str) -> int:
        """How many candidates a study has tried."""
        return CandidateStore(self.store).ended(study)

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
