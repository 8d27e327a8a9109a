"""What strangers wrote reaches a terminal, a log or a spreadsheet as text alone."""

import csv
import io
import json
import logging
import unicodedata

import pytest
from rich.table import Table
from rich.text import Text

from offramp.cli.console import PlainConsole
from offramp.printable import printable, safe_cell
from offramp.testing.fakes import FunctionTransport
from review_studies import hostile_reply, hostile_space
from search_jobs import answered_by, main

ATTACKS = (
    "\x1b[2J\x1b[1;1Hgone", "\x1b]0;title\x07", "\x9b31mred", "a\rb", "bell\x07\x08\x08", "abc \u202ekcab\u202c",
    "\u2066x\u2069", "del\x7f", "\x00nul", "\ud83d half", "line\u2028two",
)  # fmt: skip
FORMULAS = ("=1+1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\uff1dcmd", '=HYPERLINK("http://x")')


def acting(text):
    """Characters of a text that a terminal obeys or nobody sees."""
    bidi = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
    return {c for c in text if c not in "\n" and (unicodedata.category(c) in ("Cc", "Cs") or c in bidi)}


@pytest.mark.parametrize("text", ATTACKS)
def test_no_character_of_a_text_acts(text):
    assert acting(printable(text)) == set() and acting(safe_cell(text)) == set()
    assert len(printable(text)) > len(text)


@pytest.mark.parametrize(
    "text", ["plain", "ünïcödé 漢字", "no\u00a0break\u3000space", "\U0001f469\u200d\U0001f4bb", "שלום"]
)
def test_what_people_write_stays_as_it_is(text):
    assert printable(text) == text == safe_cell(text)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text_in_a_spreadsheet(text):
    cell = safe_cell(text)
    assert cell.startswith("'") and acting(cell) == set()


@pytest.mark.parametrize("value", [None, 1, -2.5, True, "words - and = signs", "two\nlines", ["=1"], {"=a": 1}])
def test_other_cells_are_written_as_they_are(value):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[safe_cell(value)], [value]])
    first, second = out.getvalue()[: len(out.getvalue()) // 2], out.getvalue()[len(out.getvalue()) // 2 :]
    assert first == second


@pytest.mark.parametrize("text", ATTACKS)
def test_a_console_prints_text_in_every_shape_without_what_acts(text):
    out = io.StringIO()
    console, table = PlainConsole(file=out, width=200), Table()
    table.add_column(text)
    table.add_row(text)
    for shape in (text, Text(text, style="bold"), table, Text.assemble(("a", "red"), text), f"[red]{text}[/red]"):
        console.print(shape)
    assert acting(out.getvalue()) == set() and "[red]" in out.getvalue()


def test_a_log_line_has_nothing_that_acts(caplog):
    for text in ATTACKS:
        logging.getLogger("offramp").warning("said %s", text)
    try:
        raise ValueError(ATTACKS[0])
    except ValueError:
        logging.getLogger("offramp").exception("failed")
    assert acting(caplog.text) == set()


def test_no_command_shows_what_acts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    answered_by(monkeypatch, FunctionTransport(hostile_reply))
    space = hostile_space(tmp_path / "job\x1b[2J")
    assert main(["optimize", str(space)]) == 0
    name = next((tmp_path / "results").glob("*.json")).stem
    for args in (
        ["space", "check", str(space)], ["optimize", str(space), "--dry-run"], ["studies"], ["pareto", name, "--all"],
        ["pareto", name, "--csv"], ["compare", name], ["compare", name, "--csv"], ["compare", name, "--json"],
        ["compare", name, "--by", "kind"], ["report", name], ["promote", name, "--force", "--why", ATTACKS[0]],
        ["history", "landscape"], ["cascades", name], ["optimize", "no\x1b[2J.yaml"], ["pareto", ATTACKS[1]],
    ):  # fmt: skip
        main(args)
        shown = capsys.readouterr()
        assert acting(shown.out + shown.err) == set(), args
        if "--csv" in args:
            cells = [cell for row in csv.reader(io.StringIO(shown.out)) for cell in row]
            assert cells and not [c for c in cells if c.startswith(("=", "@", "+")) and not c[1:].isdigit()]
        if "--json" in args:
            assert json.loads(shown.out)
