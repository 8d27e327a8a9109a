"""The results of one study, in memory and in the storage alike: read once, then written through.

Invariant: a result is in the storage before it is in memory, so whatever was decided on survives the process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from offramp.records import Result, Split
from offramp.store.engine import Store
from offramp.store.long_texts import MOST_CHARS, cut_result
from offramp.store.results import ResultStore


class StudyResults:
    """What is known of the candidates of a study, by split, candidate id and example id.

    Args:
        store_text: when false, outputs and reasons are not kept.
        most_chars: of an output or a reason; longer ones are cut.
    """

    def __init__(
        self, store: Store, study: str, *, store_text: bool = True, most_chars: int = MOST_CHARS
    ) -> None:  # fmt: skip
        self._store, self._groups, self.study = ResultStore(store, store_text), store.groups, study
        self._most_chars = most_chars
        self._known: dict[tuple[Split, str], dict[str, Result]] = {}

    def load(self, split: Split, candidates: Collection[str] | None = None) -> None:
        """Reads what the storage has of one split; of these candidates alone where given."""
        found = (
            self._store.all(self.study, split)
            if candidates is None
            else self._store.some(self.study, split, candidates)
        )  # fmt: skip
        for candidate, results in found.items():
            self._known[split, candidate] = results

    def of(self, split: Split, candidate: str) -> Mapping[str, Result]:
        """Results of one candidate by example id, those without a score included; empty where none is known."""
        return self._known.get((split, candidate), {})

    async def keep(self, split: Split, result: Result) -> Result:
        """Keeps one result, in place of an earlier one for the same candidate and example; returns it as kept."""
        result = cut_result(result, self._most_chars)
        await self._groups.do(self._store.put_many, (self.study, split, result))
        self._known.setdefault((split, result.candidate), {})[result.example] = result
        return result
