"""What a dry run expects against what the real run does, on jobs that can be counted by hand."""

from dataclasses import replace
from itertools import product

import pytest

from offramp.records import Usage
from offramp.search import api
from offramp.search.estimate import job_summary
from offramp.space.forms import VERIFY_TEXT, verify_text
from offramp.testing.fakes import FunctionTransport
from search_jobs import PRICES, answered_by, reply_to, run_job, write_space

GRID = {"sampler": "grid", "trials": 50, "concurrency": 2, "race": None}
SPLITS = {"train": 2, "search": 4, "holdout": 3}
JUDGED = {"kind": "judge", "model": "judge", "rubric": "The label fits the message.", "params": {"max_tokens": 20}}


@pytest.fixture(autouse=True)
def _transport(monkeypatch):
    others = {"judge": '{"grade": 5}', "today": "billing"}
    answered_by(monkeypatch, FunctionTransport(lambda r: others.get(r.model.name) or reply_to(r)))


def job(folder, **changes):
    return write_space(
        folder,
        **{"search": GRID, "splits": SPLITS, "params": {"max_tokens": 16}, "verify": {"front": False}, **changes},
    )


def models(**more):
    """The landscape's models, and others with a price that are not searched."""
    found = [(name, dict(price), True) for name, price in PRICES.items()]
    found += [(name, {"input_usd": usd, "output_usd": usd}, False) for name, usd in more.items()]
    return [
        {"name": name, "route": f"openai/{name}", "api_base": "http://127.0.0.1:9/v1", "price": price, "searched": on}
        for name, price, on in found
    ]


def expected(space, folder, **limits):
    job, found = api.dry_run(space, results=folder, **limits)
    return dict(job_summary(job)), found


OUTSIDE = [
    {"model": "small", "instruction": "vague", "params": {"max_tokens": 12}},
    {"model": "small", "instruction": "vague", "params": {"max_tokens": 16, "temperature": 0.25}},
    {"model": "small", "instruction": "vague", "params": {"max_tokens": 16}, "demos": "balanced", "demo_count": 2},
    {"model": "today", "instruction": "vague"},
]


@pytest.mark.parametrize("incumbent", OUTSIDE)
def test_an_incumbent_outside_of_the_space_is_one_candidate_more(tmp_path, incumbent):
    space = job(tmp_path, incumbent=incumbent, models=models(today=5.0))
    shown, found = expected(space, tmp_path)
    assert shown["incumbent"].endswith(", not in the space: one candidate more") and shown["candidates"] == "6"
    result = run_job(space, tmp_path)
    assert found.candidates == result.report.trials == 7
    assert found.calls == result.calls + result.cached_calls


INSIDE = [
    {"model": "small", "instruction": "vague"},
    {"model": "large", "instruction": "strict", "constrained": True},
    {"model": "small", "instruction": "clear", "params": {"max_tokens": 16}, "form": "predict"},
]


@pytest.mark.parametrize("incumbent", INSIDE)
def test_an_incumbent_of_the_space_is_counted_once(tmp_path, incumbent):
    space = job(tmp_path, incumbent=incumbent)
    shown, found = expected(space, tmp_path)
    assert "not in" not in shown["incumbent"]
    assert found.candidates == run_job(space, tmp_path).report.trials == 6


def test_the_trials_count_the_incumbent(tmp_path):
    space = job(tmp_path, incumbent=OUTSIDE[0])
    for trials in (1, 2, 6):
        found, result = (
            expected(space, tmp_path, trials=trials)[1],
            run_job(space, tmp_path / str(trials), trials=trials),
        )
        assert found.candidates == result.report.trials == trials
        runs_of_the_verdict = 3 * len({result.report.incumbent.candidate, result.report.recommended.candidate})
        assert result.calls == trials * 4 + runs_of_the_verdict <= found.calls
    assert expected(space, tmp_path, trials=1)[1].calls == 4 + 3


def test_a_dear_incumbent_outside_of_the_space_is_in_the_cost(tmp_path):
    usd = {
        price: expected(job(tmp_path, incumbent=OUTSIDE[3], models=models(today=price)), tmp_path)[1].cost_usd
        for price in (1.0, 1001.0, 2001.0)
    }
    assert usd[2001.0] - usd[1001.0] == pytest.approx(usd[1001.0] - usd[1.0])
    read, written = 1e6 * (usd[1001.0] - usd[1.0]) / 1000 / (4 + 3) - 16, 16
    assert written == 16 and 5 <= read <= 20, "seven runs of the incumbent: a short prompt, and max_tokens of an answer"


def test_a_judge_is_in_calls_cost_and_caps(tmp_path):
    space = job(tmp_path, metric=JUDGED, models=models(judge=100.0))
    plain = expected(job(tmp_path / "plain"), tmp_path)[1]
    found = expected(space, tmp_path)[1]
    assert found.calls == found.judge_calls == plain.calls
    assert found.cost_usd > plain.cost_usd and found.minutes == pytest.approx(2 * plain.minutes)
    assert expected(space, tmp_path, calls=2 * found.calls)[1].caps == ()
    tight = expected(space, tmp_path, calls=2 * found.calls - 1)[1]
    assert tight.caps == (f"budget.calls ({2 * found.calls - 1})",)
    assert tight.calls + tight.judge_calls <= 2 * found.calls - 1
    result = run_job(space, tmp_path)
    assert result.calls + result.cached_calls <= found.calls + found.judge_calls
    assert result.report.trials == found.candidates


def test_a_space_is_its_product(tmp_path):
    space = job(tmp_path, params={"temperature": {"choices": [0.0, 0.5]}, "max_tokens": {"choices": [8, 16]}})
    assert expected(space, tmp_path)[1].candidates == len(list(product("ab", "cde", "fg", "hi"))) + 1


FORMS = {
    "predict": (1, 1), "self_consistency 3": (3, 1), "best_of 2": (4, 2), "verify_then_retry 2": (5, 5),
}  # fmt: skip
"""The most requests of one run, and how many follow one another."""


@pytest.mark.parametrize("name", FORMS)
def test_the_most_requests_of_a_form_are_expected_and_paid_and_those_of_a_step_wait_together(tmp_path, name):
    kind, _, n = name.partition(" ")
    form = {kind: int(n)} if n else kind
    one = {
        "objectives": {"quality": {}, "cost": None, "latency": None},
        "params": {"max_tokens": 16, "temperature": 0.5},
    }
    shared = {"incumbent": None, "instructions": {"vague": "Vague."}, "models": models()[:1], **one}
    _, plain = expected(job(tmp_path / "plain", program={"form": "predict"}, **shared), tmp_path)
    _, found = expected(job(tmp_path / "form", program={"form": form}, **shared), tmp_path)
    requests, steps = FORMS[name]
    assert found.candidates == plain.candidates == 1 and plain.calls == 4 + 3
    assert found.calls == requests * plain.calls
    assert found.minutes == pytest.approx(steps * plain.minutes)
    verifying = requests - {"best_of": 2, "verify_then_retry": 3}.get(kind, requests)
    read = (len(verify_text(VERIFY_TEXT, "Vague.")) - len("Vague.")) / 4  # USD per million tokens: 1
    paid = requests * plain.cost_usd + verifying * plain.calls * read * 1e-6
    assert found.cost_usd == pytest.approx(paid, abs=plain.calls * requests * 1e-6)  # tokens are whole
    assert ("requests of one run" in found.basis) is kind.startswith(("best_of", "verify"))


def billing(more, per_byte=0.25):
    """A provider that bills so many tokens with every prompt, beside those of its texts."""

    def reply(request):
        size = sum(len(message["content"].encode()) for message in request.messages)
        return replace(reply_to(request), usage=Usage(input_tokens=round(more + per_byte * size), output_tokens=1))

    return FunctionTransport(reply)


@pytest.mark.parametrize(("more", "per_byte"), [(400, 0.25), (0, 0.6), (0, 0.15)])
def test_after_a_run_the_cost_is_of_the_tokens_that_the_provider_bills(tmp_path, monkeypatch, more, per_byte):
    """A server that billed 100 tokens more than the text cost 3.3 times what "past calls of these models" said."""
    answered_by(monkeypatch, billing(more, per_byte))
    space = job(tmp_path, program={"format": "plain"})
    run_job(space, tmp_path)
    _, found = expected(space, tmp_path)
    other = tmp_path / "other"
    spent = run_job(space, other).spent_usd
    assert found.basis == "past calls of these models" and found.cost_usd == pytest.approx(spent, rel=0.25)


def test_a_dry_run_says_what_of_it_is_not_from_past_calls(tmp_path):
    space = job(tmp_path, store_text=False)
    run_job(space, tmp_path)
    assert "tokens of prompts by text lengths" in expected(space, tmp_path)[1].basis
    more = job(tmp_path / "more", models=models(today=5.0), incumbent=OUTSIDE[3])
    assert expected(more, tmp_path)[1].basis.startswith("past calls of small, large alone")
    others = [{**one, "name": f"new-{one['name']}"} for one in models()]
    new = job(tmp_path / "new", models=others, incumbent={"model": "new-small", "instruction": "vague"})
    assert expected(new, tmp_path)[1].basis.startswith("text lengths")
