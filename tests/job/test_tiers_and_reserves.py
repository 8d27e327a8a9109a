"""Service tiers without a known price, and caps that have no room for one call, are refused before anything is sent."""

import csv
import json

import pytest

from offramp.errors import SpaceError
from offramp.job.reserving import check_reservable, one_calls, unlimited_in_words
from offramp.job.resolve import resolve_job
from offramp.space.load import load_space

SPACE = """
schema_version: 1
name: routing
task: {{signature: "ticket -> team: Literal['billing', 'technical']"}}
dataset: {{path: tickets.csv}}
metric: {{kind: exact, field: team}}
incumbent: {incumbent}
models: {models}
instructions: {{today: Route it.}}
params: {params}
budget: {budget}
"""
MINI, GPT5 = "openai/gpt-4.1-mini", "openai/gpt-5"
FLAT = json.dumps({"name": MINI, "price": {"input_usd": 1.0, "output_usd": 2.0}})


@pytest.fixture
def resolved(tmp_path):
    with (tmp_path / "tickets.csv").open("w") as file:
        rows = [[f"ticket {i} about {i * 7}", ("billing", "technical")[i % 2]] for i in range(24)]
        csv.writer(file).writerows([["ticket", "team"], *rows])

    def resolved(models, params="{}", *, incumbent=f"{{model: {MINI}, instruction: today}}", budget="{}"):
        path = tmp_path / "routing.yaml"
        text = SPACE.format(models=f"[{', '.join(models)}]", params=params, incumbent=incumbent, budget=budget)
        path.write_text(text)
        return resolve_job(load_space(path))

    return resolved


@pytest.mark.parametrize("tier", ["flex", "{choices: [default, flex]}", "{choices: [flex, null]}", "ultrafast"])
def test_a_tier_whose_price_is_not_known_is_refused_with_the_known_ones(resolved, tier):
    with pytest.raises(SpaceError) as refused:
        resolved([MINI], f"{{service_tier: {tier}}}")
    said = str(refused.value)
    name = "ultrafast" if tier == "ultrafast" else "flex"
    assert all(part in said for part in (repr(MINI), repr(name), "default, batch, priority", "routing.yaml:10"))


def test_the_incumbents_tier_is_asked_too(resolved):
    incumbent = f"{{model: {MINI}, instruction: today, params: {{service_tier: flex}}}}"
    with pytest.raises(SpaceError, match="incumbent"):
        resolved([MINI], incumbent=incumbent)


def test_a_tier_for_the_models_that_have_it_is_accepted(resolved):
    job = resolved([MINI, GPT5], f"{{service_tier: {{choices: [flex, default], when: {{model: [{GPT5}]}}}}}}")
    assert set(job.searched_models) == {MINI, GPT5}


def test_one_stated_price_holds_for_one_tier_and_not_for_several(resolved):
    assert resolved([FLAT], "{service_tier: flex}").models[MINI].price.for_tier("flex").input_usd == 1.0
    with pytest.raises(SpaceError, match=r"one stated price for the tiers \['default', 'flex'\]"):
        resolved([FLAT], "{service_tier: {choices: [default, flex]}}")


def test_without_max_tokens_it_is_said_what_one_call_reserves(resolved):
    job = resolved([MINI, GPT5])
    said = unlimited_in_words(job)
    assert "openai/gpt-5 reserves up to $1.28" in said and "128,000 tokens" in said and "max_tokens is not set" in said
    limited = f"{{model: {MINI}, instruction: today, params: {{max_tokens: 50}}}}"
    assert unlimited_in_words(resolved([MINI], "{max_tokens: 50}", incumbent=limited)) is None


def test_a_cap_below_one_call_is_refused_and_one_above_is_not(resolved):
    job = resolved([MINI, GPT5], budget="{usd: 1}")
    with pytest.raises(SpaceError) as refused:
        check_reservable(job, usd=1.0)
    said = str(refused.value)
    assert all(
        part in said
        for part in (repr(GPT5), "$1.28", "got 1.0", "Set max_tokens", "raise the budget", "routing.yaml:11")
    )
    check_reservable(job, usd=1.5)
    check_reservable(job, usd=None)
    check_reservable(resolved([MINI, GPT5], "{max_tokens: {choices: [50, 100]}}", budget="{usd: 1}"), usd=1.0)


def test_a_tier_changes_what_one_call_reserves(resolved):
    def most(params):
        job = resolved([GPT5], params, incumbent=f"{{model: {GPT5}, instruction: today}}")
        return next(call.usd[1] for call in one_calls(job))

    plain = most("{max_tokens: 1000}")
    assert most("{max_tokens: 1000, service_tier: priority}") == pytest.approx(2 * plain)
    assert most("{max_tokens: 1000, service_tier: {choices: [default, flex]}}") == pytest.approx(plain)
    assert most("{max_tokens: 1000, service_tier: flex}") == pytest.approx(plain / 2)
