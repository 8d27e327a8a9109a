"""Scores brought together by example: whose order they have and what only one side has changes nothing."""

from hypothesis import given
from hypothesis import strategies as st

from offramp.records import Result, ResultState
from offramp.study.domain.paired_comparison import compare_paired, compare_scores, scores_of

SCORES = st.dictionaries(st.text(max_size=3), st.sampled_from([0.0, 0.25, 1.0]), max_size=12)


@given(SCORES, SCORES, st.randoms())
def test_only_common_examples_count_in_any_order(a, b, random):
    both = sorted(a.keys() & b.keys())
    expected = compare_paired([a[name] for name in both], [b[name] for name in both], looks=3)
    shuffled = dict(random.sample(list(a.items()), len(a)))
    assert compare_scores(shuffled, b, looks=3) == compare_scores(a, b, looks=3) == expected


def test_a_failed_run_has_no_score_and_a_fault_has_zero():
    def result(name, state, score):
        return Result(candidate="c", example=name, state=state, score=score, cost_usd=None, latency_s=None)

    results = [
        result("a", ResultState.SCORED, 0.5),
        result("b", ResultState.PROGRAM_ERROR, 0.0),
        result("c", ResultState.INFRASTRUCTURE_ERROR, None),
    ]
    assert scores_of({each.example: each for each in results}) == {"a": 0.5, "b": 0.0}
