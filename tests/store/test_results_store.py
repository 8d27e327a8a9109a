import math
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.records import Result, ResultState, Split, Usage
from offramp.store.results import ResultStore

SCORED = Result(
    candidate="c", example="e1", state=ResultState.SCORED, score=0.5, cost_usd=0.001, latency_s=0.3,
    usage=Usage(input_tokens=3, compute_s=0.2), outputs={"answer": "a", "n": [1, None]}, reason="close",
    parts={"exact": 0.0}, calls=1, cached_calls=2)  # fmt: skip


def test_a_result_comes_back_as_it_was(store):
    results = ResultStore(store)
    failed = replace(
        SCORED,
        example="e2",
        state=ResultState.INFRASTRUCTURE_ERROR,
        score=None,
        cost_usd=None,
        latency_s=None,
        outputs=None,
    )
    results.put("s", Split.SEARCH, [SCORED, failed])
    assert results.get("s", Split.SEARCH, "c") == {"e1": SCORED, "e2": failed}


def test_a_later_result_replaces_the_earlier_one_also_within_one_put(store):
    results = ResultStore(store)
    results.put("s", Split.SEARCH, [replace(SCORED, state=ResultState.INFRASTRUCTURE_ERROR, score=None)])
    results.put("s", Split.SEARCH, [replace(SCORED, score=0.1), SCORED])
    assert results.get("s", Split.SEARCH, "c")["e1"].score == 0.5


def test_splits_and_studies_never_answer_for_each_other(store):
    results = ResultStore(store)
    results.put("s", Split.SEARCH, [SCORED])
    assert results.get("s", Split.HOLDOUT, "c") == {} == results.get("t", Split.SEARCH, "c")


def test_all_gives_every_candidate(store):
    results = ResultStore(store)
    results.put("s", Split.SEARCH, [SCORED, replace(SCORED, candidate="d")])
    results.put("s", Split.SEARCH, [])
    assert {c: list(found) for c, found in results.all("s", Split.SEARCH).items()} == {"c": ["e1"], "d": ["e1"]}


def test_where_texts_are_not_kept_scores_are(store):
    ResultStore(store, store_text=False).put("s", Split.SEARCH, [SCORED])
    kept = ResultStore(store).get("s", Split.SEARCH, "c")["e1"]
    assert (kept.score, kept.outputs, kept.reason) == (0.5, None, None)


def test_an_answer_that_no_standard_json_can_hold_does_not_end_the_job(store):
    results = ResultStore(store)
    results.put("s", Split.SEARCH, [replace(SCORED, outputs={"n": math.inf, "t": "\x00\ud800"})])
    assert results.get("s", Split.SEARCH, "c")["e1"].outputs == {"n": math.inf, "t": "\x00\ud800"}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outputs=st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_any_json_output_comes_back(store, outputs):
    results = ResultStore(store)
    results.put("s", Split.TRAIN, [replace(SCORED, outputs=outputs)])
    assert results.get("s", Split.TRAIN, "c")["e1"].outputs == outputs
