"""What is kept of candidates, and that an aggregate says what its results say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.records import Candidate, DemoKind, Price, Result, ResultState, Split, Usage
from offramp.stats import mean_interval
from offramp.store.aggregates import AggregateStore, aggregate_of
from offramp.store.candidates import CandidateRow, CandidateState, CandidateStore
from offramp.store.results import ResultStore

TOKENS = Price(input_usd=2.0, cached_input_usd=0.5, output_usd=8.0, reasoning_usd=9.0)
HOURLY = Price(compute_usd_per_hour=0.36)


def candidate(**changes):
    plain = Candidate(
        params={"model": "m", "instruction": "vague", "temperature": 0.5}, model="m", module="predict", adapter="plain",
        constrained=True, instructions={"main": "Say \x00 what."}, demo_kind=DemoKind.BALANCED, demo_count=3, demo_seed=0,
        request_params={"temperature": 0.5, "stop": ["\n"]},
    )  # fmt: skip
    return replace(plain, **changes)


def result(example, state, score, latency, usage, calls):
    scored = state is not ResultState.INFRASTRUCTURE_ERROR
    return Result(
        candidate="c", example=example, state=state, score=score if scored else None, cost_usd=None,
        latency_s=latency if scored else None, usage=usage if calls else Usage(), calls=calls,
    )  # fmt: skip


usages = st.builds(
    Usage,
    input_tokens=st.integers(0, 5000),
    cached_input_tokens=st.integers(0, 5000),
    output_tokens=st.integers(0, 500),
    reasoning_tokens=st.integers(0, 500),
    compute_s=st.floats(0, 9),
)
results = st.lists(
    st.builds(
        result,
        st.just(""),
        st.sampled_from(ResultState),
        st.floats(0, 1),
        st.floats(0.001, 60),
        usages,
        st.integers(0, 2),
    ),
    max_size=12,
).map(lambda found: tuple(replace(r, example=str(i)) for i, r in enumerate(found)))


@given(results, st.sampled_from([TOKENS, HOURLY]))
def test_an_aggregate_says_what_the_results_say(found, price):
    counted = [r for r in found if r.state is not ResultState.INFRASTRUCTURE_ERROR]
    seen = aggregate_of(found)
    assert (seen.n, seen.n_failed) == (len(counted), len(found) - len(counted))
    assert seen.n_fault == sum(r.state is ResultState.PROGRAM_ERROR for r in found)
    assert seen.priced(None).cost_usd is None
    if not counted:
        assert (seen.quality, seen.quality_low, seen.priced(price).cost_usd, seen.latency_p50_s) == (None,) * 4
        return
    scores, seconds = [r.score for r in counted], [r.latency_s for r in counted]
    interval = mean_interval(scores)
    assert seen.quality == pytest.approx(np.mean(scores))
    assert (seen.quality_low, seen.quality_high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert seen.latency_s("mean") == pytest.approx(np.mean(seconds))
    for percent in (50, 90, 95):
        assert seen.latency_s(f"p{percent}") == pytest.approx(np.percentile(seconds, percent))
    costs = [0.0 if not r.calls else price.cost_usd(r.usage) for r in counted]
    expected = None if None in costs else pytest.approx(np.mean(costs), rel=1e-9, abs=1e-15)
    assert seen.priced(price).cost_usd == expected
    made_at = [replace(r, cost_usd=cost) for r, cost in zip(counted, costs, strict=True)]
    assert aggregate_of(made_at).cost_usd == expected


@given(results, st.randoms())
def test_an_aggregate_is_the_same_in_whatever_order_the_results_came(found, random):
    """A study that was opened again, from rows, had another last digit in the cost of an embedded model."""
    assert aggregate_of(random.sample(found, len(found))) == aggregate_of(found)


def test_a_cost_is_unknown_when_the_seconds_of_one_run_are():
    timed = result("a", ResultState.SCORED, 1.0, 0.1, Usage(compute_s=2.0), 1)
    untimed = result("b", ResultState.SCORED, 1.0, 0.1, Usage(), 1)
    assert aggregate_of([timed, untimed]).priced(HOURLY).cost_usd is None
    assert aggregate_of([timed]).priced(HOURLY).cost_usd == pytest.approx(0.0002)


def test_candidates_and_aggregates_come_back_as_they_went_in(store):
    kept = CandidateStore(store)
    one = CandidateRow(candidate=candidate(), number=3, state=CandidateState.COMPLETE, origin={"kind": "incumbent"})
    two = CandidateRow(candidate=candidate(model="n"), number=1, state=CandidateState.STOPPED, reason="far behind")
    for row in (one, two, two):
        kept.put("s", row)
    assert kept.all("s") == (two, one)
    assert kept.all("s", [one.id]) == (one,)
    assert kept.all("other") == ()
    kept.put("s", replace(two, state=CandidateState.COMPLETE, reason=None))
    assert [row.state for row in kept.all("s")] == [CandidateState.COMPLETE] * 2

    some = [
        result(str(i), ResultState.SCORED, i / 4, 0.1 * i, Usage(input_tokens=i, compute_s=0.5), 1) for i in range(5)
    ]
    ResultStore(store).put("s", Split.SEARCH, some)
    seen = aggregate_of(some)
    AggregateStore(store).put("s", Split.SEARCH, "c", seen)
    assert AggregateStore(store).all("s", Split.SEARCH) == {"c": replace(seen, cost_usd=None)}
    assert seen.quality == 0.5
    assert AggregateStore(store).all("s", Split.HOLDOUT) == {}


def test_a_storage_of_an_earlier_version_gets_the_mean_squares_of_its_scores(tmp_path):
    import sqlalchemy as sa

    from offramp.store import tables
    from offramp.store.engine import open_store
    from offramp.store.migrations import LATEST

    url = f"sqlite:///{tmp_path / 'old.db'}"
    with open_store(url) as store:
        scored = [result(str(i), ResultState.SCORED, score, 1.0, Usage(), 1) for i, score in enumerate((0.0, 0.5, 1.0))]
        ResultStore(store).put("s", Split.SEARCH, scored)
        expected = aggregate_of(scored)
        AggregateStore(store).put("s", Split.SEARCH, "c", expected)
        with store.transaction() as conn:
            conn.execute(sa.text("ALTER TABLE offramp_summaries DROP COLUMN quality_square"))
            conn.execute(sa.text("DROP TABLE offramp_probes"))
            conn.execute(tables.schema_version.delete().where(tables.schema_version.c.version == LATEST))
            conn.execute(tables.schema_version.insert().values(version=3, applied_at="then"))
    with open_store(url) as store:
        assert AggregateStore(store).all("s", Split.SEARCH) == {"c": replace(expected, cost_usd=None)}
