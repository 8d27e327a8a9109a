"""Results of the tools of a study's module, so that a resumed study asks no tool twice."""

from __future__ import annotations

import sqlalchemy as sa

from offramp.store.engine import Store
from offramp.store.tables import tool_results


class ToolResultStore:
    """Results of every study of a storage: JSON text and seconds by key."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self, study: str) -> dict[str, tuple[str, float]]:
        """Every result of a study."""
        c = tool_results.c
        with self._store.reading() as conn:
            rows = conn.execute(sa.select(c.key, c.result, c.seconds).where(c.study == study))
            return {row.key: (row.result, row.seconds) for row in rows}

    def add(self, study: str, key: str, tool: str, text: str, seconds: float) -> None:
        """Stores a result, unless there is one."""
        row = {"study": study, "key": key, "tool": tool, "result": text, "seconds": seconds}
        with self._store.transaction() as conn:
            conn.execute(self._store.insert_if_absent(tool_results), row)
