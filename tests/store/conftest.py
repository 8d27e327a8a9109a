"""The storage under test: every test that takes `store` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from offramp.store import tables
from offramp.store.engine import open_store


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/offramp.db"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store_url(request, sqlite_url):
    if request.param == "sqlite":
        yield sqlite_url
        return
    url = request.getfixturevalue("postgres_url")
    yield url
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    tables.metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def store(store_url):
    with open_store(store_url) as opened:
        yield opened
