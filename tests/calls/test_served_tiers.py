"""The tier that served a request is the one that the reply names, and it is billed at its price."""

import logging

import pytest

from offramp.calls.transports.replies import read_reply, token_usage
from offramp.evaluate.scoring import _unexplained
from offramp.program.run_log import Exchange, virtual_cost
from offramp.records import CallReply, CallRequest, Model, Price, Usage
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import LABELS, run_job, write_space

FLEX = Price(input_usd=1.0, output_usd=2.0)
FAST = Price(input_usd=4.0, output_usd=8.0)
PRICE = Price(input_usd=2.0, output_usd=4.0, tiers=(("flex", FLEX), ("priority", FAST)))
MODEL = Model(name="m", route="openai/m", price=PRICE)
USAGE = Usage(input_tokens=1000, output_tokens=500)
BODY = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
COUNTS = {"prompt_tokens": 5, "completion_tokens": 2}


def asked(tier):
    return CallRequest(model=MODEL, messages=(), params={} if tier is None else {"service_tier": tier})


def answered(tier):
    return CallReply(text="a", finish_reason="stop", usage=USAGE, latency_s=0.1, service_tier=tier)


@pytest.mark.parametrize(
    ("body", "tier"),
    [
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "default"}, "default"),
        ({"service_tier": None, "usage": {**COUNTS, "service_tier": "standard"}}, "standard"),
        ({"usage": {**COUNTS, "service_tier": "priority"}}, "priority"),
        ({"_hidden_params": {"provider_specific_fields": {"traffic_type": "ON_DEMAND"}}}, "default"),
        ({"_hidden_params": {"provider_specific_fields": {"traffic_type": "ON_DEMAND_FLEX"}}}, "flex"),
        ({"_hidden_params": {"provider_specific_fields": {"traffic_type": "PROVISIONED"}}}, None),
        ({}, None),
    ],
)
def test_a_reply_names_its_tier_in_the_way_of_its_provider(body, tier):
    whole = {**BODY, "usage": COUNTS, **body}
    assert read_reply(whole, token_usage(whole["usage"]), 0.1).service_tier == tier


@pytest.mark.parametrize(
    ("wanted", "served", "price"),
    [
        (None, None, PRICE), (None, "default", PRICE), (None, "priority", FAST), ("auto", "priority", FAST),
        ("flex", None, FLEX), ("flex", "flex", FLEX), ("flex", "default", PRICE), ("priority", "standard", PRICE),
        ("flex", "scale", FLEX),
    ],
)  # fmt: skip
def test_the_price_is_that_of_the_tier_that_served(wanted, served, price):
    found = asked(wanted).price_served(served)
    assert found.flat == price.flat
    one = Exchange(request=asked(wanted), reply=answered(served))
    assert virtual_cost([one]) == price.reply_usd(USAGE)
    assert _unexplained([one], []) == pytest.approx(price.reply_usd(USAGE) - asked(wanted).price.reply_usd(USAGE))


def test_flex_that_is_served_at_the_standard_tier_is_billed_and_counted_as_such(tmp_path, monkeypatch, caplog):
    """gpt-5.4 at flex costs half; this server has no room at flex."""
    from offramp.models.capabilities import quiet_litellm

    row = quiet_litellm().model_cost["gpt-5.4"]

    def script(body):
        number = int(body["messages"][-1]["content"].split()[1])
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return ServerReply(text=LABELS[number % 3], usage=usage, extra={"service_tier": "default"})

    with ScriptedServer(script) as server:
        for name, value in (("OPENAI_API_KEY", "k"), ("OPENAI_API_BASE", server.url), ("OPENAI_BASE_URL", server.url)):
            monkeypatch.setenv(name, value)
        space = write_space(
            tmp_path, models=["openai/gpt-5.4"], incumbent={"model": "openai/gpt-5.4", "instruction": "vague"},
            instructions={"vague": "Vague."}, params={"service_tier": "flex", "max_tokens": 50},
            search={"sampler": "random", "trials": 1, "concurrency": 2},
        )  # fmt: skip
        with caplog.at_level(logging.WARNING):
            result = run_job(space, tmp_path / "results", transport=None)
    right = 100 * row["input_cost_per_token"] + 10 * row["output_cost_per_token"]
    assert row["input_cost_per_token_flex"] < row["input_cost_per_token"]
    (member,) = result.report.members
    assert member.search.cost_usd == pytest.approx(right)
    assert result.spent_usd == pytest.approx(right * len(server.requests))
    said = [record.message for record in caplog.records if "service_tier" in record.message]
    assert said == ["openai/gpt-5.4: service_tier 'flex' was asked for and 'default' served: billed at its price"]
