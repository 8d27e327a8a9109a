"""Opening a storage, and its transactions.

SQLite runs in WAL mode with foreign keys on, and its write transactions begin with BEGIN IMMEDIATE: a reader that turns
writer half-way could not wait for its turn and would fail. Writers of one process also queue on a lock, in order,
instead of polling the file's. PostgreSQL is reached through psycopg 3.

Invariant: whatever leaves `open_store` has been connected to, checked for its version and (unless `write_probe` is
false) written to, so that a wrong URL ends a command before anything was spent.

A database error becomes one of ours, by who has to act: before a job has begun a `StorageError` (exit code 2); while it
runs a `StorageFullError` for a full disk and a `JobError` for a lost or locked database. Programming errors keep their
traceback. Invariant: no message holds a password.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from offramp.errors import JobError, OfframpError, StorageError, StorageFullError, nearest, problem
from offramp.files import make_empty, make_folder, others_can_read
from offramp.scrubbing import refresh
from offramp.store import migrations, tables
from offramp.store.groups import Groups

_log = logging.getLogger("offramp")
_SAID: set[str] = set()
_CONNECT_S = 5
_BUSY_MS = 30_000
_WRITE = "offramp_write"


class Store:
    """An open storage. Safe to share between threads; not across a fork.

    Attributes:
        url: as people may see it, without the password.
        groups: writes what many tasks hand over together.
        rdb_url: for Optuna's own tables in the same database; holds the password, so show `url` instead.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock() if engine.dialect.name == "sqlite" else None
        self.url = shown(engine.url)
        self.groups = Groups(self.transaction, self.reading)
        self._upserts: dict[tuple[str, frozenset[str] | None], sa.Insert] = {}

    @property
    def rdb_url(self) -> str:
        """The full URL, password included; never for people."""
        return self._engine.url.render_as_string(hide_password=False)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A write transaction: commits at the end, rolls back on any error.

        Raises:
            StorageFullError: the disk or database is full.
            JobError: the database was lost, or stayed locked.
        """
        refresh()
        with translated(self.url), self._turn(), self._engine.connect() as conn:
            writing = conn.execution_options(**{_WRITE: True})
            with writing.begin():
                yield writing

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A consistent view for reading; raises what `transaction` raises."""
        refresh()
        with translated(self.url), self._engine.connect() as conn, conn.begin():
            yield conn

    def upsert(self, table: sa.Table, *, only: Collection[str] | None = None) -> sa.Insert:
        """An insert whose rows replace those with the same primary key; `only` these columns of them where given."""
        key = (table.name, None if only is None else frozenset(only))
        if key not in self._upserts:
            insert = self._insert(table)
            names = [c.name for c in table.c if not c.primary_key and (only is None or c.name in only)]
            changed = {name: insert.excluded[name] for name in names}
            where = [c.name for c in table.primary_key]
            self._upserts[key] = insert.on_conflict_do_update(index_elements=where, set_=changed)
        return self._upserts[key]

    def insert_if_absent(self, table: sa.Table) -> sa.Insert:
        """An insert that leaves out rows whose primary key is stored already."""
        return self._insert(table).on_conflict_do_nothing(index_elements=[c.name for c in table.primary_key])

    def _insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        return postgresql.insert(table) if self.dialect == "postgresql" else sqlite.insert(table)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        with self._lock:
            yield

    def close(self) -> None:
        """Closes every connection. The store cannot be used afterwards."""
        self.groups.close()
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(url: str, *, write_probe: bool = True, create: bool = False) -> Store:
    """Opens the storage at `url`, creating or upgrading the tables.

    Args:
        url: `sqlite:///folder/file.db` or `postgresql://user:password@host/database`.
        write_probe: write and roll back a row. When false nothing is written at all, for commands that only read;
            then the storage has to exist, with the latest tables or, for SQLite, those of the version before.
        create: whether the folder of a SQLite file may be created.

    Raises:
        StorageError: the URL, the server, the file or the schema version will not do. Never shows the password.
    """
    parsed = _parsed(url)
    where = shown(parsed)
    _prepare_file(parsed, where, create=create, must_exist=not write_probe)
    if not write_probe and (made := _read_only(parsed, where)) is not None:
        return made
    return _opened(Store(_engine(parsed, where)), parsed, write_probe=write_probe)


def _opened(store: Store, url: sa.URL, *, write_probe: bool) -> Store:
    try:
        if write_probe:
            _keep_private(url, store.url)
        _ready(store, write_probe)
    except (exc.SQLAlchemyError, OSError) as error:
        store.close()
        raise open_error(error, store.url) from None
    except OfframpError:
        store.close()
        raise
    return store


def _read_only(url: sa.URL, where: str) -> Store | None:
    """A SQLite file in a folder that cannot be written, where WAL mode could not make its files; None elsewhere.

    What a writer that was killed has left in the log beside it cannot be read, and that is logged.
    """
    path = Path(url.database or "")
    if url.get_backend_name() != "sqlite" or str(path).startswith("file:") or os.access(path.parent, os.W_OK):
        return None
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        if path.with_name(f"{path.name}-shm").exists():
            return None
        _log.warning("%s: the newest entries are in %s, which cannot be read in a read-only folder", where, log.name)
    at = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    engine = sa.create_engine(
        url, creator=lambda: sqlite3.connect(at, uri=True, check_same_thread=False), pool_size=8, max_overflow=24,
        hide_parameters=True,
    )  # fmt: skip
    sa.event.listen(engine, "connect", _tune_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return _opened(Store(engine), url, write_probe=False)


def _parsed(url: str) -> sa.URL:
    example = "sqlite:///results/offramp.db or postgresql://user@host/database"
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise StorageError(problem("storage", "not a URL", expected=example)) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        hint = nearest(parsed.drivername, ("sqlite", "postgresql"))
        raise StorageError(
            problem(
                "storage",
                "unknown kind of database",
                got=parsed.drivername,
                expected=example,
                do=hint or "Use SQLite, or PostgreSQL for a team.",
            )
        )
    return parsed


def _prepare_file(url: sa.URL, where: str, *, create: bool, must_exist: bool) -> None:
    if url.get_backend_name() != "sqlite":
        return
    if not url.database or url.database == ":memory:":
        raise StorageError(
            problem(where, "a storage in memory would not outlive the job", expected="sqlite:///folder/file.db")
        )
    path = Path(url.database)
    if path.is_dir():
        raise StorageError(problem(where, "storage is a folder", expected="a file"))
    if must_exist and not path.exists():
        raise StorageError(problem(where, "no storage there", do="Check the path, or run a job first."))
    folder = path.parent
    if folder.is_dir():
        return
    if not create:
        do = "Check the path; `offramp optimize` creates it."
        raise StorageError(problem(where, "folder does not exist", got=str(folder), do=do))
    try:
        make_folder(folder)
    except OSError as error:
        raise StorageError(
            problem(where, f"folder cannot be created ({error.strerror})", got=str(folder), do="Name another place.")
        ) from None


def _keep_private(url: sa.URL, where: str) -> None:
    """Makes a new SQLite file for its owner alone, as SQLite then makes those beside it; says so of one that is not."""
    path = Path(url.database or "")
    if url.get_backend_name() != "sqlite" or str(path).startswith("file:"):
        return
    make_empty(path)
    if others_can_read(path) and where not in _SAID:
        _SAID.add(where)
        _log.warning("%s: other users of this machine can read it; `offramp doctor` makes it private", path)


def _engine(url: sa.URL, where: str) -> sa.Engine:
    is_sqlite = url.get_backend_name() == "sqlite"
    options: dict[str, Any] = {"timeout": _BUSY_MS / 1000} if is_sqlite else {"connect_timeout": _CONNECT_S}
    try:
        engine = sa.create_engine(
            url, connect_args=options, pool_size=8, max_overflow=24, pool_pre_ping=not is_sqlite, hide_parameters=True
        )
    except (ImportError, exc.ArgumentError, exc.NoSuchModuleError, TypeError):
        raise StorageError(
            problem(where, "driver is not installed", expected="psycopg 3", do="Run: pip install 'offramp[postgres]'")
        ) from None
    if is_sqlite:
        sa.event.listen(engine, "connect", _tune_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tune_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _add_views(views: Sequence[str], connection: Any, _record: object) -> None:
    for view in views:
        connection.execute(view)


def _begin_sqlite(conn: sa.Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get(_WRITE) else "BEGIN")


def _ready(store: Store, write_probe: bool) -> None:
    engine = store._engine
    with engine.connect() as conn, conn.begin():
        version = migrations.stored_version(conn)
    migrations.check_version(version, store.url)
    if not write_probe:
        if version == 0:
            raise StorageError(problem(store.url, "holds no studies", do="Run a job with it first."))
        views = migrations.views_of(version) if engine.dialect.name == "sqlite" else None
        if version < migrations.LATEST and views is not None:
            engine.dispose()
            sa.event.listen(engine, "connect", partial(_add_views, views))
        elif version < migrations.LATEST:
            do = "`offramp doctor` with the same --storage brings it up to date; nothing in it is lost."
            raise StorageError(
                problem(store.url, "schema version", got=version, expected=str(migrations.LATEST), do=do)
            )
        return
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    with engine.connect() as conn:
        writing = conn.execution_options(**{_WRITE: True})
        with writing.begin():
            migrations.migrate(writing, store.url)
        with writing.begin() as probe:  # a read-only file or role shows itself now
            writing.execute(tables.schema_version.insert().values(version=-1, applied_at="probe"))
            probe.rollback()


def _use_wal(engine: sa.Engine) -> None:
    """Turns WAL mode on, which outlives the connection and has to be done outside a transaction."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()


# ---------------------------------------------------------------------------------------------- what a database says

_FULL = ("database or disk is full", "no space left", "disk i/o error", "could not extend file", "disk quota exceeded")
_HINTS = (
    ("file is not a database", "is not a database", "Name another file, or move this one away."),
    ("malformed", "is damaged", "Restore it from a backup."),
    ("readonly", "cannot be written", "Change its permissions, or name another place."),
    ("read-only", "cannot be written", "Change its permissions, or name another place."),
    ("unable to open database file", "cannot be opened", "Check that the folder exists and may be written."),
    ("database is locked", "stayed locked for 30 s", "Another program uses it: close that, or use another file."),
    ("password authentication failed", "refused the user name or password", "Check the storage URL."),
    ("no password supplied", "asks for a password", "Put it into the storage URL or into PGPASSWORD."),
    ("does not exist", "has no such database or role", "Create it, or correct the storage URL."),
    ("timeout", "did not answer within 5 s", "Check the host, the port and the network."),
    ("connection refused", "refused the connection", "Check that the server runs, and its host and port."),
    ("could not translate host", "has a host that cannot be found", "Check the host in the storage URL."),
    ("failed to resolve host", "has a host that cannot be found", "Check the host in the storage URL."),
    ("permission denied", "denies this user access", "Ask for the right to create and write tables."),
    ("too many clients", "has no free connection", "Close other programs, or raise max_connections."),
)


def is_full(error: BaseException) -> bool:
    """Whether the disk or database refused a write because it is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    cause = getattr(error, "orig", None) or error
    text = str(cause).lower()
    return getattr(cause, "sqlstate", None) == "53100" or any(part in text for part in _FULL)


def _described(error: BaseException) -> tuple[str, str]:
    """What is wrong and what to do. The driver's own words may quote the URL, so they are only searched for hints."""
    text = str(getattr(error, "orig", None) or error).lower()
    for part, what, do in _HINTS:
        if part in text:
            return what, do
    kind = type(getattr(error, "orig", None) or error).__name__
    return f"failed ({kind})", "Check the storage URL and the server's log."


def open_error(error: BaseException, where: str) -> StorageError:
    """The error for a storage that cannot be opened."""
    if is_full(error):
        return StorageError(problem(where, "storage is full", do="Make room, or name another place."))
    what, do = _described(error)
    return StorageError(problem(where, f"storage {what}", do=do))


def running_error(error: BaseException, where: str) -> OfframpError:
    """The error for a storage that fails under a running job."""
    if is_full(error):
        return StorageFullError(
            problem(where, "storage is full", do="Make room and run the same command again: what was paid for is kept.")
        )
    what, _ = _described(error)
    return JobError(
        problem(where, f"storage {what} while in use", do="Fix it and run the same command again: it resumes.")
    )


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turns a database's failures into ours; integrity and programming errors are bugs and pass through."""
    try:
        yield
    except (exc.IntegrityError, exc.ProgrammingError, exc.DataError) as error:
        if is_full(error) or error.connection_invalidated:
            raise running_error(error, where) from None
        raise
    except (exc.DBAPIError, exc.TimeoutError, OSError) as error:
        raise running_error(error, where) from None


def shown(url: sa.URL) -> str:
    """The URL as people may see it: no password, not even among the query parameters."""
    safe = {key: "***" if "pass" in key.lower() else value for key, value in url.query.items()}
    return url.set(query=safe).render_as_string(hide_password=True)
