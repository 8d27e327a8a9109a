"""Params: their values without a list of them, and one candidate for one setting however a number is written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.job.resolve import resolve_job
from offramp.search.fitting import nearest_value
from offramp.space.load import load_space
from offramp.space.params import SearchParam, assignments, cardinality, values_in
from search_jobs import write_space

RANGES = st.builds(
    lambda low, span, step, unit: SearchParam(
        name="x", low=low * unit, high=(low + span) * unit, step=step * unit, whole=unit == 1.0
    ),
    low=st.integers(-20, 20), span=st.integers(1, 30), step=st.integers(1, 7), unit=st.sampled_from([1.0, 0.25]),
)  # fmt: skip


def counted(param):
    """Every value of a range, one step after the other."""
    found = [param.low]
    while found[-1] + param.step <= param.high:
        found.append(found[-1] + param.step)
    return [int(value) if param.whole else value for value in found]


@given(RANGES)
def test_the_values_of_a_range_are_those_of_counting(param):
    values = values_in(param)
    assert list(values) == counted(param) and len(values) == param.size
    assert (values[0], values[-1], values[:2]) == (counted(param)[0], counted(param)[-1], counted(param)[:2])
    assert all(type(value) is (int if param.whole else float) for value in values)


@given(RANGES, st.floats(-60, 60))
def test_the_nearest_value_is_that_of_trying_them_all(param, wanted):
    assert nearest_value(param, wanted) == min(counted(param), key=lambda value: abs(value - wanted))


def test_a_range_of_billions_is_not_held_in_memory():
    seeds = SearchParam(name="seed", low=0, high=2**31 - 1, whole=True)
    assert (len(values_in(seeds)), values_in(seeds)[-1]) == (2**31, 2**31 - 1)
    assert cardinality([seeds]) == math.inf
    assert next(assignments([seeds])) == {"seed": 0}


@pytest.mark.parametrize("step", [None, 1e-300, 5e-324])
def test_a_range_with_too_many_values_to_count_is_infinite(step):
    assert SearchParam(name="x", low=0, high=1e300, step=step).size == math.inf


def test_0_and_0_point_0_are_one_value_and_true_is_not_1():
    choices = SearchParam(name="x", choices=(0.0, 1, "1"))
    assert [repr(choices.own(value)) for value in (0, -0.0, 1.0, "1", True, 7)] == [
        "0.0",
        "0.0",
        "1",
        "'1'",
        "True",
        "7",
    ]
    assert repr(SearchParam(name="x", low=0, high=2).own(1)) == "1.0"
    assert repr(SearchParam(name="x", low=0, high=2, whole=True).own(1.0)) == "1"


@pytest.mark.parametrize(
    ("incumbent", "params"),
    [
        ({"temperature": 0}, {"temperature": {"choices": [0.0, 0.5]}}),
        ({"temperature": 1}, {"temperature": {"low": 0, "high": 1, "step": 0.5}}),
        ({"max_tokens": 16.0}, {"max_tokens": 16}),
    ],
)
def test_an_incumbent_that_writes_a_number_in_another_way_is_the_candidate_that_is_searched(
    tmp_path, incumbent, params
):
    def resolved(**stated):
        part = {"model": "small", "instruction": "vague", "params": stated}
        return resolve_job(load_space(write_space(tmp_path, incumbent=part, params=params)))

    job = resolved(**incumbent)
    searched = {job.candidate(params).id for params in assignments(job.search_params)}
    assert job.incumbent.id in searched
    # A study that has the other id for it is left as it is, and the same file as the search writes it is one job.
    as_searched = {name: job.incumbent.params[name] for name in incumbent}
    assert resolved(**as_searched).incumbent.id == job.incumbent.id


def test_a_study_of_an_earlier_release_is_not_continued_with_another_incumbent(tmp_path):
    def name(temperature):
        part = {"model": "small", "instruction": "vague", "params": {"temperature": temperature}}
        job = resolve_job(load_space(write_space(tmp_path, incumbent=part)))
        return job.hash(0), job

    (whole, job), (same, _) = name(0), name(0.0)
    assert whole != same
    assert job._own_numbers() == {"temperature": 0.0}
