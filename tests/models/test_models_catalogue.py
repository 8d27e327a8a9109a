"""From names in a space file to models: spellings, aliases, overrides, keys, capabilities."""

from __future__ import annotations

import datetime
import os

import pytest

from offramp.errors import ModelError
from offramp.models import keys
from offramp.models.capabilities import LLAMA_CPP_PARAMS, adjusted, supported_params, with_capabilities
from offramp.models.catalogue import days_left, list_models, resolve
from offramp.models.gguf_files import EMBEDDED
from offramp.records import Model, Price
from offramp.space.model import ModelPart, PricePart


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_TOKEN", "_API_BASE"))]:
        monkeypatch.delenv(name)


def test_two_spellings_are_one_route() -> None:
    bare, full = resolve("gpt-4o", "f"), resolve("openai/gpt-4o", "f")
    assert bare.route == full.route == "openai/gpt-4o"
    assert (bare.name, full.name) == ("gpt-4o", "openai/gpt-4o")
    assert bare.price is not None and bare.price.known
    assert resolve("claude-haiku-4-5", "f").provider == "anthropic"


def test_an_embedded_model_is_pinned_by_its_hash_and_priced_by_the_hour() -> None:
    for known in EMBEDDED:
        model = resolve(known.name, "f")
        assert model.local and model.revision == known.sha256
        assert model.price == Price(compute_usd_per_hour=0.10)
        assert model.supported_params == LLAMA_CPP_PARAMS and model.supports_json_schema


def test_an_unknown_name_offers_the_nearest_of_its_provider() -> None:
    with pytest.raises(ModelError, match=r"f\.yaml: models\[0\]: .*got 'openai/gpt-4oo'.*Did you mean 'openai/gpt-4o'"):
        resolve("openai/gpt-4oo", "f.yaml: models[0]")


def test_an_unknown_name_without_provider_offers_what_is_near_anywhere() -> None:
    with pytest.raises(ModelError, match="'claude-haiku-4-5'"):
        resolve("claude-haiku-4.5", "f")


def test_an_unknown_embedded_name_offers_the_embedded_ones() -> None:
    with pytest.raises(ModelError, match="Did you mean 'local/smollm2-135m'"):
        resolve("local/smollm-135m", "f")


def test_a_model_that_does_not_chat_is_refused() -> None:
    with pytest.raises(ModelError, match="not a chat model: got 'embedding'"):
        resolve("text-embedding-3-small", "f")


def test_an_alias_calls_its_route_and_keeps_its_name() -> None:
    model = resolve(ModelPart(name="main", route="openai/gpt-4o"), "f")
    assert (model.name, model.route) == ("main", "openai/gpt-4o")


def test_a_server_of_ones_own_is_asked_in_openai_form_and_needs_no_key() -> None:
    model = resolve(ModelPart(name="Qwen/Qwen3-4B", api_base="http://localhost:8000/v1"), "f")
    assert model.route == "openai/Qwen/Qwen3-4B"
    assert model.price is None and model.api_key_env is None and keys.missing_key(model) is None
    assert model.supported_params is None and with_capabilities(model).supported_params is None


def test_a_vendors_price_is_not_taken_for_a_server_on_this_machine() -> None:
    assert resolve(ModelPart(name="gpt-4o", api_base="http://127.0.0.1:4000"), "f").price is None
    priced = ModelPart(name="gpt-4o", api_base="http://127.0.0.1:4000", price=PricePart(input_usd=1, output_usd=2))
    assert resolve(priced, "f").price == Price(input_usd=1, output_usd=2)


def test_a_vendors_key_is_never_paired_with_a_strangers_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    for address in ("https://evil.example/v1", "https://api.openai.com.evil.example", "http://api.openai.com/v1"):
        assert resolve(ModelPart(name="gpt-4o", api_base=address), "f").api_key_env is None
    for address in ("https://api.openai.com/v1", "https://mine.openai.azure.com"):
        assert resolve(ModelPart(name="gpt-4o", api_base=address), "f").api_key_env == "OPENAI_API_KEY"


def test_what_the_file_states_wins() -> None:
    part = ModelPart(
        name="gpt-4o",
        api_key_env="TEAM_KEY",
        price=PricePart(compute_usd_per_hour=2.0),
        json_schema_output=False,
        context_tokens=1000,
        retirement_date="2027-01-31",
        supports=["temperature"],
    )
    model = resolve(part, "f")
    assert model.api_key_env == "TEAM_KEY" and keys.missing_key(model) == "TEAM_KEY"
    assert model.price == Price(compute_usd_per_hour=2.0)
    assert not model.supports_json_schema and model.context_tokens == 1000
    assert model.retirement_date == "2027-01-31" and model.supported_params == {"temperature"}


def test_a_model_newer_than_the_table_is_taken_when_it_comes_with_a_price() -> None:
    part = ModelPart(name="openai/gpt-99", price=PricePart(input_usd=1, output_usd=1))
    assert resolve(part, "f").route == "openai/gpt-99"


@pytest.mark.parametrize("address", ["ftp://x", "localhost:8000", "https://me:secret@x.example/v1", "http://[::1"])
def test_an_address_that_cannot_be_right_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(ModelError, match="api_base") as caught:
        resolve(ModelPart(name="x", api_base=address), "f")
    assert "secret" not in str(caught.value)


def test_a_retirement_date_that_is_no_day_is_refused() -> None:
    with pytest.raises(ModelError, match="got '2027-02-30'"):
        resolve(ModelPart(name="gpt-4o", retirement_date="2027-02-30"), "f")


def test_an_embedded_model_takes_no_address_and_no_more_context_than_it_has() -> None:
    with pytest.raises(ModelError, match="has no api_base"):
        resolve(ModelPart(name="local/smollm2-135m", api_base="http://localhost:1"), "f")
    with pytest.raises(ModelError, match="got 9000, expected at most 8192"):
        resolve(ModelPart(name="local/smollm2-135m", context_tokens=9000), "f")
    assert resolve(ModelPart(name="local/gemma-3-270m", context_tokens=32768), "f").context_tokens == 32768


# ------------------------------------------------------------------------------------------------ keys


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("gpt-4o", "OPENAI_API_KEY"),
        ("claude-haiku-4-5", "ANTHROPIC_API_KEY"),
        ("gemini/gemini-2.5-flash", "GEMINI_API_KEY"),
        ("local/smollm2-135m", None),
    ],
)
def test_the_missing_key_is_named(name: str, variable: str | None) -> None:
    assert keys.missing_key(resolve(name, "f")) == variable


def test_an_empty_key_is_a_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert keys.missing_key(resolve("gpt-4o", "f")) == "OPENAI_API_KEY"
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert keys.missing_key(resolve("gpt-4o", "f")) is None


def test_any_variable_that_the_provider_accepts_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "x")
    model = resolve("gemini/gemini-2.5-flash", "f")
    assert keys.missing_key(model) is None and model.api_key_env is None


def test_a_provider_outside_the_list_is_asked_of_litellm() -> None:
    assert keys.missing_key(Model(name="m", route="nlp_cloud/m")) == "NLP_CLOUD_API_KEY"


@pytest.mark.parametrize(
    "address", ["http://localhost:1", "http://127.0.0.9", "https://[::1]:8/v1", "http://x.localhost"]
)
def test_loopback_addresses_are_known(address: str) -> None:
    assert keys.is_loopback(address)


@pytest.mark.parametrize("address", [None, "http://10.0.0.1", "http://localhost.example", "http://127.example.com"])
def test_other_addresses_are_not_loopback(address: str | None) -> None:
    assert not keys.is_loopback(address)


# ---------------------------------------------------------------------------------------- capabilities


def test_reasoning_effort_is_only_for_models_that_reason() -> None:
    plain, reasoning = (supported_params(resolve(name, "f")) for name in ("gpt-4o", "gpt-5"))
    assert plain is not None and "temperature" in plain and "reasoning_effort" not in plain
    assert reasoning is not None and "reasoning_effort" in reasoning and "top_p" not in reasoning


def test_supports_adds_takes_away_or_replaces() -> None:
    known = frozenset({"temperature", "seed"})
    assert adjusted(known, ["top_k"]) == {"top_k"}
    assert adjusted(known, ["+top_k", "-seed"]) == {"temperature", "top_k"}
    assert adjusted(known, ["a", "+b", "-a"]) == {"b"}
    assert adjusted(None, ["+b"]) == {"b"}
    model = resolve(ModelPart(name="local/smollm2-135m", supports=["-mirostat"]), "f")
    assert model.supported_params == LLAMA_CPP_PARAMS - {"mirostat"}


# --------------------------------------------------------------------------------------------- listing


def test_the_short_list_has_embedded_models_and_those_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    short = list_models(everything=False)
    assert {row.name for row in short} == {model.name for model in EMBEDDED}
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    providers = {row.provider for row in list_models(everything=False)}
    assert providers == {"local", "anthropic"}


def test_rows_can_be_searched_and_count_days(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list_models(provider="openai", search="GPT-4O", today=datetime.date(2026, 1, 1))
    assert "openai/gpt-4o" in {row.name for row in rows} and all("gpt-4o" in row.name for row in rows)
    assert not any(row.runs_here for row in rows)
    assert [days_left(date, datetime.date(2026, 1, 1)) for date in ("2026-01-31", "2025-12-31", None)] == [30, -1, None]
