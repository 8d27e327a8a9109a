"""Numbered steps from one schema version to the next.

`MIGRATIONS[n - 1]` leads from version n - 1 to n. A fresh database gets today's tables at once and is stamped with the
latest version; an older one takes the steps it lacks. A database written by a newer offramp is refused, never guessed.
Steps run inside one write transaction, so a killed migration leaves the old version whole.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from offramp.errors import StorageError, problem
from offramp.store import tables

Step = Callable[[sa.Connection], None]
Columns = Mapping[str, Mapping[str, str]]
"""By table: columns and their types."""
_LOCK = 0x0FF7A3B  # any number that no other program locks


def _create(*made: sa.Table) -> Step:
    """Makes tables that are missing: an older step may have made those of today."""

    def step(conn: sa.Connection) -> None:
        tables.metadata.create_all(conn, tables=made)

    return step


def _add(lacking: Columns) -> Step:
    """Adds columns that are missing, by table; what is stored already has NULL in them."""

    def step(conn: sa.Connection) -> None:
        for table, columns in lacking.items():
            known = {column["name"] for column in sa.inspect(conn).get_columns(table)}
            for name in (name for name in columns if name not in known):
                conn.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}"))

    return step


def _probes(conn: sa.Connection) -> None:
    """Latency probes; and the mean square of scores, so that intervals need no result read again."""
    _create(tables.probes)(conn)
    _add({tables.summaries.name: {"quality_square": "DOUBLE PRECISION"}})(conn)
    r, s = tables.results.c, tables.summaries.c
    same = (r.study == s.study, r.split == s.split, r.candidate == s.candidate)
    square = sa.select(sa.func.avg(r.score * r.score)).where(*same).scalar_subquery()
    conn.execute(tables.summaries.update().where(s.quality_square.is_(None)).values(quality_square=square))


_COUNTS = ("n_cut", "n_cut_reasoning", "n_filtered", "n_refused", "n_empty", "n_unreadable", "n_other_model")
_CALLS, _RESULTS, _SUMMARIES = tables.calls.name, tables.results.name, tables.summaries.name
_READABLE: Mapping[int, Columns | sa.Table] = {
    6: {
        _CALLS: {"answered_by": "TEXT", "fingerprint": "TEXT"},
        _RESULTS: {"ending": "VARCHAR(20)", "reasoning_only": "BOOLEAN", "other_model": "TEXT"},
        _SUMMARIES: {**dict.fromkeys(_COUNTS, "INTEGER"), "other_model": "TEXT"},
    },
    7: {_RESULTS: {"others_usd": "DOUBLE PRECISION"}, _SUMMARIES: {"others_usd": "DOUBLE PRECISION"}},
    8: tables.header_notices,
    9: {_CALLS: {"service_tier": "VARCHAR(40)"}},
    10: tables.tool_results,
    11: tables.waves,
    12: {_CALLS: {"logprob": "DOUBLE PRECISION"}, _RESULTS: {"confidence": "DOUBLE PRECISION"}},
    13: tables.batch_lines,
    14: {_RESULTS: {"replicates": "TEXT"}, _SUMMARIES: {"n_runs": "INTEGER", "within_variance": "DOUBLE PRECISION"}},
}
"""What each version added, tables or columns that may be NULL: an older file can be read as if it had them, empty."""
MIGRATIONS: Sequence[Step] = (
    tables.metadata.create_all,
    _create(tables.candidates, tables.summaries),
    _create(tables.variants),
    _probes,
    _add({tables.budgets.name: {"surplus": "DOUBLE PRECISION NOT NULL DEFAULT 1"}}),
    *(_create(added) if isinstance(added, sa.Table) else _add(added) for added in _READABLE.values()),
)
LATEST = len(MIGRATIONS)


def views_of(version: int) -> tuple[str, ...] | None:
    """Temporary views that let SQLite read an older version without a change to its file; None where none would do."""
    if not min(_READABLE) - 1 <= version < LATEST:
        return None
    later = [added for number, added in _READABLE.items() if number > version]
    lacking: dict[str, list[str]] = {}
    for table, columns in (item for added in later if not isinstance(added, sa.Table) for item in added.items()):
        lacking.setdefault(table, []).extend(columns)
    wider = (
        f"CREATE TEMP VIEW {table} AS SELECT *, {', '.join(f'NULL AS {name}' for name in columns)} FROM main.{table}"
        for table, columns in lacking.items()
    )
    empty = (
        f"CREATE TEMP VIEW {table.name} AS SELECT {', '.join(f'NULL AS {c.name}' for c in table.c)} WHERE 0"
        for table in later
        if isinstance(table, sa.Table)
    )
    return (*wider, *empty)


def stored_version(conn: sa.Connection) -> int:
    """Version of the open database; 0 where offramp has not written yet."""
    if not sa.inspect(conn).has_table(tables.schema_version.name):
        return 0
    return conn.scalar(sa.select(sa.func.max(tables.schema_version.c.version))) or 0


def check_version(version: int, where: str) -> None:
    """Refuse a database that a newer offramp has written."""
    if version > LATEST:
        raise StorageError(
            problem(where, "schema version", got=version, expected=f"at most {LATEST}", do="Update offramp to open it.")
        )


def migrate(conn: sa.Connection, where: str) -> None:
    """Bring the database to the latest version; `conn` is in a write transaction that the caller commits."""
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    version = stored_version(conn)
    check_version(version, where)
    if version == 0:
        tables.metadata.create_all(conn)
    for step in MIGRATIONS[version:] if version else ():
        step(conn)
    if version < LATEST:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        conn.execute(tables.schema_version.insert().values(version=LATEST, applied_at=now))
