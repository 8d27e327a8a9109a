"""Opening a storage, and its transactions.

SQLite runs in WAL mode with foreign keys on, and its write transactions begin with BEGIN IMMEDIATE: a reader that turns
writer half-way could not wait for its turn and would fail. Writers of one process also queue on a lock, in order,
instead of polling the file's. PostgreSQL is reached through psycopg 3.

Invariant: whatever leaves `open_store` has been connected to, checked for its version and (unless `write_probe` is
false) written to, so that a wrong URL ends a command before anything was spent.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from offramp.errors import OfframpError, StorageError, nearest, problem
from offramp.store import migrations, tables
from offramp.store.faults import open_error, shown, translated

_CONNECT_S = 5
_BUSY_MS = 30_000
_WRITE = "offramp_write"


class Store:
    """An open storage. Safe to share between threads; not across a fork.

    Attributes:
        url: as people may see it, without the password.
        rdb_url: for Optuna's own tables in the same database; holds the password, so show `url` instead.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock() if engine.dialect.name == "sqlite" else None
        self.url = shown(engine.url)

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
        with translated(self.url), self._turn(), self._engine.connect() as conn:
            writing = conn.execution_options(**{_WRITE: True})
            with writing.begin():
                yield writing

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A consistent view for reading; raises as `transaction` does."""
        with translated(self.url), self._engine.connect() as conn, conn.begin():
            yield conn

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        with self._lock:
            yield

    def close(self) -> None:
        """Give every connection back. The store cannot be used after."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(url: str, *, write_probe: bool = True, create: bool = False) -> Store:
    """Open the storage at `url`, creating or upgrading the tables.

    Args:
        url: `sqlite:///folder/file.db` or `postgresql://user:password@host/database`.
        write_probe: write and roll back a row. When false nothing is written at all: for commands that only look;
            then the storage has to exist with the latest tables.
        create: whether the folder of a SQLite file may be created.

    Raises:
        StorageError: the URL, the server, the file or the schema version will not do. Never shows the password.
    """
    parsed = _parsed(url)
    where = shown(parsed)
    _prepare_file(parsed, where, create=create, must_exist=not write_probe)
    engine = _engine(parsed, where)
    store = Store(engine)
    try:
        _ready(store, write_probe)
    except (exc.SQLAlchemyError, OSError) as error:
        engine.dispose()
        raise open_error(error, where) from None
    except OfframpError:
        engine.dispose()
        raise
    return store


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
            problem("storage", "unknown kind of database", got=parsed.drivername, expected=example, do=hint or None)
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
    if not path.parent.is_dir():
        _make_folder(path.parent, where, create)


def _make_folder(folder: Path, where: str, create: bool) -> None:
    if not create:
        raise StorageError(problem(where, "folder does not exist", got=str(folder), do="Create it first."))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            problem(where, f"folder cannot be created ({error.strerror})", got=str(folder), do="Name another place.")
        ) from None


def _engine(url: sa.URL, where: str) -> sa.Engine:
    sqlite = url.get_backend_name() == "sqlite"
    options: dict[str, Any] = {"timeout": _BUSY_MS / 1000} if sqlite else {"connect_timeout": _CONNECT_S}
    try:
        engine = sa.create_engine(
            url, connect_args=options, pool_size=8, max_overflow=24, pool_pre_ping=not sqlite, hide_parameters=True
        )
    except (ImportError, exc.ArgumentError, exc.NoSuchModuleError, TypeError):
        raise StorageError(
            problem(where, "driver is not installed", expected="psycopg 3", do="Run: pip install 'offramp[postgres]'")
        ) from None
    if sqlite:
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
        if version < migrations.LATEST:
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
        _probe(writing)


def _use_wal(engine: sa.Engine) -> None:
    """WAL outlives the connection; asked for outside a transaction, as SQLite wants it."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()


def _probe(conn: sa.Connection) -> None:
    """Write a row and take it back: a read-only file or role shows itself now."""
    with conn.begin() as writing:
        conn.execute(tables.schema_version.insert().values(version=-1, applied_at="probe"))
        writing.rollback()
