"""Each kind of metric on answers right, wrong, odd and missing."""

import asyncio
import math
import re
from collections import Counter
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from offramp.errors import DatasetError, SpaceError
from offramp.records import Example
from offramp.space.model import Metric as MetricPart
from offramp.space.model import TaskPart
from offramp.task.fields import task_fields
from offramp.task.metrics import build_metric, gold_columns, gold_pairs, refuse_bad_gold, show_columns
from offramp.task.metrics.token_f1 import token_f1

FIELDS = task_fields(TaskPart(signature="q -> a, n: float, tags: list[str]"), "s.yaml")


def part(**given):
    return TypeAdapter(MetricPart).validate_python(given)


def build(**given):
    return build_metric(part(**given), fields=FIELDS, base=None, models={}, where=lambda key: "s.yaml")


def example(**values):
    return Example(id="e", content_hash="h", values=MappingProxyType(values), row=7)


def score(metric, outputs, **values):
    return asyncio.run(metric.score(example(**values), outputs, None))


@pytest.mark.parametrize(
    ("gold", "answer", "value"),
    [
        ("Yes", " yes\n", 1),
        ("Stra\u00dfe", "STRASSE", 1),
        ("e\u0301", "\u00e9", 1),
        ("007", "7", 0),
        (2, "2.0", 1),
        (0.1, "0.1", 1),
        (12345678901234567890, "12345678901234567891", 0),
        (True, "TRUE", 1),
        (True, 1, 0),
        (None, None, 1),
        (None, "", 0),
        ("nan", "nan", 1),
        (["a", "B"], ["A", "b"], 1),
        (["a", "b"], ["b", "a"], 0),
        ({"x": 1, "y": None}, {"x": "1"}, 1),
        ("a", ["a"], 0),
        ("a", None, 0),
    ],
)
def test_exact_compares_values_as_people_do(gold, answer, value):
    assert score(build(kind="exact", field="a"), {"a": answer}, a=gold).value == value


def test_exact_says_what_was_expected_and_what_came():
    assert score(build(kind="exact", field="a"), {"a": "no"}, a="yes").feedback == 'a: expected "yes", got "no"'
    assert score(build(kind="exact", field="a"), {}, a="yes").feedback == 'a: expected "yes", got null'
    assert score(build(kind="exact", field="a", case_sensitive=True), {"a": "Yes"}, a="yes").value == 0
    assert score(build(kind="exact", field="a", gold="want"), {"a": "x"}, want="x", a="y").value == 1


def _naive_f1(answer, gold):
    def bag(text):
        text = re.sub(r"[.,!]", "", text.lower())
        return [word for word in text.split() if word not in ("a", "an", "the")]

    left, right = bag(answer), bag(gold)
    if not left or not right:
        return float(left == right)
    hits = sum(min(left.count(word), right.count(word)) for word in set(left))
    precision, recall = hits / len(left), hits / len(right)
    return 2 * precision * recall / (precision + recall) if hits else 0.0


texts = st.lists(st.sampled_from(["the", "A", "cat", "Cat,", "sat!", "on", "an", "mat."]), max_size=8).map(" ".join)


@given(texts, texts)
def test_token_f1_equals_precision_and_recall_counted_by_hand(answer, gold):
    assert math.isclose(token_f1(answer, gold), _naive_f1(answer, gold))
    assert token_f1(answer, gold) == token_f1(gold, answer)


def test_token_f1_takes_the_best_of_several_accepted_answers():
    metric = build(kind="token_f1", field="a")
    assert score(metric, {"a": "New York"}, a=["NYC", "the New York"]).value == 1
    assert score(metric, {"a": None}, a=["NYC"]).value == 0
    assert score(metric, {"a": ["x", "y"]}, a=["y", "x"]).value == 1


def test_contains_counts_all_any_or_none():
    values = ["refund", "14 days"]
    answer = {"a": "REFUND within\n14   days"}
    half = {"a": "a refund"}
    assert score(build(kind="contains", field="a", values=values), answer).value == 1
    assert score(build(kind="contains", field="a", values=values), half).value == 0.5
    assert score(build(kind="contains", field="a", values=values, mode="any"), half).value == 1
    assert score(build(kind="contains", field="a", values=values, mode="any"), {"a": None}).value == 0
    none = score(build(kind="contains", field="a", values=values, mode="none"), half)
    assert (none.value, none.feedback) == (0, "a must not contain 'refund'")
    assert score(build(kind="contains", field="a", values=["Refund"], case_sensitive=True), half).value == 0


def test_contains_reads_its_strings_from_the_row():
    metric = build(kind="contains", field="a", values_from="must")
    assert score(metric, {"a": "x y"}, must="X").value == 1
    assert score(metric, {"a": "x y"}, must=["x", "z"]).value == 0.5
    assert score(metric, {"a": "x y"}, must=None).value == 1
    with pytest.raises(DatasetError, match=r"row 7: 'must' does not hold strings"):
        score(metric, {"a": "x"}, must=[1])


def test_regex_finds_or_does_not_find():
    assert score(build(kind="regex", field="a", pattern=r"^\d+$"), {"a": "42"}).value == 1
    wrong = score(build(kind="regex", field="a", pattern=r"^\d+$"), {"a": "x"})
    assert wrong.value == 0 and "does not match" in wrong.feedback
    assert score(build(kind="regex", field="a", pattern="sorry", found=False), {"a": None}).value == 1


def test_a_regex_without_end_is_cut_off_and_scored_0_with_the_reason():
    import dataclasses

    metric = dataclasses.replace(build(kind="regex", field="a", pattern=r"(a+)+(b+)+(a|aa)+c\1\2$"), timeout_s=0.05)
    cut = score(metric, {"a": "aab" * 60 + "!" + "a" * 4000})
    assert cut.value == 0 and "cut off" in cut.feedback


def test_number_allows_its_tolerance_and_no_more():
    loose = build(kind="number", field="n", absolute=0.5)
    assert [score(loose, {"n": n}, n=10).value for n in (10.5, 10.51, 9.5)] == [1, 0, 1]
    assert score(build(kind="number", field="n", relative=0.1), {"n": "109"}, n="100").value == 1
    assert score(build(kind="number", field="n"), {"n": "many"}, n=1).value == 0
    assert score(build(kind="number", field="n"), {"n": None}, n=None).value == 1
    with pytest.raises(DatasetError, match=r"row 7: 'n'"):
        score(build(kind="number", field="n"), {"n": 1}, n="many")


def test_length_falls_linearly_to_zero_at_twice_the_limit():
    metric = build(kind="length", field="a", max_words=4, min_words=2)
    values = [score(metric, {"a": "w " * n}).value for n in (0, 1, 2, 4, 6, 8, 20)]
    assert values == [0, 0.5, 1, 1, 0.5, 0, 0]
    assert score(build(kind="length", field="a", max_words_from="most"), {"a": "w w"}, most="1").value == 0


def test_a_mix_is_the_weighted_mean_and_keeps_its_parts():
    metric = build(
        kind="mix",
        parts=[
            {"kind": "exact", "field": "a", "weight": 3},
            {"kind": "mix", "name": "inner", "parts": [{"kind": "length", "field": "a", "max_words": 1}]},
        ],
    )
    got = score(metric, {"a": "no"}, a="yes")
    assert got.value == 0.25
    assert got.parts == {"exact:a": 0.0, "inner": 1.0, "inner/length:a": 1.0}
    assert got.feedback == 'exact:a: a: expected "yes", got "no"'


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"kind": "exact", "field": "aa"},
            "s.yaml: metric: field: got 'aa', expected an output field of the task: 'a'",
        ),
        ({"kind": "json_fields", "fields": ["tag"]}, "Did you mean 'tags'?"),
        ({"kind": "json_fields", "fields": ["tags"], "weights": {"tagz": 1}}, "weights: got 'tagz'"),
        ({"kind": "json_fields", "fields": ["a", "a"]}, "each field once"),
        ({"kind": "regex", "field": "a", "pattern": "("}, "metric.pattern: not a regular expression"),
        ({"kind": "contains", "field": "a", "values": []}, "one or more texts"),
        ({"kind": "contains", "field": "a", "values": [" "]}, "none of them blank"),
        ({"kind": "length", "field": "a", "max_words": 2, "min_words": 3}, "at most 2"),
        ({"kind": "length", "field": "a", "max_words": 2, "max_words_from": "m"}, "both `max_words`"),
        (
            {"kind": "mix", "parts": [{"kind": "exact", "field": "a"}, {"kind": "exact", "field": "b"}]},
            "metric.parts.1",
        ),
        ({"kind": "mix", "parts": [{"kind": "exact", "field": "a"}] * 2}, "several parts are called 'exact:a'"),
    ],
)
def test_a_metric_that_does_not_fit_the_task_is_refused_with_the_place(given, words):
    with pytest.raises(SpaceError) as caught:
        build(**given)
    assert words in str(caught.value)


def test_a_fingerprint_follows_the_definition_and_not_its_label():
    base = build(kind="exact", field="a").fingerprint
    assert build(kind="exact", field="a", name="other", weight=2).fingerprint == base
    others = [
        build(kind="exact", field="a", case_sensitive=True),
        build(kind="exact", field="n"),
        build(kind="token_f1", field="a"),
        build(kind="mix", parts=[{"kind": "exact", "field": "a"}]),
        build(kind="mix", parts=[{"kind": "exact", "field": "a", "weight": 2}]),
    ]
    assert max(Counter([base, *(metric.fingerprint for metric in others)]).values()) == 1


MIXED = {
    "kind": "mix",
    "parts": [
        {"kind": "exact", "field": "a", "gold": "want"},
        {"kind": "number", "field": "n"},
        {"kind": "json_fields", "fields": ["tags"]},
        {"kind": "contains", "field": "a", "values_from": "must"},
        {"kind": "length", "field": "a", "max_words_from": "most"},
        {"kind": "judge", "model": "m", "rubric": "is it good?", "show": ["note"]},
        {"kind": "regex", "field": "a", "pattern": "x"},
    ],
}


def test_the_columns_that_a_metric_needs_are_known():
    assert gold_columns(part(**MIXED)) == {"want", "n", "tags", "must", "most", "note"}
    assert gold_pairs(part(**MIXED)) == {("want", "a"), ("n", "n"), ("tags", "tags")}
    assert show_columns(part(**MIXED)) == {"note", "must"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"most": 0}, "d:7: most: got 0, expected a whole number"),
        ({"must": ["x", ""]}, "d:7: must"),
    ],
)
def test_gold_that_cannot_be_compared_with_is_found_before_a_job(row, words):
    good = {"n": "about 3", "most": "5", "must": ["x"]}
    refuse_bad_gold(part(**MIXED), [example(**good)], lambda n: f"d:{n}")
    with pytest.raises(DatasetError) as caught:
        refuse_bad_gold(part(**MIXED), [example(**{**good, **row})], lambda n: f"d:{n}")
    assert words in str(caught.value)
