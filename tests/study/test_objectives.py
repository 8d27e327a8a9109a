"""Scales, weights and constraints: what maps an evaluation to a utility, and what never does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import UsageError
from offramp.records import Aggregate, Objective, Result, ResultState, Usage
from offramp.space.model import ConstraintsPart
from offramp.store.aggregates import aggregate_of
from offramp.study.domain.objectives import (
    coarse_scales,
    reweighted,
    utility,
    values_of,
    violations,
    with_scales,
)

numbers = st.floats(-1e6, 1e6, allow_nan=False)
scales = st.tuples(numbers, numbers).filter(lambda pair: abs(pair[0] - pair[1]) > 1e-6)
weights = st.floats(0.01, 100)


def evaluation(*runs, failed=0):
    """Runs as (score, cost, latency)."""
    done = [
        Result(candidate="c", example=f"e{i}", state=ResultState.SCORED, score=score, cost_usd=cost, latency_s=latency)
        for i, (score, cost, latency) in enumerate(runs)
    ]
    lost = [
        Result(
            candidate="c",
            example=f"f{i}",
            state=ResultState.INFRASTRUCTURE_ERROR,
            score=None,
            cost_usd=None,
            latency_s=None,
            usage=Usage(),
        )
        for i in range(failed)
    ]
    return aggregate_of((*done, *lost))


def objective(name="quality", weight=1.0, scale=(0.0, 1.0), statistic="p50"):
    return Objective(name=name, weight=weight, scale=scale, statistic=statistic)


@given(scale=scales, value=numbers)
def test_a_scaled_value_is_never_outside_of_0_to_1(scale, value):
    assert 0.0 <= objective(scale=scale).scaled(value) <= 1.0


@given(scale=scales)
def test_a_scale_maps_its_worst_to_0_and_its_best_to_1(scale):
    worst, best = scale
    assert objective(scale=scale).scaled(worst) == 0.0
    assert objective(scale=scale).scaled(best) == 1.0


@given(scale=scales, one=numbers, other=numbers)
def test_nearer_to_the_best_is_never_worth_less(scale, one, other):
    worst, best = scale
    near, far = sorted((one, other), reverse=best > worst)
    assert objective(scale=scale).scaled(near) >= objective(scale=scale).scaled(far)


@given(
    parts=st.lists(st.tuples(weights, scales, numbers), min_size=1, max_size=3),
    factor=st.floats(0.01, 100),
)
def test_the_utility_is_in_0_to_1_and_does_not_depend_on_the_size_of_the_weights(parts, factor):
    objectives = [objective(weight=w, scale=s) for w, s, _ in parts]
    grown = [objective(weight=w * factor, scale=s) for w, s, _ in parts]
    values = [value for *_, value in parts]
    found = utility(objectives, values)
    assert -1e-12 <= found <= 1 + 1e-12
    assert utility(grown, values) == pytest.approx(found, abs=1e-9)


def test_a_weight_of_0_takes_an_objective_out_of_the_utility():
    objectives = [objective(weight=0.7), objective("cost", weight=0.0, scale=(2.0, 0.0))]
    assert utility(objectives, [0.5, 0.0]) == utility(objectives, [0.5, 2.0]) == 0.5


def test_an_open_scale_is_refused_before_it_gives_a_number():
    with pytest.raises(ValueError, match="not fixed"):
        objective(scale=None).scaled(0.5)


def test_the_incumbents_own_cost_is_worth_one_half_and_twice_of_it_nothing():
    (cost,) = with_scales([objective("cost", scale=None)], evaluation((1.0, 0.004, 1.0)))
    assert cost.scaled(0.004) == pytest.approx(0.5)
    assert cost.scaled(0.008) == 0.0
    assert cost.scaled(0.0) == 1.0


def test_a_stated_scale_is_not_replaced_by_the_incumbents():
    (cost,) = with_scales([objective("cost", scale=(9.0, 1.0))], evaluation((1.0, 0.004, 1.0)))
    assert cost.scale == (9.0, 1.0)


def test_failed_runs_are_in_no_objective():
    objectives = [objective(), objective("cost", scale=None), objective("latency", scale=None)]
    whole = evaluation((1.0, 0.1, 2.0), (0.0, 0.3, 4.0))
    assert values_of(objectives, whole) == values_of(objectives, evaluation((1.0, 0.1, 2.0), (0.0, 0.3, 4.0), failed=5))
    assert values_of(objectives, whole) == (0.5, 0.2, 3.0)


def test_one_unknown_price_makes_the_cost_unknown_and_not_smaller():
    assert values_of([objective(), objective("cost")], evaluation((1.0, 0.1, 2.0), (1.0, None, 2.0))) is None


@pytest.mark.parametrize(("statistic", "seconds"), [("mean", 2.5), ("p50", 2.5), ("p90", 3.7), ("p95", 3.85)])
def test_latency_is_measured_by_its_statistic(statistic, seconds):
    runs = evaluation(*((1.0, 0.0, float(s)) for s in (1, 2, 3, 4)))
    assert objective("latency", statistic=statistic).value(runs) == pytest.approx(seconds)


def test_violations_tell_how_far_a_constraint_is_missed():
    part = ConstraintsPart(quality_min=0.9, cost_usd_max=0.2, latency_p95_s_max=10)
    missed = violations(part, evaluation((0.5, 0.3, 1.0)))
    assert missed["quality_min"] == pytest.approx(0.4)
    assert missed["cost_usd_max"] == pytest.approx(0.1)
    assert missed["latency_p95_s_max"] == pytest.approx(-9.0)


def test_a_value_that_is_not_known_keeps_no_constraint():
    assert violations(ConstraintsPart(cost_usd_max=1.0), evaluation((1.0, None, 1.0))) == {"cost_usd_max": math.inf}


def test_no_constraint_gives_no_violation():
    assert violations(ConstraintsPart(), evaluation((1.0, 1.0, 1.0))) == {}


def test_weights_that_are_not_named_are_0():
    found = reweighted([objective(), objective("cost")], {"cost": 2.0})
    assert [o.weight for o in found] == [0.0, 2.0]


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"qualty": 1.0}, "quality"),
        ({"quality": -1.0}, "a number in"),
        ({"quality": math.inf}, "a number in"),
        ({"quality": math.nan}, "a number in"),
        ({"quality": 0.0}, "above 0"),
        ({}, "above 0"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_what_would(given_, words):
    with pytest.raises(UsageError, match=words):
        reweighted([objective(), objective("cost")], given_)


@pytest.mark.parametrize(
    ("name", "scale", "own", "others", "coarse"),
    [
        ("cost", (1.0, 0.0), 0.0, [0.1], True),  # free: nothing to take a scale from
        ("latency", (1.0, 0.0), 0.0, [0.1], True),
        ("cost", (1.0, 0.0), 0.0, [0.0], False),  # all are free
        ("cost", (2e-9, 0.0), 1e-9, [0.001], True),  # next to free: everything else is beyond the scale
        ("cost", (0.002, 0.0), 0.001, [0.01], False),
        ("cost", (5.0, 0.0), 0.0, [0.1], False),  # another scale than the incumbent gives
        ("quality", (0.0, 1.0), 0.0, [0.5], False),
    ],
)  # fmt: skip
def test_a_scale_from_an_incumbent_that_costs_nothing_is_told(name, scale, own, others, coarse):
    """With a free incumbent a run of 1 USD was the worst end, so that 100 USD for 1,000 runs lost 0.05 of utility."""

    def seen(value):
        return Aggregate(n=9, n_fault=0, n_failed=0, quality=value, cost_usd=value, latency_p50_s=value)

    objective = Objective(name=name, weight=0.5, scale=scale)
    found = coarse_scales([objective], seen(own), [seen(value) for value in others])
    assert found == ((objective,) if coarse else ())
