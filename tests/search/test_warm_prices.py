"""Starting from a study when a price has changed: what is taken over costs what a new study would say."""

from dataclasses import replace

import pytest
import yaml

from offramp.records import Candidate, DemoKind, Price, Replicate, Result, ResultState, Usage
from offramp.search.warm.prices import PriceChanges
from offramp.store.engine import open_store
from offramp.store.studies import StudyStore
from offramp.testing.fakes import FunctionTransport
from own_programs import fields_of, right, write_own
from search_jobs import PRICES, answered_by, run_job, write_space

GRID = {"sampler": "grid", "trials": 99, "concurrency": 2}
RETRY = {"verify_then_retry": 1}


def reply(request):
    """The right answer, which every verifying call accepts."""
    if "accepted" not in fields_of(request):
        return right(request)
    text = "[[ ## accepted ## ]]\nTrue\n\n[[ ## objection ## ]]\nnone\n\n[[ ## completed ## ]]"
    return replace(right(request), text=text)


@pytest.fixture
def transport(monkeypatch):
    transport = FunctionTransport(reply)
    answered_by(monkeypatch, transport)
    return transport


def models(large=None, base="http://127.0.0.1:9/v1"):
    """Both models, of which only `small` is searched; `large` at this price and address."""
    small = {"name": "small", "route": "openai/small", "api_base": "http://127.0.0.1:9/v1", "price": PRICES["small"]}
    price = PRICES["large"] if large is None else large
    return [small, {"name": "large", "route": "openai/large", "api_base": base, "price": price, "searched": False}]


def verified(folder, **changes):
    """A job where `large` verifies."""
    program = {"form": ["predict", RETRY], "verifier": {"model": "large"}, "format": "chat"}
    incumbent = {"model": "small", "instruction": "vague", "form": "predict"}
    given = {"models": models(), "program": program, "incumbent": incumbent, "search": GRID, **changes}
    return write_space(folder, instructions={"vague": "Vague."}, **given)


def two_models(folder, **changes):
    """A module of two steps, the second of which runs on `large`."""
    objectives = {"quality": {"weight": 0.7}, "cost": {"weight": 0.3, "scale": [0.01, 0.0]}, "latency": None}
    given = {"models": models(), "program": {"format": "chat", "models": {"sort": ["own", "large"]}}, "search": GRID}
    return write_own(folder, objectives=objectives, **{**given, **changes})


def changed(path, name, **parts):
    """The space file beside `path` with other parts."""
    new = path.with_name(f"{name}.yaml")
    new.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "name": name, **parts}, sort_keys=False))
    return new


def costs(result):
    return {member.candidate: (member.quality, pytest.approx(member.cost_usd)) for member in result.report.members}


def record(folder, result):
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        return StudyStore(store).get(result.report.study).details.warm


TEN_TIMES = {name: 10 * usd for name, usd in PRICES["large"].items()}


@pytest.mark.parametrize("space", [verified, two_models])
@pytest.mark.parametrize("before", [PRICES["large"], {"input_usd": 0.0, "output_usd": 0.0}], ids=["priced", "free"])
def test_a_candidate_whose_other_model_became_dearer_is_not_shown_at_its_old_price(tmp_path, transport, space, before):
    path = space(tmp_path, models=models(before))
    old = run_job(path, tmp_path)
    dearer = models(TEN_TIMES)
    warm = run_job(changed(path, "warm", models=dearer), tmp_path, from_study=old.report.study)
    fresh = run_job(changed(path, "fresh", models=dearer), tmp_path)
    assert costs(warm) == costs(fresh) != costs(old)
    second = {m.candidate: m.params.get("model.sort", m.params["form"]) for m in old.report.members}
    alone = {candidate for candidate, name in second.items() if name in ("predict", "own")}
    assert set(record(tmp_path, warm).reused) == alone


def test_a_limit_on_cost_holds_for_the_new_price_of_the_verifier(tmp_path, transport):
    limit = {
        "cost_usd_max": 2 * max(member.cost_usd for member in run_job(verified(tmp_path), tmp_path).report.members)
    }
    path = verified(tmp_path, constraints=limit)
    old = run_job(path, tmp_path)
    assert all(member.feasible for member in old.report.members)
    dearer = changed(path, "warm", models=models(TEN_TIMES))
    sent = len(transport.requests)
    warm = run_job(dearer, tmp_path, from_study=old.report.study)
    assert len(transport.requests) == sent, "the ledger answers"
    assert [m.params["form"] for m in warm.report.members if not m.feasible] == ["verify_then_retry 1"] * 2
    assert warm.report.recommended is None or warm.report.recommended.params["form"] == "predict"


@pytest.mark.parametrize("space", [verified, two_models])
def test_without_a_new_price_of_another_model_every_result_is_reused(tmp_path, transport, space):
    path = space(tmp_path, store_text=False)
    old = run_job(path, tmp_path)
    cheaper = models()
    cheaper[0]["price"] = {"input_usd": 0.5, "output_usd": 1.0}
    warm = run_job(changed(path, "warm", models=cheaper), tmp_path, from_study=old.report.study)
    fresh = run_job(changed(path, "fresh", models=cheaper), tmp_path)
    assert warm.calls == 0 and set(record(tmp_path, warm).reused) == {m.candidate for m in old.report.members}
    assert costs(warm) == costs(fresh) != costs(old)


def test_a_verifier_at_another_address_gives_no_result(tmp_path, transport):
    path = verified(tmp_path)
    old = run_job(path, tmp_path)
    elsewhere = changed(path, "warm", models=models(base="http://127.0.0.1:10/v1"))
    warm = run_job(elsewhere, tmp_path, from_study=old.report.study)
    forms = {member.candidate: member.params["form"] for member in old.report.members}
    assert {forms[candidate] for candidate in record(tmp_path, warm).reused} == {"predict"}
    assert warm.calls > 0


def test_history_is_without_costs_that_the_old_price_of_the_verifier_is_in(tmp_path, transport):
    path = verified(tmp_path, params={"temperature": {"choices": [0.0, 0.3, 0.5]}, "max_tokens": 16})
    old = run_job(path, tmp_path)
    forms = {member.candidate: member.params["form"] for member in old.report.members}
    for name, price, form in (("same", PRICES["large"], None), ("dearer", TEN_TIMES, "verify_then_retry 1")):
        few = changed(path, name, models=models(price), search={"sampler": "tpe", "trials": 2, "concurrency": 2})
        prior = record(tmp_path, run_job(few, tmp_path, from_study=old.report.study)).prior
        assert "verify_then_retry 1" in {forms[trial.candidate] for trial in prior}
        assert all((trial.cost_usd is None) == (forms[trial.candidate] == form) for trial in prior)


# ------------------------------------------------------------------------------------------- one result by itself


PLAIN = Price(input_usd=1.0, output_usd=2.0)
TIERED = replace(PLAIN, tiers=(("flex", Price(input_usd=0.5, output_usd=1.0)),))
LONG = replace(PLAIN, steps=((1000, Price(input_usd=2.0, output_usd=4.0)),))
CANDIDATE = Candidate(
    params={}, model="a", module="predict", adapter="chat", constrained=False, instructions={}, demo_kind=DemoKind.NONE,
    demo_count=0, demo_seed=0, request_params={},
)  # fmt: skip


def result(**changes):
    usage = Usage(input_tokens=2000, output_tokens=5)
    found = Result(
        candidate=CANDIDATE.id, example="e", state=ResultState.SCORED, score=1.0, cost_usd=0.1, latency_s=0.1,
        usage=usage, calls=1,
    )  # fmt: skip
    return replace(found, **changes)


def leaves(old, new, *results, own=False, candidate=CANDIDATE):
    """Whether the cost of the results is known where `a` and `b` cost this before and now."""
    before, now = ({"a": a, "b": b} for a, b in (old, new))
    odd = frozenset(name for name in before if before[name] != now[name])
    changes = PriceChanges(old=before, new=now, changed=odd, own=own, held={}, by_itself=frozenset())
    return changes.cost_is_known(candidate, results)


DEARER = Price(input_usd=3.0, output_usd=2.0)
DEARER_TIER = replace(PLAIN, tiers=(("flex", Price(input_usd=0.9, output_usd=1.0)),))


def test_a_price_of_a_service_tier_alone_is_a_change_too():
    two = replace(CANDIDATE, models={"verify": "b"})
    assert not leaves((PLAIN, TIERED), (PLAIN, DEARER_TIER), result(others_usd=0.1), candidate=two)
    assert leaves((PLAIN, TIERED), (PLAIN, TIERED), result(others_usd=0.1), candidate=two)


def test_what_its_own_model_cost_more_at_another_tier_is_not_known_at_new_prices():
    assert leaves((TIERED, PLAIN), (DEARER_TIER, PLAIN), result())
    assert not leaves((TIERED, PLAIN), (DEARER_TIER, PLAIN), result(others_usd=-0.1))
    assert not leaves((PLAIN, PLAIN), (TIERED, PLAIN), result()), "nobody noted which tier served it"
    assert leaves((TIERED, PLAIN), (TIERED, DEARER), result(others_usd=-0.1)), "no other model was asked"


def test_several_requests_of_which_one_may_be_long_are_not_known_at_a_new_price():
    longer = replace(LONG, input_usd=1.5)
    assert leaves((LONG, PLAIN), (longer, PLAIN), result())
    assert not leaves((LONG, PLAIN), (longer, PLAIN), result(calls=1, cached_calls=1))
    assert leaves((LONG, PLAIN), (longer, PLAIN), result(calls=2, usage=Usage(input_tokens=900, output_tokens=5)))


def test_a_module_that_asked_some_other_model_is_run_again_where_any_other_price_changed():
    assert leaves((PLAIN, PLAIN), (PLAIN, DEARER), result(), own=True)
    assert not leaves((PLAIN, PLAIN), (PLAIN, DEARER), result(others_usd=0.1), own=True)
    assert not leaves((PLAIN, PLAIN), (PLAIN, DEARER), result(others_usd=None), own=True)
    assert leaves((PLAIN, PLAIN), (DEARER, PLAIN), result(others_usd=0.1), own=True)


def test_each_of_several_runs_counts():
    run = Replicate(number=1, state=ResultState.SCORED, score=1.0, cost_usd=0.1, others_usd=0.1, latency_s=0.1)
    one = result(replicates=(replace(run, number=0, others_usd=-0.1), run))
    assert not leaves((PLAIN, PLAIN), (PLAIN, DEARER), one, own=True)
