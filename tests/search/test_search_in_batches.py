"""Whole jobs whose search goes to a batch interface: the same study, at half the price, also after a kill."""

import asyncio
import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace

import optuna  # noqa: F401 - loaded before the fork
import pytest

from offramp.errors import OfframpError
from offramp.ids import derived_seed
from offramp.job.clock import Timing
from offramp.job.job_warnings import job_warnings
from offramp.job.resolve import resolve_job
from offramp.search import api
from offramp.space.load import load_space
from offramp.study import lookup
from offramp.testing.batches import ScriptedBatches
from offramp.testing.server import ScriptedServer
from search_jobs import server_reply, usd_of, write_space

FORK = multiprocessing.get_context("fork")


class Provider:
    """The landscape over HTTP; `sent` is what was answered, in batches or not."""

    def __init__(self):
        self.sent = []

    def __call__(self, body):
        reply = server_reply(body)
        self.sent.append((body["model"], reply))
        return reply


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def batches():
    return ScriptedBatches(looks=2)


@pytest.fixture
def server(provider, batches):
    with ScriptedServer(provider, batches) as server:
        yield server


def front(result):
    return [(m.candidate, m.search.quality, round(m.search.cost_usd, 12)) for m in result.report.front]


async def nap(seconds):
    await asyncio.sleep(0.001)


def space_for(folder, server, *, batch=True, **changes):
    small = {"splits": {"train": 2, "search": 6, "holdout": 4}, "calls": {"batch": batch, "timeout_s": 30}}
    search = {"sampler": "random", "trials": 4, "concurrency": 2, "wave": 12}
    return write_space(folder, base=server.url, **{**small, "search": search, **changes})


def run(space, folder, **limits):
    timing = Timing(sleep=nap)
    return api.optimize(space, results=folder, timing=timing, **limits)


def test_a_search_in_batches_finds_the_same_study_at_half_the_price_of_its_search(tmp_path, provider, server, batches):
    direct = run(space_for(tmp_path / "a", server, batch=False), tmp_path / "direct")
    provider.sent.clear()
    server.requests.clear()
    found = run(space_for(tmp_path / "b", server), tmp_path / "batched")
    assert front(found) == front(direct)
    lines = sum(len(batch.lines) for batch in batches.batches)
    assert lines and lines + len(server.requests) == found.calls == direct.calls
    assert len(server.requests) == sum(m.holdout.n for m in found.report.members if m.holdout is not None)
    single = {json.dumps(request.body, sort_keys=True) for request in server.requests}
    whole = usd_of(provider.sent)
    in_batches = whole - usd_of([(b["model"], server_reply(b)) for b in map(json.loads, single)])
    assert found.spent_usd == pytest.approx(whole - in_batches / 2, abs=1e-9)
    assert found.report.money.assumed_usd == found.report.money.reserved_usd == 0


def test_costs_of_candidates_are_those_of_direct_requests_and_latency_is_of_the_holdout(tmp_path, server, batches):
    direct = run(space_for(tmp_path / "a", server, batch=False), tmp_path / "direct")
    found = run(space_for(tmp_path / "b", server), tmp_path / "batched")
    costs = [{m.candidate: m.search.cost_usd for m in one.report.members} for one in (direct, found)]
    assert costs[0] == pytest.approx(costs[1], abs=1e-12)
    assert all(m.search.latency_s("p50") is None for m in found.report.members)
    assert all(m.holdout.latency_s("p50") > 0 for m in found.report.members if m.holdout is not None)
    spending = lookup.pareto(found.report.study, storage=f"sqlite:///{tmp_path / 'batched' / 'offramp.db'}")
    assert spending.members


def _job(space, folder):
    run(space, folder)
    os._exit(0)


@pytest.mark.parametrize("after", [1, 2])
def test_a_job_killed_while_batches_are_out_ends_with_the_same_study_and_pays_once(
    tmp_path, provider, server, batches, after
):
    space = space_for(tmp_path / "a", server)
    whole = run(space, tmp_path / "whole")
    batches.batches.clear()
    provider.sent.clear()
    batches.looks = 2

    def garble(method, path, status, body):
        if len(batches.batches) >= after and batches.batches[-1].looks < 10**6:
            batches.batches[-1].looks = 10**9  # this one does not end
        return status, body

    batches.garble = garble
    job = FORK.Process(target=_job, args=(space, tmp_path / "killed"))
    job.start()
    while len(batches.batches) < after or not 10**6 < batches.batches[-1].looks < 10**9 - 3:
        assert job.is_alive()
        time.sleep(0.005)
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    batches.garble = lambda method, path, status, body: (status, body)
    for batch in batches.batches:
        batch.looks = 1
    lines = [json.dumps(body, sort_keys=True) for batch in batches.batches for _, body in batch.lines]
    found = run(space, tmp_path / "killed")
    again = [json.dumps(body, sort_keys=True) for batch in batches.batches for _, body in batch.lines]
    assert again[: len(lines)] == lines and len(set(again)) == len(again)
    assert front(found) == front(whole)
    assert found.report.money.spent_usd == pytest.approx(whole.spent_usd, abs=1e-9)
    assert found.report.money.assumed_usd == found.report.money.reserved_usd == 0
    assert found.report.money.calls == whole.calls


# ---------------------------------------------------------------------------------------------------- what is said


def refused(space):
    with pytest.raises(OfframpError) as caught:
        api.options_of(resolve_job(load_space(space)))
    return str(caught.value)


def test_latency_as_an_objective_is_refused_with_what_to_write(tmp_path, server):
    objectives = {"quality": {"weight": 0.7}, "cost": None, "latency": {"weight": 0.3, "scale": [5, 0]}}
    text = refused(space_for(tmp_path, server, objectives=objectives))
    assert "objectives.latency" in text and "`latency: null`" in text and "verify.probe" in text


def test_a_limit_on_latency_is_refused_with_what_to_write(tmp_path, server):
    text = refused(space_for(tmp_path, server, constraints={"latency_p95_s_max": 2.0}))
    assert "constraints.latency_p95_s_max" in text and "`latency_p95_s_max: null`" in text


def test_a_service_tier_is_refused(tmp_path, server):
    text = refused(space_for(tmp_path, server, params={"service_tier": "flex", "max_tokens": 16}))
    assert "service_tier" in text


@pytest.mark.parametrize(
    "route", ["bedrock/anthropic.claude-3-haiku-20240307-v1:0", "vertex_ai/gemini-2.0-flash", "groq/x"]
)
def test_a_provider_without_a_known_batch_interface_is_refused_by_name(tmp_path, server, route):
    model = {"name": "other", "route": route, "price": {"input_usd": 1, "output_usd": 1}, "api_key_env": "OTHER_KEY"}
    small = {"name": "small", "route": "openai/small", "api_base": server.url,
             "price": {"input_usd": 1, "output_usd": 1}}  # fmt: skip
    text = refused(space_for(tmp_path, server, models=[small, model]))
    assert "'other' has no batch interface" in text and "calls.batch" in text


def test_the_dry_run_prices_the_search_at_half_and_says_how_long_it_may_take(tmp_path, server):
    direct = api.dry_run(space_for(tmp_path / "a", server, batch=False), results=tmp_path)[1]
    found = api.dry_run(space_for(tmp_path / "b", server), results=tmp_path)[1]
    runs = {"search": 4 * 6, "holdout": 2 * 4}
    share = runs["search"] / sum(runs.values())
    assert found.cost_usd == pytest.approx(direct.cost_usd * (1 - share / 2), rel=1e-9)
    assert "24 hours" in found.basis and "24 hours" not in direct.basis
    assert found.calls == direct.calls and found.minutes < direct.minutes


def test_too_few_minutes_are_a_warning(tmp_path, server):
    job = resolve_job(load_space(space_for(tmp_path, server, budget={"minutes": 30})))
    assert any("up to 24 hours" in text for text in job_warnings(job))
    later = resolve_job(load_space(space_for(tmp_path / "b", server, budget={"minutes": 3000})))
    assert not any("24 hours" in text for text in job_warnings(later))


def test_a_cap_in_dollars_is_planned_at_the_price_of_batches(tmp_path, provider, server, batches):
    whole = run(space_for(tmp_path / "a", server), tmp_path / "whole").spent_usd
    found = run(space_for(tmp_path / "b", server), tmp_path / "capped", usd=0.7 * whole)
    assert found.spent_usd <= 0.7 * whole and found.error is None


def sampled(body):
    """The landscape where each run of an example has a seed of its own, which decides what is answered."""
    reply, draw = server_reply(body), derived_seed(7, body["model"], body["messages"][-1]["content"], body["seed"])
    return reply if draw % 3 else replace(reply, text="returns")


def test_examples_that_are_run_several_times_are_run_so_in_batches_too(tmp_path, batches):
    params = {"temperature": 0.5, "seed": 5, "max_tokens": 16}
    changes = {"replicates": 3, "params": params, "search": {"sampler": "random", "trials": 2, "concurrency": 2}}
    with ScriptedServer(sampled, batches) as server:
        direct = run(space_for(tmp_path / "a", server, batch=False, **changes), tmp_path / "direct")
        server.requests.clear()
        found = run(space_for(tmp_path / "b", server, **changes), tmp_path / "batched")
        asked_singly = len(server.requests)
    assert front(found) == front(direct)
    assert all(member.search.n_runs == 18 for member in found.report.members)
    assert [m.search.within_variance for m in found.report.members] == [
        m.search.within_variance for m in direct.report.members
    ]
    lines = [json.dumps(body, sort_keys=True) for batch in batches.batches for _, body in batch.lines]
    assert len(set(lines)) == len(lines), "each run is another request"
    assert {json.loads(line)["seed"] for line in lines} == {5, 6, 7}
    assert len(lines) + asked_singly == found.calls == direct.calls
    assert asked_singly == sum(m.holdout.n_runs for m in found.report.members if m.holdout is not None)
