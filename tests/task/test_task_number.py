"""The metric `number`: what counts as the number of a text, in Python and in the JavaScript of exports."""

import asyncio
import json
import math
import shutil
import subprocess
from types import MappingProxyType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from offramp.promote.exports.promptfoo_assertions import _LAST
from offramp.records import Example
from offramp.space.model import Metric as MetricPart
from offramp.space.model import TaskPart
from offramp.task.fields import task_fields
from offramp.task.metrics import build_metric
from offramp.task.metrics.number import last_number

PLAIN = [
    ("2 + 2 = 4.", 4), ("3 + 4 = 7", 7), ("2+3=5", 5), ("10-3=7", 7), ("rooms 3 and 4", 4), ("... #### 72", 72),
    ("<<16-3-4=9>>9 #### 18", 18), ("$1,234.50 in all", 1234.5), ("Total: 1,234.50.", 1234.5), ("$1,000", 1000),
    ("1,234,567", 1234567), ("100,000", 100000), ("1.000", 1), ("it is -3", -3), ("\u22123.5", -3.5), ("-$5", -5),
    ("$-5", -5), ("-5", -5), ("+5", 5), ("x=-5", -5), ("- 5", 5), ("3 - 4", 4), ("5%", 5), ("5 %", 5), ("5kg", 5),
    ("10 EUR", 10), ("3rd", 3), ("v2", 2), ("No.5", 5), ("so...5", 5), ("3.", 3), ("007", 7), ("6.02e23", 6.02e23),
    ("1e-5", 1e-5), ("1E+5", 1e5), (".5", 0.5), ("-.5", -0.5), ("[3, 4]", 4), ("2024 100", 100), ("1, 2, 3", 3),
    ("**72**", 72), ("(see 3) 4", 4), ("total (5)", 5), ("1) 72", 72), ("3/4 = 0.75", 0.75), ("at 12:30: 7", 7),
    (7, 7), (7.5, 7.5), ([1, 2], 2), ([[1], ["a 3"]], 3),
]  # fmt: skip
NOT_ONE = [
    "10,50", "1,00", "0,125", "1,234,5", "12,34,567", "4,000,00", "1.000,50", "1 000", "1\u00a0000", "1\u202f000",
    "12 345 678", "1 234.50", "room 12 345", "1_000", "1'000", "1\u2019000", "3/4", "12:30", "2026-01-31", "31.12.2026",
    "1.2.3", "0x10", "0xFF", "0b11", "2x3", "12h30", "between 3-4", "5\u20137", "\u20135", "3..4", "5%-10%", "$3-$4",
    "5\u00b12", "10^6", "2+3", "2*3", "3\u00d74", "5\u00bd", "10\u00b2", "(5)", "($1,000.00)", "-(5)", "5-", "100.00 -",
    "1e999", "1e1000", "Infinity", "none", "", " ",
]  # fmt: skip


@pytest.mark.parametrize(("text", "number"), PLAIN)
def test_the_last_number_of_a_text_counts(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize("text", [*NOT_ONE, None, True, math.nan, math.inf])
def test_what_is_not_one_plain_number_is_none_rather_than_a_part_of_it(text):
    assert last_number(text) is None


def in_javascript(values):
    """What the export's JavaScript reads in each value; None for no number."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = f"{_LAST}console.log(JSON.stringify({json.dumps(values)}.map(last)))"
    return json.loads(subprocess.run([node, "-e", script], capture_output=True, text=True, check=True).stdout)


def test_javascript_reads_numbers_alike():
    values = [*(text for text, _ in PLAIN), *NOT_ONE, None, True]
    assert in_javascript(values) == [last_number(value) for value in values]
    assert not any(mark in _LAST for mark in ("{{", "{%", "{#")), "promptfoo's templates would fill something in"


def test_javascript_reads_numbers_alike_in_any_text():
    parts = st.sampled_from(
        [*"0123456789,.:/_'+-()% $eExab=", "\u2212", "\u2013", "\u00a0", "\u00bd", "100", "\n", "=-"]
    )
    found = []

    @given(st.lists(parts, max_size=9).map("".join))
    @settings(max_examples=1500, database=None, deadline=None)
    def collect(text):
        found.append(text)

    collect()
    read = in_javascript(found)
    assert [(text, number) for text, number in zip(found, read, strict=True) if number != last_number(text)] == []


@given(st.text(alphabet="0123456789,.:/_' -()x$%=e", max_size=30))
@example("1" * 20_000)
@example("1a" * 5_000 + "-")
@example("1" + "-" * 20_000)
@example("(" + " " * 20_000)
@settings(deadline=2000)
def test_no_text_breaks_the_reading(text):
    number = last_number(text)
    assert number is None or math.isfinite(number)


def metric(**more):
    part = TypeAdapter(MetricPart).validate_python({"kind": "number", "field": "n", **more})
    fields = task_fields(TaskPart(signature="q -> n"), "s.yaml")
    return build_metric(part, fields=fields, base=None, models={})


def scored(answer, gold):
    row = Example(id="e", content_hash="h", values=MappingProxyType({"n": gold}), row=7)
    return asyncio.run(metric().score(row, {"n": answer}, None))


def test_a_wrong_answer_whose_decimals_are_right_scores_0_and_feedback_says_how_to_write_it():
    assert scored("10.50", 10.5).value == 1 and scored("99.50", "10.50").value == 0
    unread = scored("10,50", "10.50")
    assert unread.value == 0
    assert unread.feedback == (
        'n: expected "10.50", got "10,50", which does not end in a number with a decimal point, and commas only '
        "between groups of three digits"
    )


def test_studies_of_the_earlier_reading_can_be_opened_and_are_not_continued():
    assert metric().fingerprint != metric().earlier_fingerprint
    assert metric(relative=0.5).earlier_fingerprint != metric().earlier_fingerprint
