"""Ways to choose a member of a front: against brute force over the front, with the reason in one sentence."""

from dataclasses import replace

import pytest

from offramp.errors import UsageError
from offramp.records import Aggregate
from offramp.store.engine import open_store
from offramp.study import lookup
from offramp.study.domain.members import Member, recommend
from offramp.study.policies import choose
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        answered_by(patch, FunctionTransport(reply_to))
        space = write_space(folder, search={"sampler": "grid", "trials": 99, "concurrency": 2},
                            splits={"train": 6, "search": 20, "holdout": 14})  # fmt: skip
        return folder, run_job(space, folder).report


def picked(job, policy, **options):
    folder, report = job
    return lookup.pareto(report.study, results=folder, pick=policy, **options).picked


def test_weights_choose_what_is_recommended_and_follow_other_weights(job):
    assert picked(job, "weights").member.candidate == job[1].recommended.candidate
    cheap = picked(job, "weights", weights={"cost": 1.0})
    assert cheap.member.cost_usd == min(m.cost_usd for m in job[1].front)
    assert "cost 1" in cheap.why


@pytest.mark.parametrize("span", [0, 10, 25, 100])
def test_within_is_the_cheapest_of_those_near_the_best(job, span):
    front = job[1].front
    best = max(m.quality for m in front)
    near = [m for m in front if m.quality >= best - span / 100 - 1e-9]
    choice = picked(job, f"within:{span}")
    assert choice.member.cost_usd == min(m.cost_usd for m in near)
    whom = "the only one on the front" if len(near) == 1 else f"of {len(near)} within {span} points"
    assert whom in choice.why


def test_under_is_the_best_that_keeps_both_limits(job):
    front = job[1].front
    for limit in sorted(m.cost_usd for m in front):
        fitting = [m for m in front if m.cost_usd <= limit]
        choice = picked(job, f"under:usd={limit!r},seconds=60")
        assert choice.member.quality == max(m.quality for m in fitting)
    nothing = picked(job, "under:usd=1e-12")
    assert nothing.member is None
    assert nothing.why.startswith("None of the")


def test_no_loss_is_the_cheapest_that_is_not_shown_to_be_worse(job):
    choice = picked(job, "no-loss")
    assert choice.member.cost_usd == min(m.cost_usd for m in job[1].front if m.holdout is not None)
    assert "on the holdout split" in choice.why


def test_a_knee_is_on_the_front(job):
    assert picked(job, "knee").member in job[1].front


def test_every_reason_is_one_sentence(job):
    for policy in ("weights", "knee", "within:5", "under:seconds=9", "no-loss"):
        why = picked(job, policy).why
        assert why.endswith(".")
        assert why[0].isupper()
        assert ". " not in why


@pytest.mark.parametrize(
    "policy",
    ["best", "within:", "within:-1", "within:nan", "under:", "under:usd", "under:euro=3", "knee:2", "no-loss:x"],
)
def test_what_is_no_way_to_choose_is_refused(job, policy):
    with pytest.raises(UsageError, match="--pick"):
        picked(job, policy)


def without_cost(member):
    return replace(member, search=replace(member.search, cost_usd=None))


def test_an_unknown_cost_is_never_the_cheapest(job):
    folder, report = job
    front = (without_cost(report.front[0]), *report.front[1:])
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        choice = choose(store, replace(report, front=front), "within:100")
        assert choice.member.cost_usd == min(m.cost_usd for m in front[1:])
        none = choose(store, replace(report, front=tuple(map(without_cost, front))), "within:100")
    assert none.member is None


@pytest.mark.parametrize("name", ["0", "z"])
def test_among_equals_what_runs_today_is_recommended_whatever_its_id(name):
    values = Aggregate(n=10, n_fault=0, n_failed=0, quality=0.9, cost_usd=0.1)
    rival = Member(candidate="m", params={}, utility=0.5, feasible=True, search=values)
    today = replace(rival, candidate=name, incumbent=True)
    assert recommend([rival, today]) is today and recommend([today, rival]) is today
    cheaper = replace(rival, search=replace(values, cost_usd=0.09))
    assert recommend([today, cheaper]) is cheaper
