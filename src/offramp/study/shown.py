"""How a study looks in Python: one line, a table of pandas, and in a notebook the verdict, the front and a plot.

Invariant: a notebook obeys nothing in a name or a text of others, and what is shown loads nothing from anywhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from offramp.printable import printable
from offramp.study.wording import (
    counted,
    money,
    number,
    parked_words,
    per_thousand,
    plotted,
    seconds,
    short_params,
    shown_statistics,
    span,
)

if TYPE_CHECKING:
    import pandas as pd

    from offramp.study.domain.members import Member
    from offramp.study.study_report import StudyReport

MEMBER = (
    "candidate", "quality", "cost_usd", "latency_s", "latency_p95_s", "n", "n_fault", "n_failed", "utility", "feasible",
    "incumbent", "quality_low", "quality_high", "regressed_at_most", "n_cut", "n_cut_reasoning", "n_filtered",
    "n_refused", "n_empty", "n_unreadable", "n_other_model", "other_model",
    "cost_cold_usd", "latency_p50_s",
)  # fmt: skip
HOLDOUT = (
    "quality", "quality_low", "quality_high", "cost_usd", "latency_s", "n", "on_front", "n_fault", "latency_p50_s",
)  # fmt: skip
AGAINST = (
    "difference", "low", "high", "wins", "losses", "ties", "p_value", "p_corrected", "better", "worse", "worse_at_most",
    "low_corrected", "high_corrected", "looked_at",
)  # fmt: skip
PROBE = ("p50_s", "p50_low_s", "p50_high_s", "p95_s", "p95_low_s", "p95_high_s", "n")
_MOST_ROWS = 12


class Brief:
    """A record that is one line in Python."""

    __slots__ = ()

    @property
    def in_short(self) -> str:
        """What it says, in one line."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {printable(self.in_short)}>"


class ShownStudy(Brief):
    """A study, or what a run did to one, as Python shows it."""

    __slots__ = ()

    @property
    def shown_report(self) -> StudyReport:
        """The study."""
        return self.report  # type: ignore[attr-defined, no-any-return]

    @property
    def shown_run(self) -> str:
        """What the run did, in a few words; empty where there was none."""
        return ""

    def to_frame(self, *, everything: bool = True) -> pd.DataFrame:
        """A row for each candidate with a complete evaluation, in the columns of `offramp pareto --csv`.

        Args:
            everything: False for the front alone. `on_front` says which rows are on it.
        """
        import pandas as pd

        report = self.shown_report
        front = {member.candidate for member in report.front}
        rows = rows_of(report, everything=everything)
        frame = pd.DataFrame(rows, columns=columns_of(report, everything=everything))
        frame.insert(1, "on_front", [row["candidate"] in front for row in rows])
        return frame

    @property
    def in_short(self) -> str:
        """The study in one line, and what the run did."""
        return _in_short(self.shown_report) + (f": {self.shown_run}" if self.shown_run else "")

    def _repr_html_(self) -> str:
        return _page(self.shown_report, self.shown_run)


def run_words(calls: int, cached: int, failed: int, spent_usd: float, elapsed_s: float) -> str:
    """What a run took, in a few words."""
    took = [counted(calls, "call"), counted(cached, "cached answer"), f"{failed} failed"]
    return f"{', '.join(took)}, {money(spent_usd)} spent, {elapsed_s:.0f} s"


def columns_of(report: StudyReport, *, everything: bool) -> list[str]:
    """Names of what `rows_of` has, in order."""
    members = report.members if everything else report.front
    names = sorted({name for member in members for name in member.params})
    parts = (("holdout", HOLDOUT), ("incumbent", AGAINST), ("probe", PROBE))
    inner = [f"{part}_{column}" for part, columns in parts for column in columns]
    return [*MEMBER, *inner, "recommended", *(f"param.{name}" for name in names)]


def rows_of(report: StudyReport, *, everything: bool) -> list[dict[str, Any]]:
    """One row per member; params in columns of their own, `param.<name>`."""
    from offramp.study.study_report import member_json

    best = None if report.recommended is None else report.recommended.candidate
    rows = []
    for member in report.members if everything else report.front:
        row = member_json(member) or {}
        holdout = row["holdout"] or {}
        rows.append(
            {
                **{column: row[column] for column in MEMBER},
                **{f"holdout_{column}": holdout.get(column) for column in HOLDOUT},
                **{f"incumbent_{column}": (holdout.get("against") or {}).get(column) for column in AGAINST},
                **{f"probe_{column}": (row["probe"] or {}).get(column) for column in PROBE},
                "recommended": member.candidate == best,
                **{f"param.{name}": value for name, value in member.params.items()},
            }
        )
    return rows


def _in_short(report: StudyReport) -> str:
    best = report.recommended
    chosen = "" if best is None else f"; recommended {best.candidate} ({short_params(best.shown)})"
    what = f"{report.status}, {counted(report.trials, 'candidate')}, {len(report.front)} on the front"
    return f"{report.study}: {what}{chosen}"


# ------------------------------------------------------------------------------------------------- in a notebook

_CELL = "padding:.15em .7em;text-align:right;white-space:nowrap"
_LEFT = f"{_CELL.replace('right', 'left')};white-space:normal"


def _page(report: StudyReport, run: str) -> str:
    """Name, verdict, warnings, table and plot."""
    said = [f"<b>{_text(report.study)}</b>: {_text(report.headline() or 'nothing to recommend')}"]
    said += [_text(line) for line in (*report.warnings, *map(parked_words, report.parked_models))]
    said += [f"<small>{_text(run)}</small>"] if run else []
    rows = list(report.front)
    rows += [report.incumbent] if report.incumbent is not None and report.incumbent not in rows else []
    hidden = len(rows) - _MOST_ROWS
    more = [f"<small>{hidden} more: <code>.to_frame()</code></small>"] if hidden > 0 else []
    parts = [*said, _table(report, rows[:_MOST_ROWS]), *more, _plot(report)]
    return f"<div>{''.join(f'<div>{part}</div>' for part in parts if part)}</div>"


def _text(value: object) -> str:
    return html.escape(printable(value))


def _table(report: StudyReport, rows: Sequence[Member]) -> str:
    if not rows:
        return "No candidate has a full evaluation yet."
    best = None if report.recommended is None else report.recommended.candidate
    statistics = shown_statistics(report.latency_statistic)
    names = ("quality (95%)", "holdout", "$ per 1,000 runs", *statistics)
    head = "".join(f'<th style="{_CELL}">{name}</th>' for name in names)
    body = ""
    for member in rows:
        marks = [word for word, holds in (("recommended", member.candidate == best), ("incumbent", member.incumbent))
                 if holds]  # fmt: skip
        seen, held = member.ranked, member.held
        between = span(seen.quality_low, seen.quality_high)
        cells = (
            f"{number(member.quality)}{f' ({between})' if between else ''}",
            "" if held is None else number(held.quality),
            per_thousand(member.cost_usd), *(seconds(seen.latency_s(name)) for name in statistics),
        )  # fmt: skip
        name = f"<code>{member.candidate}</code> {_text(short_params(member.shown))}"
        name += f" <b>{', '.join(marks)}</b>" if marks else ""
        body += f'<tr><td style="{_LEFT}">{name}</td>'
        body += "".join(f'<td style="{_CELL}">{_text(cell)}</td>' for cell in cells) + "</tr>"
    return f'<table><thead><tr><th style="{_LEFT}">the front</th>{head}</tr></thead><tbody>{body}</tbody></table>'


_WIDE, _HIGH, _EDGE = 560, 260, 44
_EXPECTED = "expected, not complete"
_COLOURS = {
    "other": "#9aa0a6",
    _EXPECTED: "#1a73e8",
    "front": "#1a73e8",
    "incumbent": "#e8710a",
    "recommended": "#188038",
}


def _plot(report: StudyReport) -> str:
    """Quality over the first other objective as SVG; empty where there are fewer than two points."""
    key = next((o.name for o in report.objectives if o.name in ("cost", "latency")), "cost")
    points = list(_points(report, key))
    if len(points) < 2:
        return ""
    xs, ys = [x for *_, x, _ in points], [y for *_, y in points]
    log = min(xs) > 0 and max(xs) / min(xs) >= 12
    left, right = (math.log(v) if log else v for v in (min(xs), max(xs)))
    low, high = min(ys), max(ys)

    def at(x: float, y: float) -> tuple[float, float]:
        across = ((math.log(x) if log else x) - left) / ((right - left) or 1.0)
        up = (y - low) / ((high - low) or 1.0)
        return _EDGE + 12 + across * (_WIDE - _EDGE - 36), _HIGH - _EDGE - 12 - up * (_HIGH - _EDGE - 36)

    drawn = sorted(points, key=lambda point: list(_COLOURS).index(point[0]))
    dots = "".join(_dot(kind, label, *at(x, y)) for kind, label, x, y in drawn)
    unit = "$ per 1,000 runs" if key == "cost" else f"seconds per run, {report.latency_statistic}"
    words = [
        (_EDGE + 12, _HIGH - 26, "start", f"{min(xs):.3g}"), (_WIDE - 24, _HIGH - 26, "end", f"{max(xs):.3g}"),
        (_WIDE / 2, _HIGH - 8, "middle", f"{unit}{' (log scale)' if log else ''}"),
        (_EDGE - 4, _HIGH - _EDGE - 10, "end", _text(number(low))), (_EDGE - 4, 30, "end", _text(number(high))),
        (_EDGE - 4, 12, "end", "quality"),
    ]  # fmt: skip
    texts = "".join(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{word}</text>' for x, y, anchor, word in words)
    kinds = dict.fromkeys(kind for kind, *_ in drawn)
    legend = " ".join(
        f'<span style="color:{_COLOURS[kind]}">{"○" if kind == _EXPECTED else "●"}</span> {kind}' for kind in kinds
    )
    axes = f'<path d="M{_EDGE} 16V{_HIGH - _EDGE}H{_WIDE - 16}" fill="none" stroke="currentColor" opacity=".4"/>'
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" width="{_WIDE}" style="max-width:100%" font-size="11" fill="currentColor" '
        f'role="img" aria-label="Quality over {unit}">{axes}{texts}{dots}</svg><div><small>{legend}</small></div>'
    )


def _points(report: StudyReport, key: str) -> Iterator[tuple[str, str, float, float]]:
    """Kind, label and both values of what is drawn: the members, and what is expected of those not complete."""
    factor = 1000 if key == "cost" else 1
    for m in report.members:
        x = m.value(key)
        if x is not None and m.quality is not None:
            label = f"{m.candidate} {_text(short_params(m.shown))}"
            yield _kind(report, m), label, plotted(x * factor), plotted(m.quality)
    for one in report.estimates:
        if key in one.values:
            label = f"{one.candidate} {_text(short_params(one.shown))}, {one.n} of {one.of} examples"
            yield _EXPECTED, label, one.values[key].mean * factor, one.values["quality"].mean


def _dot(kind: str, label: str, x: float, y: float) -> str:
    hollow = kind == _EXPECTED
    ink = f'fill="none" stroke="{_COLOURS[kind]}" stroke-width="1.6"' if hollow else f'fill="{_COLOURS[kind]}"'
    size = 3 if kind == "other" else 5
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" {ink}><title>{label}: {kind}</title></circle>'


def _kind(report: StudyReport, member: Member) -> str:
    if report.recommended is not None and member.candidate == report.recommended.candidate:
        return "recommended"
    if member.incumbent:
        return "incumbent"
    return "front" if member in report.front else "other"
