import os
import sqlite3
import threading

import pytest
import sqlalchemy as sa

from offramp.errors import JobError, StorageError, StorageFullError
from offramp.store import engine as engine_module
from offramp.store import tables
from offramp.store.engine import open_store
from offramp.store.migrations import LATEST

BAD = "hunter2secret"


def refusal(url, **options):
    with pytest.raises(StorageError) as caught:
        open_store(url, **options)
    assert BAD not in str(caught.value)
    return str(caught.value)


def test_a_fresh_storage_is_stamped_with_the_latest_version_and_opens_again(store_url):
    open_store(store_url).close()
    with open_store(store_url) as again, again.reading() as conn:
        assert conn.scalars(sa.select(tables.schema_version.c.version)).all() == [LATEST]


def test_only_looking_at_a_storage_that_is_not_there_creates_nothing(tmp_path):
    assert "no storage there" in refusal(f"sqlite:///{tmp_path}/x.db", write_probe=False)
    assert list(tmp_path.iterdir()) == []


def test_only_looking_at_an_old_storage_writes_nothing(sqlite_url):
    open_store(sqlite_url).close()
    with open_store(sqlite_url, write_probe=False) as looked:
        assert looked.dialect == "sqlite"


def test_a_missing_folder_is_created_only_when_asked(tmp_path):
    url = f"sqlite:///{tmp_path}/a/b/x.db"
    assert "folder does not exist" in refusal(url)
    open_store(url, create=True).close()
    assert (tmp_path / "a/b/x.db").exists()


def test_a_folder_that_is_in_the_way_of_a_file_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be created" in refusal(f"sqlite:///{tmp_path}/file/sub/x.db", create=True)
    assert "is a folder" in refusal(f"sqlite:///{tmp_path}")


def test_sqlite_runs_in_wal_mode_with_foreign_keys_and_a_busy_timeout(sqlite_url):
    with open_store(sqlite_url) as opened, opened.reading() as conn:
        pragmas = [
            conn.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert pragmas == ["wal", 1, 1, 30000]


def test_a_storage_in_memory_is_refused():
    assert "outlive" in refusal("sqlite://")


def test_a_file_that_is_no_database_is_named_as_such(tmp_path):
    (tmp_path / "x.db").write_bytes(b"this is a text file, not a database at all" * 100)
    assert "is not a database" in refusal(f"sqlite:///{tmp_path}/x.db")


def test_a_misspelt_kind_of_database_names_the_nearest():
    assert "Did you mean 'postgresql'?" in refusal(f"postgressql://u:{BAD}@h/db")
    assert "not a URL" in refusal("results/offramp.db")


def test_a_server_that_refuses_shows_no_password():
    text = refusal(f"postgresql://u:{BAD}@127.0.0.1:1/db")
    assert "refused the connection" in text and "***" in text


def test_a_password_among_the_query_parameters_is_not_shown_either():
    refusal(f"postgresql://127.0.0.1:1/db?user=u&password={BAD}")


def test_a_server_that_never_answers_gives_up_at_the_connect_timeout(monkeypatch):
    import socket

    monkeypatch.setattr(engine_module, "_CONNECT_S", 2)  # the least that libpq waits
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        assert "did not answer" in refusal(f"postgresql://u:{BAD}@127.0.0.1:{silent.getsockname()[1]}/db")


def test_a_database_that_does_not_exist_is_said_to_be_missing(postgres_url):
    assert "no such database" in refusal(postgres_url.replace("/postgres", "/nowhere"))


def test_a_missing_driver_names_what_to_install(monkeypatch):
    def without(*_, **__):
        raise ModuleNotFoundError("No module named 'psycopg'")

    monkeypatch.setattr(engine_module.sa, "create_engine", without)
    assert "offramp[postgres]" in refusal(f"postgresql://u:{BAD}@127.0.0.1:1/db")


def test_a_storage_of_a_newer_offramp_is_refused(store_url):
    with open_store(store_url) as opened, opened.transaction() as conn:
        conn.execute(tables.schema_version.insert().values(version=LATEST + 1, applied_at="later"))
    assert "Update offramp" in refusal(store_url)


def test_a_storage_of_an_older_offramp_is_not_looked_at_but_says_how_to_bring_it_up_to_date(store_url):
    with open_store(store_url) as opened, opened.transaction() as conn:
        conn.execute(tables.schema_version.update().values(version=4))
    with pytest.raises(StorageError, match="offramp doctor"):
        open_store(store_url, write_probe=False)
    open_store(store_url).close()
    open_store(store_url, write_probe=False).close()


def test_a_failed_transaction_leaves_nothing(store):
    with pytest.raises(KeyError), store.transaction() as conn:
        conn.execute(tables.budgets.insert().values(id="p"))
        raise KeyError
    with store.reading() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(tables.budgets)) == 0


def test_a_full_disk_under_a_running_job_is_said_to_be_full(sqlite_url):
    with open_store(sqlite_url) as opened, pytest.raises(StorageFullError, match="storage is full"):
        with opened.reading() as conn:
            pages = conn.exec_driver_sql("PRAGMA page_count").scalar()
        with opened.transaction() as conn:
            conn.exec_driver_sql(f"PRAGMA max_page_count={pages}")
            conn.execute(
                tables.studies.insert().values(
                    name="x",
                    space_name="x",
                    space_json="y" * 10**6,
                    space_hash="",
                    task_hash="",
                    seed=0,
                    created_at="",
                    updated_at="",
                    status="running",
                    extra={},
                )
            )


def test_a_server_that_dies_under_a_running_job_is_a_job_error(postgres_url):
    with open_store(postgres_url) as opened, pytest.raises(JobError, match="it resumes"), opened.transaction() as conn:
        conn.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_read_only_file_is_refused_before_the_job_begins(sqlite_url, monkeypatch):
    open_store(sqlite_url).close()
    connect = sqlite3.dbapi2.connect
    path = sqlite_url.removeprefix("sqlite:///")

    def read_only(_name, **options):
        return connect(f"file:{path}?mode=ro", **{**options, "uri": True})

    monkeypatch.setattr(sqlite3.dbapi2, "connect", read_only)
    assert "cannot be written" in refusal(sqlite_url)


def test_threads_that_open_the_same_fresh_storage_agree_on_one_schema(store_url):
    errors = []

    def work():
        try:
            open_store(store_url).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes")
def test_threads_that_write_at_the_same_time_all_succeed(store):
    def work(name):
        for n in range(20):
            with store.transaction() as conn:
                conn.execute(tables.budgets.insert().values(id=f"{name}-{n}"))

    threads = [threading.Thread(target=work, args=(str(i),)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(tables.budgets)) == 100
