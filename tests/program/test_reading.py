"""The rules of docs/answers.md: one reader of labels, numbers, booleans and JSON, whatever the format around them."""

import json
from typing import Literal

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from hypothesis import given
from hypothesis import strategies as st

from offramp.program.adapters import adapter_of
from offramp.program.reading import Unreadable, chat_fields, json_fields, read_value
from program_runs import make_candidate

Kind = Literal["theft", "late", "late delivery", "other / unknown", "a+"]


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("theft", "theft"), (" THEFT ", "theft"), ("Theft.", "theft"), ("theft!", "theft"), ("theft\u3002", "theft"),
        ('"theft"', "theft"), ("'theft'", "theft"), ("\u201ctheft\u201d", "theft"), ("\u00abtheft\u00bb", "theft"),
        ("\u201etheft\u201c", "theft"), ("`theft`", "theft"), ("**theft**", "theft"), ("*Theft*.", "theft"),
        ("[theft]", "theft"), ("(theft)", "theft"), ("<theft>", "theft"), ("- theft", "theft"), ("\u2022 theft", "theft"),
        ("\u200btheft", "theft"), ("th\u200deft", "theft"), ("\ufefftheft\u2060", "theft"), ("\uff54\uff48\uff45\uff46\uff54", "theft"),
        ("theft\n\nThe parcel was stolen, it is not late.", "theft"), ("theft\nlate", "theft"),
        ("Answer: theft", "theft"), ("**Answer:** theft", "theft"), ("**Label**: theft", "theft"), ("The answer is theft.", "theft"),
        ("Final answer: theft", "theft"), ("kind: theft", "theft"), ("Kind = theft", "theft"), ("kind is theft", "theft"),
        ("```\ntheft\n```", "theft"), ("```theft```", "theft"), ('{"kind": "theft"}', "theft"), ('```json\n{"kind": "Theft."}\n```', "theft"),
        ("theft, because it was stolen", "theft"), ("theft (it was stolen)", "theft"), ("Theft - stolen from the porch", "theft"),
        ("late delivery", "late delivery"), ("Late  delivery.", "late delivery"), ("late", "late"), ("A+.", "a+"),
        ("other / unknown", "other / unknown"),
    ],
)  # fmt: skip
def test_a_label_is_read_through_its_decoration(answer, label):
    assert read_value(answer, Kind, name="kind") == label


@pytest.mark.parametrize(
    "answer",
    ["", "   ", "...", "theft or late", "theft/late", "not theft", "It is not theft", "late. It was not theft",
     "theft is wrong", "steal", "thefts", "label", '{"kind": "theft", "other": "late"}x', "The answer is unclear: theft or late"],
)  # fmt: skip
def test_an_answer_that_leaves_a_doubt_is_not_read_as_a_label(answer):
    with pytest.raises(Unreadable):
        read_value(answer, Kind, name="kind")


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("42", 42), ("42.", 42), ("+42", 42), ("about 42", 42), ("42 items", 42), ("Answer: 42", 42), ("**42**", 42),
        ("42\n\n6 times 7", 42), ("1,234", 1234), ("1\u202f234", 1234), ("1 234 567", 1234567), ("3.0", 3), ("\u22124", -4), ("-350", -350),
        ("-3.5e2", -350), ('{"n": 42}', 42), ('"42"', 42), ("$42", 42), ("42 \u20ac", 42),
    ],
)  # fmt: skip
def test_a_whole_number_is_read_through_its_decoration(answer, number):
    found = read_value(answer, int, name="n")
    assert found == number and type(found) is int
    assert read_value(answer, float, name="n") == float(number)


@pytest.mark.parametrize(
    "answer",
    ["", "none at all", "3 or 4", "3-4", "10/20", "5k", "5 %", "5%", "3,14", "2026-01-01", "1.2.3", "x1", "1e999x"],
)
def test_an_answer_that_leaves_a_doubt_is_not_read_as_a_number(answer):
    with pytest.raises(Unreadable):
        read_value(answer, float, name="n")


@pytest.mark.parametrize(("answer", "number"), [("$1,234.50", 1234.5), (".5", 0.5), ("0.25.", 0.25)])
def test_a_number_with_a_fraction_is_read_and_is_no_whole_one(answer, number):
    assert read_value(answer, float) == number
    with pytest.raises(Unreadable):
        read_value(answer, int)


@pytest.mark.parametrize(
    ("answer", "truth"),
    [("true", True), ("True.", True), ("yes", True), ("Yes, it is", True), ("1", True), ("**Yes**", True), ("Answer: no", False),
     ("No.", False), ("FALSE", False), ("0", False), ("no\nbecause yes would be wrong", False)],
)  # fmt: skip
def test_a_boolean_is_read_through_its_decoration(answer, truth):
    assert read_value(answer, bool) is truth


@pytest.mark.parametrize("answer", ["maybe", "yes and no", "", "true or false", "2"])
def test_an_answer_that_leaves_a_doubt_is_not_read_as_a_boolean(answer):
    with pytest.raises(Unreadable):
        read_value(answer, bool)


@pytest.mark.parametrize("answer", ["null", "None", "N/A", ""])
@pytest.mark.parametrize("annotation", [int | None, Kind | None, bool | None, list[int] | None, str | None])
def test_null_is_read_where_it_is_an_answer(answer, annotation):
    assert read_value(answer, annotation) is None


@pytest.mark.parametrize("answer", ["none.", '"null"', "(null)", "**None**"])
def test_decorated_null_is_read_for_every_type_but_text(answer):
    assert read_value(answer, int | None) is None
    assert read_value(answer, str | None) is not None


def test_a_label_called_none_is_a_label():
    assert read_value("None.", Literal["none", "some"] | None) == "none"


@pytest.mark.parametrize(
    "answer",
    [
        "[1, 2]",
        "[1, 2,]",
        "```json\n[1, 2]\n```",
        "Here you are:\n```\n[1, 2]\n```\nAnything else?",
        "The list is [1, 2].",
    ],
)
def test_json_is_read_from_fences_and_prose(answer):
    assert read_value(answer, list[int]) == [1, 2]


def test_text_stands_as_it_is():
    assert read_value(" «a» \n b ", str) == "«a» \n b"


@pytest.mark.parametrize("answer", ["Theft", "theft.", '"theft"', "Answer: theft", "theft\nbecause"])
def test_strict_reads_nothing_that_is_not_exactly_of_the_type(answer):
    with pytest.raises(Unreadable):
        read_value(answer, Kind, name="kind", strict=True)
    assert read_value("theft", Kind, strict=True) == "theft"


@pytest.mark.parametrize(("answer", "kind"), [("42.", int), ("yes", bool), ("1,000", int), ("[1,]", list[int])])
def test_strict_reads_no_decorated_number_boolean_or_json(answer, kind):
    read_value(answer, kind)
    with pytest.raises(Unreadable):
        read_value(answer, kind, strict=True)


@given(
    st.one_of(
        st.sampled_from(["theft", "late", "a+"]), st.integers(-(10**6), 10**6), st.booleans(), st.lists(st.integers())
    )
)
def test_what_strict_reads_is_read_the_same_without_it(value):
    import json

    annotation = Kind if isinstance(value, str) else list[int] if isinstance(value, list) else type(value)
    text = value if isinstance(value, str) else json.dumps(value)
    assert read_value(text, annotation, strict=True) == read_value(text, annotation) == value


def test_marks_of_the_chat_format_are_found_anywhere_on_a_line():
    text = "[[ ## reason ## ]] late[[ ## kind ## ]] theft [[ ## completed ## ]]"
    assert chat_fields(["reason", "kind"], text) == {"reason": "late", "kind": "theft"}
    assert chat_fields(["reason", "kind"], "[[## Reason ##]]\na\nb\n[[ ## KIND ## ]]\ntheft") == {
        "reason": "a\nb",
        "kind": "theft",
    }


def test_the_first_mark_of_a_field_counts_and_unknown_marks_end_a_field():
    text = "[[ ## kind ## ]] theft [[ ## note ## ]] x [[ ## kind ## ]] late"
    assert chat_fields(["kind"], text) == {"kind": "theft"}


def test_a_single_field_may_come_without_its_mark():
    assert chat_fields(["kind"], " theft ") == {"kind": "theft"}
    assert chat_fields(["kind", "why"], "theft") == {}
    assert json_fields(["kind"], "theft") == {"kind": "theft"}


@pytest.mark.parametrize(
    "text",
    [
        '{"kind": "theft", "n": 4}',
        '```json\n{"kind": "theft", "n": 4}\n```',
        'Sure!\n{"Kind": "theft", "N": 4}',
        '{"kind": "theft", "n": 4,}',
    ],
)
def test_keys_of_the_json_format_are_found(text):
    assert json_fields(["kind", "n"], text) == {"kind": "theft", "n": 4}


def test_apps_that_render_messages_themselves_read_with_the_same_function():
    import offramp

    assert offramp.read_value is read_value and offramp.Unreadable is Unreadable


SAME_EVERYWHERE = {
    "kind": [
        ("Theft.", "theft"), ("\u00abtheft\u00bb", "theft"), ("\u201ctheft\u201d", "theft"), ("\u2039theft\u203a", "theft"),
        ("\u300ctheft\u300d", "theft"), ("theft\u3002", "theft"), ("theft\uff0c", "theft"), ("theft\u2026", "theft"),
        ("theft\u200b", "theft"), ("th\u00adeft", "theft"), ("\ufefftheft\u2060.", "theft"), ("theft\n\nIt was stolen.", "theft"),
        ("Theft \u2014 it was stolen", "theft"), ("**theft**", "theft"), ("# theft", "theft"), ("\u2705 theft", "theft"),
        ("Kind\uff1a theft", "theft"), ("The kind is theft.", "theft"), ("<answer>theft</answer>", "theft"),
        ("<b>Theft</b>.", "theft"), ("\\boxed{theft}", "theft"), ("\\boxed{\\text{theft}}", "theft"), ('["theft"]', "theft"),
        ("late-delivery", "late delivery"), ("Late_delivery", "late delivery"), ("late\u2011delivery.", "late delivery"),
        ("late", "late"), ("late-ish", None), ("lateness", None), ("theft/late", None), ("not theft", None), ("", None),
        ("It may be theft", None), ("<answer>theft or late</answer>", None),
    ],
    "count": [
        ("42\u3002", 42), ("\u201c42\u201d", 42), ("4\uff12", 42), ("\u0664\u0662", 42), ("\u200b42", 42), ("1,234", 1234),
        ("42 \u20ac", 42), ("\\boxed{42}", 42), ("<answer>42</answer>", 42), ("1.234,5", None), ("42%", None), ("4/5", None),
        ("42 or 43", None), ("10\u00b2", None),
    ],
    "ok": [
        ("True.", True), ("\u201cyes\u201d", True), ("No, it is not", False), ("<answer>yes</answer>", True),
        ("yes\n\nbecause no", True), ("true or false", None), ("not true", None), ("maybe", None),
    ],
}  # fmt: skip
"""Answers by the field that is asked for, and what they say; None: unreadable."""
TYPES = {"kind": Literal["theft", "late", "late delivery"], "count": int, "ok": bool}


@pytest.mark.parametrize(
    ("name", "answer", "value"), [(n, *case) for n, cases in SAME_EVERYWHERE.items() for case in cases]
)
def test_an_answer_says_the_same_in_every_format(name, answer, value):
    signature = dspy.Signature({"message": (str, dspy.InputField()), name: (TYPES[name], dspy.OutputField())}, "Sort.")
    written = {
        "plain": [answer],
        "chat": [answer, f"[[ ## {name} ## ]]\n{answer}\n\n[[ ## completed ## ]]", f"[[ ## {name} ## ]] {answer}"],
        "json": [answer, json.dumps({name: answer}), f"```json\n{json.dumps({name: answer})}\n```"],
    }
    for adapter, texts in written.items():
        for text in texts:
            try:
                found = adapter_of(make_candidate(adapter=adapter)).parse(signature, text)[name]
            except AdapterParseError:
                found = None
            assert (found, type(found)) == (value, type(value)), (adapter, text)
