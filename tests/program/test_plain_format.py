"""The plain format: what is written is read back, what small models write is read as meant, the rest is a program error."""

from __future__ import annotations

import math
from typing import Any, Literal, Optional

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from hypothesis import given
from hypothesis import strategies as st

from offramp.program.plain import PlainMessages, answer_text, system_text, user_text, written
from offramp.program.signature import signature_of
from offramp.space.model import OutputField
from program_runs import make_fields

ENUM = ["billing", "Not sure", "C++", "(other)", "yes, please", 'the "best"', "null", "two\nlines", " edge ", "", "n/a"]


def signature(**outputs: OutputField) -> type[dspy.Signature]:
    return signature_of(make_fields(outputs), "Do it.")


def parse(completion: str, **outputs: OutputField) -> dict[str, Any]:
    return PlainMessages().parse(signature(**outputs), completion)


def faulty(completion: str, **outputs: OutputField) -> bool:
    try:
        parse(completion, **outputs)
    except AdapterParseError:
        return True
    return False


def enum(*values: str, optional: bool = False) -> OutputField:
    return OutputField(type="enum", values=list(values), optional=optional)


def plain_json(value: Any) -> Any:
    if isinstance(value, list):
        return [plain_json(item) for item in value]
    return value.model_dump() if hasattr(value, "model_dump") else value


TEXT = OutputField()
INT = OutputField(type="int")
FLOAT = OutputField(type="float")
BOOL = OutputField(type="bool")
SORT, URGENCY = enum("billing", "shipping"), enum("low", "high")

# ------------------------------------------------------------------------------------------- there and back

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
tricky = st.lists(
    st.sampled_from(["a: b", "b: x", "**c**: y", "text", "", " ", '"', "null", "- A :", "d:", "\r", "# e: 1", '"q"']),
    max_size=4,
).map("\n".join)
finite = st.floats(allow_nan=False, allow_infinity=False)
objects = st.fixed_dictionaries({"name": texts, "count": st.integers(-5, 5), "price": finite, "here": st.booleans()})
OBJECT = {"name": "str", "count": "int", "price": "float", "here": "bool"}

KINDS: dict[str, tuple[dict[str, Any], st.SearchStrategy[Any]]] = {
    "str": ({}, st.one_of(texts, tricky)),
    "int": ({}, st.integers(-(10**30), 10**30)),
    "float": ({}, finite),
    "bool": ({}, st.booleans()),
    "enum": ({"values": ENUM}, st.sampled_from(ENUM)),
    "list[str]": ({}, st.lists(st.one_of(texts, tricky), max_size=4)),
    "object": ({"fields": OBJECT}, objects),
    "list[object]": ({"fields": OBJECT}, st.lists(objects, max_size=3)),
}


@st.composite
def outputs_and_values(draw: st.DrawFn) -> tuple[dict[str, OutputField], dict[str, Any]]:
    fields, values = {}, {}
    for name in draw(st.permutations(["a", "B", "c", "c_", "reasoning"]))[: draw(st.integers(2, 5))]:
        kind, optional = draw(st.sampled_from(sorted(KINDS))), draw(st.booleans())
        more, strategy = KINDS[kind]
        fields[name] = OutputField(type=kind, optional=optional, **more)  # type: ignore[arg-type]
        values[name] = draw(st.one_of(st.none(), strategy) if optional else strategy)
    return fields, values


@given(outputs_and_values())
def test_several_outputs_are_read_back_as_they_were_written(
    case: tuple[dict[str, OutputField], dict[str, Any]],
) -> None:
    fields, values = case
    read = PlainMessages().parse(signature(**fields), answer_text(signature(**fields), values))
    assert {name: plain_json(value) for name, value in read.items()} == values


@given(st.data(), st.sampled_from(sorted(set(KINDS) - {"str"})), st.booleans())
def test_one_output_is_read_back_from_its_bare_value(data: st.DataObject, kind: str, optional: bool) -> None:
    more, strategy = KINDS[kind]
    field = OutputField(type=kind, optional=optional, **more)  # type: ignore[arg-type]
    value = data.draw(st.one_of(st.none(), strategy) if optional else strategy)
    text = answer_text(signature(a=field), {"a": value})
    assert text.strip(), "an empty answer would be no answer"
    assert plain_json(parse(text, a=field)["a"]) == value


@given(st.one_of(texts, tricky))
def test_one_text_is_its_bare_self_but_for_white_space_at_its_ends(text: str) -> None:
    assert answer_text(signature(a=TEXT), {"a": text}) == text
    assert parse(text, a=TEXT) == {"a": text.strip()}


@given(st.one_of(st.none(), texts, tricky))
def test_one_text_that_may_be_null_is_read_back_whole(text: str | None) -> None:
    field = OutputField(optional=True)
    assert parse(answer_text(signature(a=field), {"a": text}), a=field) == {"a": text}


def test_line_breaks_of_a_text_are_kept_between_other_fields() -> None:
    values = {"reply": "Dear Ann,\n\nthanks.\nBob", "category": "billing"}
    written_ = answer_text(signature(reply=TEXT, category=SORT), values)
    assert written_ == "reply: Dear Ann,\n\nthanks.\nBob\ncategory: billing"
    assert parse(written_, reply=TEXT, category=SORT) == values


def test_a_text_with_a_line_that_reads_as_another_field_is_written_as_a_json_string() -> None:
    values = {"reply": "See:\ncategory: shipping", "category": "billing"}
    written_ = answer_text(signature(reply=TEXT, category=SORT), values)
    assert written_ == 'reply: "See:\\ncategory: shipping"\ncategory: billing'
    assert parse(written_, reply=TEXT, category=SORT) == values


def test_null_gets_another_word_where_an_option_is_called_null() -> None:
    annotation = Optional[Literal["null", "a"]]  # noqa: UP045
    assert written(None, annotation) == "none"
    assert parse("none", a=enum("null", "a", optional=True)) == {"a": None}
    assert parse("null", a=enum("null", "a", optional=True)) == {"a": "null"}


# --------------------------------------------------------------------------------------- what models write


@pytest.mark.parametrize(
    "answer",
    [
        "**category**: billing\n**urgency**: high",
        "**category:** billing\n**urgency:** high",
        "**category: billing**\n**urgency: high**",
        "- category: billing\n- urgency: high",
        "* Category : Billing\n* URGENCY : High.",
        "### category: `billing`\n### urgency: 'high'",
        "`category`: billing\r\n`urgency`: high\r\n",
        "Sure, here it is:\n\ncategory: billing\n\nurgency: high",
        "urgency: high\ncategory: billing",
        "category:\nbilling\nurgency:\nhigh",
        "category: billing\nurgency: high\n\nI hope this helps. Let me know: is there more?",
        "category: billing\nurgency: high\ncategory: shipping\nurgency: low",
        'category: "billing"\nurgency: (high)',
    ],
)
def test_markdown_case_order_and_chatter_do_not_matter(answer: str) -> None:
    assert parse(answer, category=SORT, urgency=URGENCY) == {"category": "billing", "urgency": "high"}


@pytest.mark.parametrize(
    "answer",
    [
        "category: billing",
        "billing\nhigh",
        "category: billing, urgency: high",
        "category: refunds\nurgency: high",
        "category: billing or shipping\nurgency: high",
        "category: \nurgency: high",
        "my category: billing\nurgency: high",
        "",
    ],
)
def test_a_missing_line_or_a_value_that_is_not_an_option_is_a_program_error(answer: str) -> None:
    assert faulty(answer, category=SORT, urgency=URGENCY)


@pytest.mark.parametrize("answer", ["billing", " Billing.\n", "**billing**", '"BILLING"', "[billing]", "billing!"])
def test_case_and_punctuation_around_an_option_do_not_matter(answer: str) -> None:
    assert parse(answer, category=SORT) == {"category": "billing"}


def test_options_that_differ_by_case_or_punctuation_are_distinguished() -> None:
    field = enum("A", "a", "C", "C.", "(x)")
    for value in ("A", "a", "C", "C.", "(x)"):
        assert parse(value, c=field) == {"c": value}
    assert parse("X", c=field) == {"c": "(x)"}
    assert faulty("c!", c=field), "C or C. cannot be told"


def test_an_empty_answer_names_no_option_made_of_punctuation() -> None:
    assert faulty("  ", c=enum("!", "ok"))


def test_names_that_differ_by_an_underscore_are_distinguished() -> None:
    assert parse("x_: 2_\nx: 3", x=TEXT, x_=TEXT) == {"x_": "2_", "x": "3"}


def test_names_that_differ_by_case_are_distinguished() -> None:
    assert parse("a: 1\nA: 2", A=INT, a=INT) == {"a": 1, "A": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42), ("-7", -7), ("+7", 7), ("\N{MINUS SIGN}7", -7), ("1,234,567", 1234567), ("1 234", 1234),
        ("1_000", 1000), ("1'000", 1000), ("**12**", 12), ("12.", 12), ("3.0", 3), ("1e3", 1000), ("007", 7),
    ],
)  # fmt: skip
def test_whole_numbers_may_have_signs_and_separators(text: str, value: int) -> None:
    read = parse(text, n=INT)["n"]
    assert read == value and type(read) is int


@pytest.mark.parametrize(
    ("text", "value"),
    [("3.14", 3.14), (".5", 0.5), ("-.5", -0.5), ("5.", 5.0), ("1,234.5", 1234.5), ("2e-3", 0.002), ("7", 7.0)],
)
def test_numbers_keep_their_point(text: str, value: float) -> None:
    assert parse(text, n=FLOAT) == {"n": value}


@pytest.mark.parametrize(
    "text", ["3,14", "1,2,3", "12,34,567", "1.000.000", "nan", "inf", "1e999", "ten", "", "-", "5 %"]
)
def test_what_is_not_a_number_is_a_program_error_and_never_another_number(text: str) -> None:
    assert faulty(text, n=FLOAT)


@pytest.mark.parametrize("text", ["3.5", "1e-3", "3,14", "true"])
def test_what_is_not_a_whole_number_is_a_program_error(text: str) -> None:
    assert faulty(text, n=INT)


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True.", True), ("**no**", False), ("YES", True), ("0", False)]
)
def test_booleans_are_read_as_people_write_them(text: str, value: bool) -> None:
    assert parse(text, b=BOOL)["b"] is value


def test_what_is_neither_true_nor_false_is_a_program_error() -> None:
    assert faulty("maybe", b=BOOL)


@pytest.mark.parametrize("text", ["null", "None", "**null**", "(none)", ""])
@pytest.mark.parametrize(
    "field",
    [OutputField(type="int", optional=True), enum("a", "b", optional=True), OutputField(type="bool", optional=True)],
)
def test_an_optional_output_may_be_null(text: str, field: OutputField) -> None:
    assert parse(f"a: {text}\nc: 1", a=field, c=INT) == {"a": None, "c": 1}


def test_an_optional_output_may_be_left_out() -> None:
    assert parse("c: 1", a=OutputField(optional=True), c=INT) == {"a": None, "c": 1}


def test_an_optional_number_is_read_like_any_other() -> None:
    assert parse("1,000", n=OutputField(type="int", optional=True)) == {"n": 1000}


def test_lists_and_objects_are_read_from_json_with_fences_and_over_lines() -> None:
    items = OutputField(type="list[object]", fields={"product": "str", "quantity": "int"})
    answer = 'tags: ```json\n["a", "b"]\n```\nitems: [\n {"product": "jam",\n  "quantity": 2}\n]'
    read = parse(answer, tags=OutputField(type="list[str]"), items=items)
    assert read["tags"] == ["a", "b"]
    assert plain_json(read["items"]) == [{"product": "jam", "quantity": 2}]


def test_a_list_of_the_wrong_things_is_a_program_error() -> None:
    assert faulty("[1, 2]", tags=OutputField(type="list[str]"))
    assert faulty("a, b", tags=OutputField(type="list[str]"))


def test_of_unions_other_than_null_no_option_is_forced() -> None:
    chosen = dspy.Signature({"q": (str, dspy.InputField()), "a": (Literal["x"] | int, dspy.OutputField())})
    assert PlainMessages().parse(chosen, "5") == {"a": 5}


def test_the_reasoning_of_a_chain_of_thought_may_be_missing() -> None:
    thinking = dspy.ChainOfThought(signature(category=SORT)).predict.signature
    parsed = PlainMessages().parse(thinking, "reasoning: An invoice.\nSo money.\ncategory: billing")
    assert parsed == {"reasoning": "An invoice.\nSo money.", "category": "billing"}
    assert PlainMessages().parse(thinking, "category: billing") == {"reasoning": "", "category": "billing"}
    with pytest.raises(AdapterParseError):
        PlainMessages().parse(thinking, "reasoning: An invoice.")


# ------------------------------------------------------------------------------------------------- prompts


def test_a_single_output_has_no_form_and_several_have_one() -> None:
    assert system_text(signature(category=SORT)) == "Do it."
    several = signature(
        category=SORT, reply=OutputField(desc="a short reply"), n=INT, ok=OutputField(type="bool", optional=True)
    )
    assert system_text(several) == (
        "Do it.\n\nAnswer in this form:\ncategory: billing | shipping\nreply: <a short reply>\nn: <whole number>\n"
        "ok: true | false | null"
    )


def test_one_input_is_bare_and_several_are_lines() -> None:
    one, two = signature_of(make_fields(inputs=("a",)), "x"), signature_of(make_fields(inputs=("a", "b")), "x")
    assert user_text(one, {"a": "hello"}) == "hello"
    assert user_text(two, {"a": "hello", "b": ["x", 1]}) == 'a: hello\nb: ["x", 1]'


def test_nan_is_written_by_nobody() -> None:
    assert faulty(written(math.nan, float), n=FLOAT)
