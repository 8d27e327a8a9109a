"""The calendar is one that a real parser accepts, whatever the names and notes hold."""

from __future__ import annotations

import datetime
from pathlib import Path

import icalendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle_records import in_use
from offramp.errors import UsageError
from offramp.lifecycle.ics import LINE_BYTES, calendar_text, escape, fold, uid, write_calendar
from offramp.lifecycle.in_use import CostChange
from offramp.lifecycle.watch_report import Watched, WatchReport, watch_models
from offramp.models.retirement.dates import Basis, Retirement, Standing, load_calendar

DAY = datetime.date(2026, 11, 25)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def report_of(note: str, date: datetime.date = DAY, name: str = "openai/x") -> WatchReport:
    row = Watched(
        used=in_use(name),
        standing=Standing.SOON,
        retirement=Retirement(date=date, basis=Basis.NOTICE, note=note, source="https://example.com/a?b=c,d;e"),
        days_left=0,
        cost=CostChange(then_usd_1k=None, now_usd_1k=None),
        successors=(),
    )
    return WatchReport(today=DAY, within_days=90, table="t", rows=(row,))


def test_a_real_parser_reads_dates_texts_and_alarms(tmp_path: Path) -> None:
    path = tmp_path / "l.yaml"
    path.write_text("schema_version: 1\nretirements:\n  - {model: gpt-4o, retires: 2027-01-14, note: 'a; b, c \\ d'}\n")
    report = watch_models(
        [in_use("openai/gpt-4o"), in_use("local/gemma-3-270m", own=True)], load_calendar(path), today=DAY
    )
    parsed = icalendar.Calendar.from_ical(calendar_text(report))
    events = list(parsed.walk("VEVENT"))
    assert len(events) == 1 and not events[0].errors and not parsed.errors
    event = events[0]
    assert event.decoded("DTSTART") == datetime.date(2027, 1, 14)
    assert event.decoded("DTEND") == datetime.date(2027, 1, 15)
    assert str(event["SUMMARY"]) == "openai/gpt-4o retires (f, production)"
    assert "a; b, c \\ d\n" in str(event["DESCRIPTION"]) and "offramp migrate f" in str(event["DESCRIPTION"])
    alarms = [alarm.decoded("TRIGGER") for alarm in event.walk("VALARM")]
    assert alarms == [datetime.timedelta(days=-90), datetime.timedelta(days=-14)]


@pytest.mark.parametrize("date", [datetime.date.min, datetime.date.max])
def test_the_first_and_the_last_day_that_a_date_can_be_are_entries_too(date: datetime.date) -> None:
    """People write 9999-12-31 for never."""
    (event,) = icalendar.Calendar.from_ical(calendar_text(report_of("n", date))).walk("VEVENT")
    assert event.decoded("DTSTART") == date and not event.errors


@given(TEXTS, TEXTS)
def test_any_note_and_name_comes_back_and_breaks_no_line(note: str, name: str) -> None:
    text = calendar_text(report_of(note, name=name))
    assert all(len(line.encode()) <= LINE_BYTES for line in text.split("\r\n"))
    assert "\n" not in text.replace("\r\n", "") and "\r" not in text.replace("\r\n", "")
    (event,) = icalendar.Calendar.from_ical(text).walk("VEVENT")
    kept = "".join(char for char in note.replace("\r\n", "\n") if char.isprintable() or char == "\n")
    assert kept in str(event["DESCRIPTION"])


@given(TEXTS)
def test_a_folded_line_unfolds_to_itself(text: str) -> None:
    line = escape(text)
    pieces = list(fold(line))
    assert "".join([pieces[0], *(piece[1:] for piece in pieces[1:])]) == line
    assert all(piece.startswith(" ") for piece in pieces[1:])


def test_the_uid_stays_when_the_date_moves_and_differs_by_model() -> None:
    first, moved = report_of("n").rows[0], report_of("other", datetime.date(2028, 1, 1)).rows[0]
    assert uid(first) == uid(moved) != uid(report_of("n", name="openai/y").rows[0])


def test_an_empty_report_is_a_calendar_without_entries(tmp_path: Path) -> None:
    report = WatchReport(today=DAY, within_days=90, table="t", rows=())
    write_calendar(report, tmp_path / "c.ics")
    content = (tmp_path / "c.ics").read_bytes()
    assert content.endswith(b"END:VCALENDAR\r\n") and not icalendar.Calendar.from_ical(content).walk("VEVENT")


def test_a_calendar_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_calendar(report_of("n"), tmp_path / "none" / "c.ics")
