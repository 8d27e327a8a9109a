"""Several runs of an example: their means, what is run again, and what depends on neither order nor time."""

from dataclasses import replace
from itertools import permutations
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.evaluate.replicates import (
    PILOT,
    differs,
    is_sampled,
    lack_runs,
    lacking,
    may_differ,
    pilot_of,
    rest_of,
    with_first,
    with_replicate,
)
from offramp.records import SAME_SCORE, Example, Price, Result, ResultState, Usage
from offramp.store.aggregates import aggregate_of

PRICE = Price(input_usd=1.0, output_usd=4.0)
SCORES = st.sampled_from([0.0, 0.5, 1.0])
TOKENS = st.integers(0, 1000)


def a_run(example, score, *, tokens=(10, 5), others_usd=0.0, latency_s=1.0, state=ResultState.SCORED):
    """One run with what its tokens cost."""
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1])
    cost = None if others_usd is None else PRICE.reply_usd(usage) + others_usd
    return Result(
        candidate="c", example=example, state=state, score=score, cost_usd=cost, others_usd=others_usd,
        latency_s=latency_s, usage=usage, calls=1, outputs={"label": str(score)},
    )  # fmt: skip


def failed(example):
    """A run that the infrastructure failed."""
    return Result(
        candidate="c",
        example=example,
        state=ResultState.INFRASTRUCTURE_ERROR,
        score=None,
        cost_usd=None,
        latency_s=None,
    )


def joined(runs, order=None):
    """One result of several runs; the first comes first, the others in `order`."""
    found = with_first(runs[0], sampled=True)
    for number in order or range(1, len(runs)):
        found = with_replicate(found, runs[number], number, PRICE)
    return found


RUNS = st.builds(
    a_run, st.just("e"), SCORES, tokens=st.tuples(TOKENS, TOKENS), others_usd=st.sampled_from([0.0, 0.5, None]),
    latency_s=st.floats(0.1, 9), state=st.sampled_from([ResultState.SCORED, ResultState.PROGRAM_ERROR]),
)  # fmt: skip


def mean(values):
    """None where one of them is not known."""
    values = list(values)
    return None if None in values else sum(values) / len(values)


@given(st.lists(RUNS, min_size=2, max_size=5))
def test_numbers_are_means_of_the_runs_calls_are_all_of_them_and_the_rest_is_of_the_first(runs):
    found = joined(runs)
    for name in ("score", "latency_s", "cost_usd"):
        assert getattr(found, name) == pytest.approx(mean(getattr(run, name) for run in runs))
    for name in ("input_tokens", "output_tokens"):
        assert getattr(found.usage, name) == pytest.approx(mean(getattr(r.usage, name) for r in runs), abs=0.5)
    if found.cost_usd is not None:  # so that another price of tokens may be put in place of this one
        assert found.cost_usd == pytest.approx(PRICE.reply_usd(found.usage) + found.others_usd)
    assert found.calls == len(runs)
    assert (found.state, found.outputs) == (runs[0].state, runs[0].outputs)
    assert [run.number for run in found.runs] == list(range(len(runs)))


@given(st.lists(RUNS, min_size=2, max_size=4))
def test_the_order_in_which_runs_come_back_changes_nothing_and_a_run_counts_once(runs):
    expected = joined(runs)
    assert all(joined(runs, order) == expected for order in permutations(range(1, len(runs))))
    assert with_replicate(expected, runs[-1], len(runs) - 1, PRICE) == expected
    assert expected.first_run == with_first(runs[0], sampled=True)


@given(st.lists(SCORES, min_size=1, max_size=4))
def test_runs_differ_where_two_of_their_scores_do(scores):
    found = joined([a_run("e", score) for score in scores])
    assert differs(found) == (len(set(scores)) > 1)
    assert not differs(joined([a_run("e", 0.5), a_run("e", 0.5 + SAME_SCORE / 2)]))


def test_an_answer_that_is_not_sampled_and_one_that_failed_are_not_run_again():
    assert with_first(a_run("e", 1.0), sampled=False).replicates is None
    assert with_first(failed("e"), sampled=True).replicates is None
    assert lacking(None, 3) == lacking(failed("e"), 3) == lacking(a_run("e", 1.0), 3) == []
    assert lacking(joined([a_run("e", 1.0)]), 3) == [1, 2]
    middle = with_replicate(joined([a_run("e", 1.0)]), a_run("e", 0.0), 2, PRICE)
    assert lacking(middle, 3) == [1]
    assert lacking(middle, 1) == []


@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, True), ({"temperature": 0}, False), ({"temperature": 0.0}, False), ({"temperature": 0.7}, True),
     ({"top_k": 1}, False), ({"top_k": 1, "temperature": 1.0}, False), ({"top_k": 40, "temperature": 0.2}, True),
     ({"seed": 3}, True)],
)  # fmt: skip
def test_a_request_may_be_answered_otherwise_unless_it_asks_for_the_likeliest_answer(params, expected):
    assert may_differ(params) == expected
    requests = [SimpleNamespace(request=SimpleNamespace(params=one)) for one in ({"temperature": 0}, params)]
    assert is_sampled(SimpleNamespace(exchanges=requests)) == expected
    assert not is_sampled(SimpleNamespace(exchanges=()))


STATES = st.sampled_from(["unknown", "failed", "cold", "agrees", "differs", "lacks"])


def known_of(states):
    """Examples, and results of three runs each; `lacks` is one run of them, `cold` one that is not sampled."""
    examples = [Example(id=f"e{n}", content_hash=str(n), row=n, values={}) for n in range(len(states))]
    known = {}
    for example, state in zip(examples, states, strict=True):
        name, scores = example.id, {"agrees": (1.0, 1.0, 1.0), "differs": (1.0, 0.0, 1.0), "lacks": (1.0,)}
        if state == "failed":
            known[name] = failed(name)
        elif state == "cold":
            known[name] = a_run(name, 1.0)
        elif state != "unknown":
            known[name] = joined([a_run(name, score) for score in scores[state]])
    return examples, known


@given(st.lists(STATES, max_size=3 * PILOT))
def test_the_pilot_is_run_again_and_the_rest_where_its_runs_differ(states):
    examples, known = known_of(states)
    sampled = [n for n, state in enumerate(states) if state in ("agrees", "differs", "lacks")]
    pilot, rest = sampled[:PILOT], sampled[PILOT:]
    if not any(states[n] == "differs" for n in pilot):
        rest = []
    assert [e.row for e in pilot_of(examples, known)] == pilot
    assert [e.row for e in rest_of(examples, known)] == rest
    assert lack_runs(examples, known, 3) == any(states[n] == "lacks" for n in pilot + rest)
    assert not lack_runs(examples, known, 1)


@given(st.lists(STATES, max_size=3 * PILOT), st.randoms())
def test_what_is_run_again_does_not_depend_on_the_order_in_which_results_came(states, draw):
    examples, known = known_of(states)
    names = list(known)
    draw.shuffle(names)
    shuffled = {name: known[name] for name in names}
    assert pilot_of(examples, shuffled) == pilot_of(examples, known)
    assert rest_of(examples, shuffled) == rest_of(examples, known)


@given(st.lists(st.lists(SCORES, min_size=1, max_size=4), min_size=1, max_size=8))
def test_a_table_counts_examples_and_says_how_much_the_runs_of_one_differ(scores):
    results = [joined([a_run(f"e{n}", score) for score in runs]) for n, runs in enumerate(scores)]
    found = aggregate_of(results)
    means = [sum(runs) / len(runs) for runs in scores]
    assert found.n == len(scores)
    several = any(len(runs) > 1 for runs in scores)
    assert found.n_runs == (sum(map(len, scores)) if several else None)
    assert found.quality == pytest.approx(sum(means) / len(means))
    freedom = sum(len(runs) - 1 for runs in scores)
    if freedom:
        squares = sum((score - m) ** 2 for runs, m in zip(scores, means, strict=True) for score in runs)
        assert found.within_variance == pytest.approx(squares / freedom)
    once = aggregate_of([replace(result, replicates=None) for result in results])
    assert (found.quality_low, found.quality_high) == (once.quality_low, once.quality_high)
