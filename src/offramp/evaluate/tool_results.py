"""Results of the tools of a study's module, in memory and in the storage alike: read once, then written through."""

from __future__ import annotations

import threading
from collections.abc import Collection

from offramp.program.tools import ToolResult
from offramp.store.engine import Store
from offramp.store.tool_results import ToolResultStore


class StudyToolResults:
    """What tools gave in a study. Safe to call from several threads; the storage is read at the first call.

    Args:
        effects: names of the tools that are never replayed.
        stored: when false, results are kept in memory alone.
        repeats: whether recorded runs are repeated, so that a tool with effects may not run.
    """

    def __init__(
        self, store: Store, study: str, *, effects: Collection[str] = (), stored: bool = True, repeats: bool = False
    ) -> None:
        self._store, self._study, self._stored = ToolResultStore(store), study, stored
        self._repeats = repeats
        self._effects = frozenset(effects)
        self._known: dict[str, ToolResult] | None = None
        self._lock = threading.Lock()

    def runs(self, tool: str) -> bool:
        """Whether this tool may run."""
        return not self._repeats or tool not in self._effects

    def replays(self, tool: str) -> bool:
        """Whether results of this tool are recorded and replayed."""
        return tool not in self._effects

    def get(self, key: str) -> ToolResult | None:
        """What is recorded; None where nothing is."""
        with self._lock:
            return self._loaded().get(key)

    def keep(self, key: str, tool: str, result: ToolResult) -> ToolResult:
        """Records a result. Returns the one that was recorded first."""
        with self._lock:
            known = self._loaded()
            if key not in known:
                if self._stored:
                    self._store.add(self._study, key, tool, result.text, result.seconds)
                known[key] = result
            return known[key]

    def _loaded(self) -> dict[str, ToolResult]:
        if self._known is None:
            found = self._store.all(self._study)
            self._known = {key: ToolResult(text=text, seconds=seconds) for key, (text, seconds) in found.items()}
        return self._known
