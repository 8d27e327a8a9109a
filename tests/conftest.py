"""What holds for every test: no key from the environment, no network but loopback; a PostgreSQL server and an embedded model
on request. Who asks for one of these, or for a browser, is marked by it: `make quick` runs the tests without such marks.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from local_models import pulled

settings.register_profile("any machine", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("any machine")

_KEYS = re.compile(r"(_API_KEY|_TOKEN|_SECRET|_ACCESS_KEY)$")


_MARKS = {"postgres_url": "postgres", "browser": "browser", "smollm2": "local_model"}
"""Fixture to the mark of the tests that use it."""


_SLOW = (
    "cli/test_cli_optimize", "e2e/", "evaluate/test_answer_endings", "evaluate/test_evaluator", "lifecycle/test_migrate",
    "models/test_price_tiers", "promote/test_check", "study/test_compare", "study/test_false_better", "study/test_recommend",
    "promote/test_exports", "review/", "promote/test_labels_and_history", "promote/test_loading", "promote/test_promote",
    "properties/test_intervals", "search/racing/", "search/test_verify", "study/test_json_outputs",
    "search/test_estimate", "search/test_holdout_reserve", "search/test_live_racing", "search/test_parked_models",
    "search/test_optuna_study", "search/test_priced_by_tier", "search/test_proposals", "search/test_replay",
    "search/test_search_jobs", "search/test_search_killed", "search/test_search_over_http", "search/test_state",
    "search/test_warm_starts", "space/test_space_fuzz", "store/test_budget", "study/test_report_numbers",
    "test_benchmarks",
)  # fmt: skip
"""Files of tests that together take longer than `make quick` may: whole jobs again and again, processes, many draws."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by what they use and by how long their file takes; tests on real models go first, alone the longest."""
    items.sort(key=lambda item: "e2e/" not in item.nodeid)
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(_SLOW):
            item.add_marker("slow")
        for name in _MARKS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(_MARKS[name])


@pytest.fixture
def smollm2(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the smallest embedded model, in the user's own cache folder."""
    pulled(monkeypatch, "local/smollm2-135m")
    return "local/smollm2-135m"


@pytest.fixture(autouse=True)
def _sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take keys away and refuse every connection that would leave this machine."""
    for name in [name for name in os.environ if _KEYS.search(name)]:
        monkeypatch.delenv(name)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


def _guarded(connect):
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _loopback(address[0]):
            raise RuntimeError(f"a test tried to reach {address!r}; only loopback is allowed")
        return connect(self, address)

    return guarded


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    return False


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an empty database on a PostgreSQL server of its own; skips only where there are no binaries."""
    initdb, postgres = _binary("initdb"), _binary("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed")
    with _postgres_folder() as folder:
        user = _unprivileged()
        if user is not None:
            shutil.chown(folder, user, user)
        who = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        data = folder / "data"
        init = [initdb, "-D", str(data), "-U", "offramp", "--auth=trust", "-E", "UTF8", "--no-sync", "--locale=C"]
        subprocess.run(init, check=True, capture_output=True, cwd=folder, **who)
        port = _free_port()
        with (folder / "log").open("wb") as log:
            command = [postgres, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **who)
        try:
            _wait_for(port, server, folder / "log")
            yield f"postgresql://offramp:unused-password@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait()


@contextlib.contextmanager
def _postgres_folder() -> Iterator[Path]:
    """A folder with a short path that another user may enter: pytest's own are closed to others."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="offramp-pg-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _binary(name: str) -> str | None:
    if found := shutil.which(name):
        return found
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(places[-1]) if places else None


def _unprivileged() -> str | None:
    """A user to run the server as; None where this one will do. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            import grp

            with contextlib.suppress(KeyError):
                grp.getgrnam(name)
                return name
    pytest.skip("PostgreSQL refuses to run as root and there is no other user")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    while server.poll() is None:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"postgresql://offramp@127.0.0.1:{port}/postgres").close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
