"""`offramp doctor`: finds what is wrong, says what to do, leaves nothing behind and shows no secret."""

import json

import pytest
from click.testing import CliRunner

from offramp.cli import doctor as health
from offramp.cli.doctor import State, doctor, run_checks


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """An empty cache folder and no keys."""
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache"))
    for name in [name for name in health.os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)


def found(storage, name):
    checks = [check for check in run_checks(storage) if check.name == name]
    assert checks, f"no check is called {name}"
    return checks[0]


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path}/new/study.db"


def test_a_fit_machine_exits_0_and_nothing_is_left_behind(storage, tmp_path):
    done = CliRunner().invoke(doctor, ["--storage", storage, "--json"])
    report = json.loads(done.output)
    assert (done.exit_code, report["ok"]) == (0, True)
    assert {"python", "dspy", "cores", "memory", "cache", "storage", "keys", "prices"} <= {
        check["name"] for check in report["checks"]
    }
    assert list(tmp_path.iterdir()) == []


def test_the_table_ends_with_what_to_do(storage):
    done = CliRunner().invoke(doctor, ["--storage", storage])
    assert done.exit_code == 0
    assert "offramp models pull local/smollm2-135m" in done.output


def test_an_existing_storage_is_opened(tmp_path):
    (tmp_path / "study.db").touch()
    check = found(f"sqlite:///{tmp_path}/study.db", "storage")
    assert check.state is State.OK
    assert "opens" in check.found


def test_a_storage_that_is_no_database_fails(tmp_path):
    (tmp_path / "study.db").write_text("this is a shopping list, and a long one at that\n" * 50)
    done = CliRunner().invoke(doctor, ["--storage", f"sqlite:///{tmp_path}/study.db", "--json"])
    assert done.exit_code == 1
    states = {check["name"]: check["state"] for check in json.loads(done.output)["checks"]}
    assert states["storage"] == "fail"
    assert states["prices"] == "ok"


def test_a_storage_below_a_file_cannot_be_created(tmp_path):
    (tmp_path / "file").touch()
    assert found(f"sqlite:///{tmp_path}/file/study.db", "storage").state is State.FAIL


def test_a_cache_below_a_file_cannot_be_written(tmp_path, storage, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "file" / "cache"))
    check = found(storage, "cache")
    assert check.state is State.FAIL
    assert "OFFRAMP_CACHE" in (check.do or "")


def test_a_truncated_model_file_is_not_called_pulled(storage, tmp_path):
    models = tmp_path / "cache" / "models"
    models.mkdir(parents=True)
    (models / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    assert found(storage, "local/smollm2-135m").state is not State.OK


def test_keys_are_named_and_never_shown(storage, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret\n")
    monkeypatch.setenv("GROQ_API_KEY", " ")
    done = CliRunner().invoke(doctor, ["--storage", storage, "--json"])
    assert "very-secret" not in done.output
    assert found(storage, "keys").found == "OPENAI_API_KEY"
    assert found(storage, "OPENAI_API_KEY").state is State.WARN


def test_a_missing_package_fails_and_an_optional_one_does_not(storage, monkeypatch):
    monkeypatch.setattr(health.metadata, "requires", lambda _: ["no-such-package>=1", "nor-this>=2; extra == 'gp'"])
    needed, optional = found(storage, "no-such-package"), found(storage, "nor-this")
    assert (needed.state, optional.state) == (State.FAIL, State.OK)
    assert "no-such-package>=1" in (needed.do or "")
    assert "offramp[gp]" in (optional.do or "")


def test_a_package_that_is_too_old_fails(storage, monkeypatch):
    monkeypatch.setattr(health.metadata, "requires", lambda _: ["click>=999"])
    check = found(storage, "click")
    assert check.state is State.FAIL
    assert "expected click>=999" in check.found


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(storage, monkeypatch):
    def broken():
        raise RuntimeError("token sk-secret")

    monkeypatch.setattr(health, "available_memory_bytes", broken)
    check = found(storage, "machine")
    assert check.state is State.FAIL
    assert "sk-secret" not in check.found
    assert found(storage, "prices").state is State.OK


def test_little_memory_is_a_warning(storage, monkeypatch):
    monkeypatch.setattr(health, "available_memory_bytes", lambda: 1024)
    assert found(storage, "memory").state is State.WARN
    monkeypatch.setattr(health, "available_memory_bytes", lambda: None)
    assert found(storage, "memory").state is State.OK


def test_an_old_price_table_is_a_warning(storage, monkeypatch):
    assert found(storage, "prices").state is State.OK
    now = health.time.time()
    monkeypatch.setattr(health.time, "time", lambda: now + 1000 * 86400)
    check = found(storage, "prices")
    assert check.state is State.WARN
    assert "upgrade litellm" in (check.do or "")
