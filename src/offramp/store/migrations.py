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

_LOCK = 0x0FF7A3B  # any number that no other program locks


def _v1(conn: sa.Connection) -> None:
    """The first tables."""
    tables.metadata.create_all(conn)


def _v2(conn: sa.Connection) -> None:
    """Candidates and their aggregates, so that a study can be looked at without reading each of its results."""
    for table in (tables.candidates, tables.summaries):
        table.create(conn, checkfirst=True)


def _v3(conn: sa.Connection) -> None:
    """Instructions that joined a study after its space file: proposed ones, and those of the study it started from."""
    tables.variants.create(conn, checkfirst=True)


def _v4(conn: sa.Connection) -> None:
    """Latency probes; and the mean square of scores, so that intervals need no result read again."""
    tables.probes.create(conn, checkfirst=True)
    r, s = tables.results.c, tables.summaries.c
    _add_column(conn, tables.summaries.name, "quality_square", "DOUBLE PRECISION")
    same = (r.study == s.study, r.split == s.split, r.candidate == s.candidate)
    square = sa.select(sa.func.avg(r.score * r.score)).where(*same).scalar_subquery()
    conn.execute(tables.summaries.update().where(s.quality_square.is_(None)).values(quality_square=square))


def _v5(conn: sa.Connection) -> None:
    """By how much bills have passed what was reserved for them."""
    _add_column(conn, tables.budgets.name, "surplus", "DOUBLE PRECISION NOT NULL DEFAULT 1")


_COUNTS = ("n_cut", "n_cut_reasoning", "n_filtered", "n_refused", "n_empty", "n_unreadable", "n_other_model")
_SINCE_5: Mapping[str, Mapping[str, str]] = {
    tables.calls.name: {"answered_by": "TEXT", "fingerprint": "TEXT"},
    tables.results.name: {"ending": "VARCHAR(20)", "reasoning_only": "BOOLEAN", "other_model": "TEXT"},
    tables.summaries.name: {**dict.fromkeys(_COUNTS, "INTEGER"), "other_model": "TEXT"},
}
"""Columns that version 5 lacks, by table; all may be NULL."""
_SINCE_6: Mapping[str, Mapping[str, str]] = {
    table.name: {"others_usd": "DOUBLE PRECISION"} for table in (tables.results, tables.summaries)
}
_SINCE_8: Mapping[str, Mapping[str, str]] = {tables.calls.name: {"service_tier": "VARCHAR(40)"}}
_SINCE_11: Mapping[str, Mapping[str, str]] = {
    tables.calls.name: {"logprob": "DOUBLE PRECISION"},
    tables.results.name: {"confidence": "DOUBLE PRECISION"},
}
_SINCE_12: Mapping[str, Mapping[str, str]] = {
    tables.results.name: {"replicates": "TEXT"},
    tables.summaries.name: {"n_runs": "INTEGER", "within_variance": "DOUBLE PRECISION"},
}
_SINCE: Mapping[int, Sequence[Mapping[str, Mapping[str, str]]]] = {
    5: (_SINCE_5, _SINCE_6, _SINCE_8, _SINCE_11, _SINCE_12), 6: (_SINCE_6, _SINCE_8, _SINCE_11, _SINCE_12),
    7: (_SINCE_8, _SINCE_11, _SINCE_12), 8: (_SINCE_8, _SINCE_11, _SINCE_12), 9: (_SINCE_11, _SINCE_12),
    10: (_SINCE_11, _SINCE_12), 11: (_SINCE_11, _SINCE_12), 12: (_SINCE_12,), 13: (_SINCE_12,),
}  # fmt: skip
"""What each version lacks that can be read without a change to its file."""


def views_of(version: int) -> tuple[str, ...] | None:
    """Temporary views that let SQLite read an older version without a change to its file; None where none would do."""
    if version not in _SINCE:
        return None
    lacking: dict[str, list[str]] = {}
    for since in _SINCE[version]:
        for table, columns in since.items():
            lacking.setdefault(table, []).extend(columns)
    wider = (
        f"CREATE TEMP VIEW {table} AS SELECT *, {', '.join(f'NULL AS {name}' for name in columns)} FROM main.{table}"
        for table, columns in lacking.items()
    )
    added = {tables.header_notices: 8, tables.tool_results: 10, tables.waves: 11, tables.batch_lines: 13}
    new = [table for table, number in added.items() if version < number]
    empty = (
        f"CREATE TEMP VIEW {table.name} AS SELECT {', '.join(f'NULL AS {c.name}' for c in table.c)} WHERE 0"
        for table in new
    )
    return (*wider, *empty)


def _v6(conn: sa.Connection) -> None:
    """How answers ended and which model gave them. What is stored already stays unknown."""
    _add_columns(conn, _SINCE_5)


def _v7(conn: sa.Connection) -> None:
    """What models beside the candidate's own cost. NULL: there were none."""
    _add_columns(conn, _SINCE_6)


def _v8(conn: sa.Connection) -> None:
    """What headers of replies said about the end of models."""
    tables.header_notices.create(conn, checkfirst=True)


def _v9(conn: sa.Connection) -> None:
    """The tier that served each request, as its reply says."""
    _add_columns(conn, _SINCE_8)


def _v10(conn: sa.Connection) -> None:
    """What tools of modules gave."""
    tables.tool_results.create(conn, checkfirst=True)


def _v11(conn: sa.Connection) -> None:
    """Which cells were decided on together."""
    tables.waves.create(conn, checkfirst=True)


def _v12(conn: sa.Connection) -> None:
    """How sure answers were: log probabilities of replies, confidence of results."""
    _add_columns(conn, _SINCE_11)


def _v13(conn: sa.Connection) -> None:
    """Which requests are out in a batch."""
    tables.batch_lines.create(conn, checkfirst=True)


def _v14(conn: sa.Connection) -> None:
    """The runs of an example that was run several times. NULL: it was run once."""
    _add_columns(conn, _SINCE_12)


def _add_columns(conn: sa.Connection, lacking: Mapping[str, Mapping[str, str]]) -> None:
    for table, columns in lacking.items():
        for name, kind in columns.items():
            _add_column(conn, table, name, kind)


def _add_column(conn: sa.Connection, table: str, name: str, kind: str) -> None:
    """Unless it is there: an older step makes today's tables."""
    if name not in {column["name"] for column in sa.inspect(conn).get_columns(table)}:
        conn.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {name} {kind}"))


MIGRATIONS: Sequence[Callable[[sa.Connection], None]] = (
    _v1, _v2, _v3, _v4, _v5, _v6, _v7, _v8, _v9, _v10, _v11, _v12, _v13, _v14
)  # fmt: skip
LATEST = len(MIGRATIONS)


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
