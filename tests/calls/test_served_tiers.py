"""The tier that served a request is the one that the reply names, and it is billed at its price."""

import asyncio
import itertools
import logging
import random

import pytest

from offramp.calls.caller import open_caller
from offramp.calls.failures import Refused
from offramp.calls.transports.replies import read_reply, token_usage
from offramp.evaluate.scoring import _unexplained
from offramp.program.run_log import Exchange, virtual_cost
from offramp.records import CallReply, CallRequest, Model, Price, Usage
from offramp.space.model import CallsPart
from offramp.store.budget import Budget
from offramp.store.engine import open_store
from offramp.store.ledger import Ledger, priced
from offramp.testing.batches import ScriptedBatches
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


# ------------------------------------------------------------------- server, budget and ledger name the same amount

TOKENS = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
ENDINGS = {
    "answer": {},
    "refusal": {"message": {"role": "assistant", "content": None, "refusal": "I will not"}},
    "filtered": {"text": "", "finish_reason": "content_filter"},
    "no choices": {"choices": []},
    "mixed": None,
}


def _price_of(tier):
    return {"flex": FLEX, "priority": FAST}.get(tier, PRICE)


def _paid_alike(folder, endings, *, batch, wanted, served):
    """Asks for a request of each ending, and compares the three figures."""

    def script(body):
        ending = ENDINGS[body["messages"][-1]["content"].partition(" ")[2]]
        named = {} if served is None else {"service_tier": served}
        return ServerReply(**{"text": "a", "usage": TOKENS, "extra": named, **ending})

    with ScriptedServer(script, ScriptedBatches()) as server, open_store(f"sqlite:///{folder}/x.db") as store:
        model = Model(name="m", route="openai/m", api_base=server.url, price=PRICE)
        params = {"max_tokens": 20} | ({} if wanted is None else {"service_tier": wanted})
        requests = [
            CallRequest(model=model, messages=({"role": "user", "content": f"{i} {ending}"},), params=params)
            for i, ending in enumerate(endings)
        ]
        caller = open_caller(
            store=store, study="s", store_text=True, budget=Budget(store, "p"), concurrency=2,
            calls=CallsPart(timeout_s=30.0, attempts=1), servers=None, rng=random.Random(0), batch=batch,
            sleep=lambda _: asyncio.sleep(0),
        )  # fmt: skip

        async def go():
            try:
                return await asyncio.gather(*(caller.send(one) for one in requests), return_exceptions=True)
            finally:
                await caller.aclose()

        asyncio.run(go())
        price = PRICE.batched if batch else _price_of(served if served in ("default", "flex", "priority") else wanted)
        each = price.reply_usd(Usage(input_tokens=100, output_tokens=10))
        ledger, state = Ledger(store, "s"), Budget(store, "p").state()
        assert state.spent_usd == pytest.approx(len(requests) * each, abs=1e-12)
        assert (state.calls, state.assumed_usd, state.reserved_usd) == (len(requests), 0, 0)
        paid = ledger.priced_calls({"m": PRICE})
        assert paid.usd == pytest.approx(state.spent_usd, abs=1e-12)
        assert ledger.has_batches() == batch
        if not (batch or ledger.other_tiers() or wanted):  # what the report's table does then
            assert priced(ledger.totals(), {"m": PRICE}).usd == pytest.approx(state.spent_usd, abs=1e-12)


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_is_billed_and_counted_at_the_price_of_its_tier_or_batch(tmp_path, ending):
    endings = [one for one in ENDINGS if one != "mixed"] if ending == "mixed" else [ending] * 2
    direct = itertools.product([False], (None, "flex"), (None, "default", "flex", "priority", "scale", "batch"))
    batched = itertools.product([True], [None], (None, "default", "batch", "priority"))
    for number, (batch, wanted, served) in enumerate([*direct, *batched]):
        (folder := tmp_path / str(number)).mkdir()
        _paid_alike(folder, endings, batch=batch, wanted=wanted, served=served)


def test_a_refusal_in_a_batch_is_asked_again_where_latency_is_needed(tmp_path):
    refusal = ServerReply(usage=TOKENS, **ENDINGS["refusal"])
    with (
        ScriptedServer(lambda _: refusal, ScriptedBatches()) as server,
        open_store(f"sqlite:///{tmp_path}/x.db") as store,
    ):
        model = Model(name="m", route="openai/m", api_base=server.url, price=PRICE)
        request = CallRequest(model=model, messages=({"role": "user", "content": "a"},), params={"max_tokens": 20})

        def asked(**more):
            caller = open_caller(
                store=store, study="s", store_text=True, budget=Budget(store, "p"), concurrency=2,
                calls=CallsPart(timeout_s=30.0, attempts=1), servers=None, rng=random.Random(0),
                sleep=lambda _: asyncio.sleep(0), **more,
            )  # fmt: skip

            async def go():
                try:
                    await caller.send(request)
                except Refused as error:
                    return error
                finally:
                    await caller.aclose()

            return asyncio.run(go())

        assert asked(batch=True).reply().batched
        again = asked(batch=None)
        assert again.cached and again.reply().batched, "nobody knows how long an app would wait for it"
        timed = asked(batch=None, timed=True)
        assert not timed.cached and not timed.reply().batched and timed.latency_s > 0
