"""Agreement of structured answers, against pairings tried one by one."""

import asyncio
import itertools
import math
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.records import Example
from offramp.task.metrics.json_fields import EXACT_UP_TO, JsonFields, agreement, best_pairing


def _brute_force(similarity):
    if not similarity or not similarity[0]:
        return 0.0
    if len(similarity) > len(similarity[0]):
        similarity = list(zip(*similarity, strict=True))
    columns = range(len(similarity[0]))
    return max(
        sum(similarity[i][j] for i, j in enumerate(order)) for order in itertools.permutations(columns, len(similarity))
    )


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    cell = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
    return [[draw(cell) for _ in range(columns)] for _ in range(rows)]


@given(matrices())
@settings(max_examples=200, deadline=None)
def test_the_best_pairing_is_the_best_of_all_permutations(similarity):
    assert math.isclose(best_pairing(similarity), _brute_force(similarity), abs_tol=1e-9)


def test_greedy_pairing_would_be_wrong_here():
    assert best_pairing([[0.9, 0.8], [0.8, 0.0]]) == pytest.approx(1.6)


def test_a_runaway_list_is_paired_greedily_and_still_bounded():
    gold = [{"p": i, "q": 1} for i in range(3)]
    answer = [{"p": i % 5, "q": 2} for i in range(EXACT_UP_TO * 20)]
    assert agreement(gold, answer) == pytest.approx(2 * 1.5 / (3 + EXACT_UP_TO * 20))


items = st.fixed_dictionaries({"p": st.sampled_from(["x", "y", "z"]), "q": st.integers(1, 3)})


@given(st.lists(items, max_size=5), st.lists(items, max_size=5))
@settings(max_examples=150, deadline=None)
def test_lists_of_objects_score_the_f1_of_the_best_pairing(gold, answer):
    similarity = [[((a["p"] == b["p"]) + (a["q"] == b["q"])) / 2 for b in answer] for a in gold]
    n = len(gold) + len(answer)
    expected = 2 * _brute_force(similarity) / n if n else 1.0
    assert math.isclose(agreement(gold, answer), expected, abs_tol=1e-9)
    assert math.isclose(agreement(gold, answer), agreement(answer[::-1], gold), abs_tol=1e-9)


@given(st.lists(st.sampled_from(["a", "B", "c d"]), max_size=6), st.randoms())
def test_a_list_agrees_with_itself_in_any_order(values, rnd):
    shuffled = [value.upper().replace(" ", "  ") for value in values]
    rnd.shuffle(shuffled)
    assert agreement(values, shuffled) == 1.0


@pytest.mark.parametrize(
    ("gold", "answer", "value"),
    [
        (2, 2.0, 1),
        (2, "2", 1),
        (2, True, 0),
        ("a  b", " A b", 1),
        ("a", None, 0),
        (None, None, 1),
        (None, "", 1),
        ([], None, 1),
        ([], ["x"], 0),
        (["x"], [], 0),
        (["x", "x"], ["x"], 2 / 3),
        (["x"], "x", 0),
        (["x"], '["X"]', 1),
        (["x"], "[" * 100_000, 0),
        ({"a": 1, "b": None}, {"a": 1}, 1),
        ({"a": 1}, {"a": 1, "b": 2}, 0.5),
        ({"a": None}, {}, 1),
        ({"a": ["x", "y"]}, {"a": ["y"]}, 2 / 3),
        ({"a": 1}, ["a"], 0),
        ([{"p": "x", "q": 2}], [{"p": "X", "q": 3}], 0.5),
        (False, "false", 1),
        (0, False, 0),
        (0, None, 0),
    ],
)
def test_agreement_of_one_field(gold, answer, value):
    assert agreement(gold, answer) == pytest.approx(value)


def test_fields_are_weighted_and_the_feedback_names_the_wrong_ones():
    metric = JsonFields(name="j", fingerprint="f", weights={"city": 3.0, "tags": 1.0})
    example = Example(id="e", content_hash="h", values=MappingProxyType({"city": "Oslo", "tags": ["a", "b"]}), row=1)
    score = asyncio.run(metric.score(example, {"city": "oslo", "tags": ["a"]}, None))
    assert score.value == pytest.approx((3 + 2 / 3) / 4)
    assert score.feedback == 'tags: expected ["a", "b"], got ["a"]'
    assert asyncio.run(metric.score(example, {"city": "Oslo", "tags": ["b", "a"]}, None)).feedback is None
