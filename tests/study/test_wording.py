"""How numbers are written: what is not 0 and not 1 is never written as if it were, in Python and in the page's script."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from offramp.stats import Interval
from offramp.study import wording
from offramp.study.wording import (
    between,
    fraction,
    interval_words,
    money,
    number,
    percent,
    points,
    ratio_of,
    seconds,
    signed,
    span,
    times,
)

BASE = Path(wording.__file__).parents[1] / "review" / "static" / "base.js"
NUMBERS = (
    (0.0, "0.000"), (1.0, "1.000"), (1 - 1e-12, "1.000"), (1e-12, "0.000"), (0.25, "0.250"), (0.9994, "0.999"),
    (0.9996, "0.9996"), (0.99996, ">0.9999"), (0.0004, "0.0004"), (0.00001, "<0.0001"), (0.0005, "0.001"),
    (0.0625, "0.062"), (0.1875, "0.188"), (0.3125, "0.312"), (0.4375, "0.438"), (2 / 3, "0.667"), (0.8635, "0.864"),
)  # fmt: skip
TWO = (
    (0.0, "0.00"),
    (1.0, "1.00"),
    (0.996, "0.9960"),
    (0.004, "0.0040"),
    (0.125, "0.12"),
    (0.375, "0.38"),
    (0.5, "0.50"),
)
PERCENT = (
    (0.0, "0%"), (1.0, "100%"), (0.9996, ">99%"), (0.003, "<1%"), (0.95, "95%"), (0.125, "12%"), (0.375, "38%")
)  # fmt: skip


@pytest.mark.parametrize(("value", "text"), NUMBERS)
def test_a_value_beside_0_or_1_is_not_written_as_0_or_1(value, text):
    """A quality of 0.9996 read `1.000`, and one of 0.0004 `0.000`."""
    assert number(value) == text and len(text) <= 7


@pytest.mark.parametrize(("value", "text"), TWO)
def test_with_two_digits_too(value, text):
    assert fraction(value, 2) == text


@pytest.mark.parametrize(("share", "text"), PERCENT)
def test_a_share_beside_all_is_not_written_as_all(share, text):
    assert percent(share) == text


def test_a_share_with_a_digit():
    assert [percent(v, 1) for v in (0.05, 0.9996, 0.0001, 1.0)] == ["5.0%", ">99.9%", "<0.1%", "100.0%"]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.74, 0.95, ".74-.95"), (0.8, 1.0, ".80-1.00"), (0.0, 1.0, ".00-1.00"), (0.999, 1.0, ".999-1"),
        (0.98, 0.9999, ".98-.999"), (0.0, 0.0004, ".00-.001"), (0.001, 0.9999, ".01-.999"), (0.0004, 0.5, ".001-.50"),
    ],
)  # fmt: skip
def test_an_interval_whose_end_is_not_1_does_not_end_at_1(low, high, text):
    """The interval from 0.999 to 1 read `1.00-1.00`. In a table it has eight characters beside the next number."""
    assert span(low, high) == text and len(text) <= 8


def test_an_interval_in_words():
    assert between(0.9991, 1.0) == "0.9991 to 1.00" and between(None, 1.0) == ""


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.0, "+0.0"), (-0.0, "+0.0"), (1e-12, "+0.0"), (-0.0003, "-0.03"), (0.0003, "+0.03"), (0.02, "+2.0"), (-1, "-100.0")],
)  # fmt: skip
def test_a_small_difference_is_not_minus_nothing(difference, text):
    assert points(difference) == text
    words = interval_words(Interval(low=difference, high=1.0, confidence=0.95))
    assert words == f"{text} to +100.0"


def test_differences_of_utility():
    assert [signed(v) for v in (-0.0, 0.0002, -0.0123)] == ["+0.000", "+0.0002", "-0.012"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 ms"), (0.0004, "0.4 ms"), (0.00001, "<.1 ms"), (0.00096, "1 ms"), (0.999, "999 ms"), (0.9996, "1.00 s"),
        (1.0, "1.00 s"), (12.345, "12.35 s"),
    ],
)  # fmt: skip
def test_seconds_just_below_one_are_not_1000_ms(value, text):
    assert seconds(value) == text and len(text) <= 7


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0"), (0.999999, "$1.00"), (1.0, "$1.00"), (0.9999, "$0.9999"), (0.009999, "$0.0100"), (0.0099, "$0.0099"),
        (0.00012, "$0.00012"), (1234.5, "$1,234.50"), (9999.99, "$9,999.99"), (50050.0, "$50,050"),
    ],
)  # fmt: skip
def test_money_just_below_a_bound_is_written_as_above_it(usd, text):
    assert money(usd) == text


def test_ratios_near_a_bound():
    assert [times(9.96), times(9.94)] == ["10×", "9.9×"]
    assert [ratio_of(v) for v in (1.0, 1.003, 1.25, 0.0)] == ["x1.00", "x1.003", "x1.25", "x0.00"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_of_the_page_writes_the_same():
    """Utilities were written by the page as `1.000`, and ties such as 0.0625 with another last digit than Python's."""
    ties = [(k / 2**e, d) for e in range(1, 8) for k in range(1, 2**e, 2) for d in (2, 3)]
    wanted = [[v, 3, number(v)] for v, _ in NUMBERS] + [[v, 2, text] for v, text in TWO]
    wanted += [[v, d, fraction(v, d)] for v, d in (*ties, *((k / 997, d) for k in range(998) for d in (2, 3)))]
    shares = [
        [v, percent(v)] for v in (*(v for v, _ in PERCENT), *(k / 997 for k in range(998)), *(v for v, _ in ties))
    ]
    script = BASE.read_text().replace('"use strict";', "")
    script += f"""
    const wrong = {json.dumps(wanted)}.filter(([v, d, t]) => Offramp.fraction(v, d) !== t).map(([v, d, t]) => [v, d, t, Offramp.fraction(v, d)]);
    wrong.push(...{json.dumps(shares)}.filter(([v, t]) => Offramp.percent(v) !== t).map(([v, t]) => [v, t, Offramp.percent(v)]));
    console.log(JSON.stringify(wrong));"""
    done = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
