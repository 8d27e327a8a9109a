"""Retirement dates as a calendar that mail programs subscribe to: iCalendar, RFC 5545.

Invariant: the same feature, label and model keep their UID when a date moves, so that a calendar moves the entry.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

from offramp import __version__
from offramp.errors import UsageError, problem
from offramp.ids import content_hash
from offramp.lifecycle.watch_report import Watched, WatchReport
from offramp.models.retirement.dates import Basis
from offramp.models.retirement.notices import is_link

LINE_BYTES = 75
"""Longest line without its end; longer ones are folded."""


def calendar_text(report: WatchReport) -> str:
    """The calendar: one entry for each promoted model that has a date. Lines end with CR LF."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", f"PRODID:-//offramp//watch {__version__}//EN", "CALSCALE:GREGORIAN"]
    lines += ["METHOD:PUBLISH", "X-WR-CALNAME:Model retirements"]
    for row in report.rows:
        lines += _event(row, report)
    lines.append("END:VCALENDAR")
    return "".join(f"{folded}\r\n" for line in lines for folded in fold(line))


def write_calendar(report: WatchReport, path: Path) -> None:
    """Writes the calendar to a file. Raises UsageError if it cannot be written."""
    try:
        path.write_bytes(calendar_text(report).encode())
    except OSError as error:
        raise UsageError(problem(str(path), f"cannot be written ({error.strerror})", do="Check --ics.")) from None


def escape(text: str) -> str:
    """A TEXT value: backslash, semicolon, comma and line ends escaped, other control characters left out."""
    text = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    text = text.replace("\r\n", "\\n").replace("\n", "\\n")
    return "".join(char for char in text if char.isprintable())


def fold(line: str) -> Iterator[str]:
    """The line in pieces of at most 75 bytes, cut between characters; all but the first begin with a space."""
    piece, used = "", 0
    for char in line:
        size = len(char.encode())
        if used + size > LINE_BYTES:
            yield piece
            piece, used = " ", 1
        piece, used = piece + char, used + size
    yield piece


def uid(row: Watched) -> str:
    """Identifies the model in use, not the date: it stays the same when the date moves."""
    used = row.used
    more = [] if used.role.answers else [used.role.value, used.tuned]
    return f"{content_hash([used.feature, used.label, used.route, used.fallback, *more], length=24)}@offramp"


def _event(row: Watched, report: WatchReport) -> Sequence[str]:
    if row.retirement is None:
        return []
    day = row.retirement.date
    lines = [
        "BEGIN:VEVENT",
        f"UID:{uid(row)}",
        f"DTSTAMP:{_plain(report.today)}T000000Z",
        f"DTSTART;VALUE=DATE:{_plain(day)}",
        f"DTEND;VALUE=DATE:{_plain(day + min(datetime.timedelta(days=1), datetime.date.max - day))}",
        f"SUMMARY:{escape(_summary(row))}",
        f"DESCRIPTION:{escape(_description(row))}",
        "TRANSP:TRANSPARENT",
        "CATEGORIES:offramp",
    ]
    if row.retirement.source and is_link(row.retirement.source):
        lines.append(f"URL:{row.retirement.source}")
    return [*lines, *_alarm(row, report.within_days), *_alarm(row, 14), "END:VEVENT"]


def _plain(day: datetime.date) -> str:
    """Eight digits, also in the year 1."""
    return day.isoformat().replace("-", "")


def _summary(row: Watched) -> str:
    verb = "may retire from today" if _estimated(row) else "retires"
    role = "" if row.used.role.answers else f", {row.used.role}"
    return f"{row.used.name} {verb} ({row.used.feature}, {row.used.label}{role})"


def _description(row: Watched) -> str:
    used, found = row.used, row.retirement
    assert found is not None
    verb = "runs on" if used.role.answers else f"has as {used.role} of {used.tuned or 'its study'}"
    lines = [f"{used.feature} ({used.label}, version {used.version}) {verb} {used.route}."]
    if _estimated(row):
        lines.append("Estimated from the vendor's published policy; no date has been announced.")
    if found.note:
        lines.append(found.note)
    if row.successors:
        lines.append("Possible successors: " + ", ".join(item.name for item in row.successors) + ".")
    return "\n".join([*lines, f"Next: {row.next_step or 'offramp watch'}"])


def _estimated(row: Watched) -> bool:
    return row.retirement is not None and row.retirement.basis is Basis.ESTIMATE


def _alarm(row: Watched, days_before: int) -> Sequence[str]:
    return [
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        f"DESCRIPTION:{escape(_summary(row))}",
        f"TRIGGER:-P{days_before}D",
        "END:VALARM",
    ]
