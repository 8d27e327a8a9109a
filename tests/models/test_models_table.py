"""Reading LiteLLM's table: the real one for its shape, made-up ones for its faults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import ModelError
from offramp.models.table import Table, load_table, price_table_version, valid_date
from offramp.records import Price, Usage


def table_of(tmp_path: Path, **facts: Any) -> Table:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"m": {"litellm_provider": "openai", "mode": "chat", **facts}}))
    return load_table(path)


def test_prices_are_per_million_tokens_by_class(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        input_cost_per_token=2.5e-06,
        cache_read_input_token_cost=1.25e-06,
        cache_creation_input_token_cost=3e-06,
        output_cost_per_token=1e-05,
        output_cost_per_reasoning_token=1.2e-05,
    )
    assert table.by_key["m"].price == Price(
        input_usd=2.5, cached_input_usd=1.25, cache_write_usd=3.0, output_usd=10.0, reasoning_usd=12.0
    )


def test_a_missing_price_is_unknown_and_a_listed_zero_is_free(tmp_path: Path) -> None:
    assert table_of(tmp_path).by_key["m"].price is None


def test_a_listed_zero_is_a_price(tmp_path: Path) -> None:
    price = table_of(tmp_path, input_cost_per_token=0, output_cost_per_token=0.0).by_key["m"].price
    assert price is not None and price.known and price.cost_usd(Usage(input_tokens=5)) == 0.0


def test_half_a_price_is_kept_but_not_known(tmp_path: Path) -> None:
    price = table_of(tmp_path, input_cost_per_token=1e-6).by_key["m"].price
    assert price is not None and price.input_usd == 1.0 and not price.known


@pytest.mark.parametrize("meter", ["input_cost_per_request", "input_cost_per_second", "cost_per_second"])
def test_a_model_billed_by_another_meter_has_no_known_price(tmp_path: Path, meter: str) -> None:
    facts = {"input_cost_per_token": 0.0, "output_cost_per_token": 1e-6, meter: 0.005}
    assert table_of(tmp_path, **facts).by_key["m"].price is None


@pytest.mark.parametrize("junk", [-1e-6, "1e-6", True, None, [1], float("inf")])
def test_a_price_that_is_no_number_from_zero_up_is_unknown(tmp_path: Path, junk: Any) -> None:
    assert table_of(tmp_path, input_cost_per_token=junk).by_key["m"].price is None


@pytest.mark.parametrize("junk", ["2026-02-30", "soon", "2026-13-01", 20260101, None, ""])
def test_a_date_that_is_none_is_unknown(tmp_path: Path, junk: Any) -> None:
    assert table_of(tmp_path, deprecation_date=junk).by_key["m"].retirement_date is None


@given(st.dates())
def test_every_iso_date_is_kept(day: Any) -> None:
    assert valid_date(day.isoformat()) == day.isoformat()


@pytest.mark.parametrize("junk", [0, -5, "many", True, None])
def test_a_context_that_is_no_count_is_unknown(tmp_path: Path, junk: Any) -> None:
    assert table_of(tmp_path, max_input_tokens=junk).by_key["m"].context_tokens is None


def test_a_broken_table_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"half": ')
    with pytest.raises(ModelError, match="cannot be read as a price table"):
        load_table(tmp_path / "table.json")


def test_entries_that_are_no_models_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(
        json.dumps({"sample_spec": {"litellm_provider": "x"}, "a": 3, "b": {"mode": "chat"}})
    )
    assert load_table(tmp_path / "t.json").by_key == {}


def test_the_real_table_has_thousands_of_chat_models_with_unique_routes() -> None:
    rows = load_table().chat_rows()
    assert len(rows) > 1000
    assert len({row.route for row in rows}) == len(rows)
    assert all(row.route.startswith(row.provider + "/") for row in rows)
    assert sum(row.retirement_date is not None for row in rows) > 100
    assert "sample_spec" not in load_table().by_key


def test_a_name_is_found_with_and_without_its_provider() -> None:
    table = load_table()
    assert table.find("gpt-4o") is table.find("openai/gpt-4o") is not None
    assert table.find("anthropic/gpt-4o") is None


def test_a_tuned_model_is_billed_as_its_base() -> None:
    row = load_table().find("ft:gpt-4o-2024-08-06:acme::abc")
    assert row is not None and row.key == "ft:gpt-4o-2024-08-06"
    assert row is load_table().find("openai/ft:gpt-4o-2024-08-06:acme::abc")


def test_the_version_names_the_package_and_the_content() -> None:
    assert price_table_version().startswith("litellm 1.") and " sha256:" in price_table_version()


def test_reading_the_table_imports_no_litellm() -> None:
    code = (
        "import sys; from offramp.models.catalogue import list_models; assert list_models();"
        "print([m for m in ('litellm', 'dspy', 'optuna', 'pandas', 'torch', 'httpx', 'xllamacpp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
