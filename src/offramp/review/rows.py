"""Candidates as rows of a table: which are shown, in which order, and with which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.records import Objective
from offramp.study.domain.members import Member, Probe
from offramp.study.proof import Proven
from offramp.study.study_report import StudyReport, member_notes
from offramp.study.wording import (
    between,
    interval_words,
    limit_words,
    number,
    per_thousand,
    plain,
    points,
    seconds,
    shared_params,
    short_params,
    shown_statistics,
)

MOST_OTHERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate.

    Attributes:
        label: its assignment in a few words, without what all candidates share.
        best: what it is called while its utility is the highest: `recommended` only if its holdout is not incomplete.
        ahead: who dominates it on the holdout: ids with labels, highest utility first.
        scaled: its values on 0..1, in the order of the objectives; None where one is not known.
    """

    member: Member
    label: str
    scaled: tuple[float, ...] | None
    front: bool
    recommended: bool
    best: str = "recommended"
    ahead: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """The candidate's id."""
        return self.member.candidate

    @property
    def breaks(self) -> tuple[str, ...]:
        """The limits that it breaks, in words."""
        return tuple(limit_words(broken) for broken in self.member.breaks)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the provider says about its answers, such as how many were cut."""
        return tuple(member_notes(self.member))

    @property
    def kind(self) -> str:
        """Marks for a style sheet."""
        marks = (
            ("front", self.front),
            ("incumbent", self.member.incumbent),
            ("recommended", self.recommended),
            ("estimate", self.member.estimate is not None),
        )
        return " ".join(name for name, on in marks if on)


def labels_of(members: Sequence[Member]) -> Callable[[Member], str]:
    """Gives each member a label in a few words: the model, and what is not the same for all members."""
    shared = shared_params(members) - {"model"}
    return lambda member: short_params({name: value for name, value in member.shown.items() if name not in shared})


def rows_of(report: StudyReport, *, most_others: int = MOST_OTHERS) -> tuple[Row, ...]:
    """The incumbent, the whole front, and the others with the highest utility; in the order of utility."""
    front = {member.candidate for member in report.front}
    special = [m for m in report.members if m.candidate in front or m.incumbent]
    others = [m for m in report.members if m.candidate not in front and not m.incumbent]
    chosen = [*special, *sorted(others, key=_rank)[:most_others]]
    label = labels_of(report.members)
    return tuple(_row(member, report, front, label) for member in sorted(chosen, key=_rank))


def row_of(report: StudyReport, candidate: str) -> Row | None:
    """One candidate as a row; None where it has no full evaluation."""
    member = next((m for m in report.members if m.candidate == candidate), None)
    front = {m.candidate for m in report.front}
    return None if member is None else _row(member, report, front, labels_of(report.members))


def _rank(member: Member) -> tuple[float, float, float, str]:
    """The order of recommendation: utility, then quality, then cost."""
    utility = -1.0 if member.utility is None else round(member.utility, 9)
    return (-utility, -(member.quality or 0.0), member.cost_usd or 0.0, member.candidate)


def _row(member: Member, report: StudyReport, front: set[str], label: Callable[[Member], str]) -> Row:
    best, incomplete = report.recommended, report.proof(member).proven is Proven.INCOMPLETE
    return Row(
        member=member,
        label=label(member),
        scaled=_scaled(member, report.objectives),
        front=member.candidate in front,
        recommended=best is not None and best.candidate == member.candidate,
        best="highest utility" if incomplete else "recommended",
        ahead=tuple((m.candidate, label(m)) for m in report.ahead_on_holdout(member)),
    )


def _scaled(member: Member, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    values = [member.value(objective.name) for objective in objectives]
    if None in values or any(objective.scale is None for objective in objectives):
        return None
    return tuple(o.scaled(v) for o, v in zip(objectives, values, strict=True) if v is not None)


def columns_for(statistic: str) -> tuple[tuple[str, str], ...]:
    """Keys and titles of the table's numbers, where this is the statistic of the study's latency."""
    times = tuple((name, name) for name in shown_statistics(statistic))
    before = (("quality", "quality"), ("holdout", "holdout"), ("against", "vs incumbent"), ("cost", "$/1k runs"))
    return (*before, *times, ("n", "n"), ("utility", "utility"))


def script_data(report: StudyReport, rows: Sequence[Row], more: Mapping[str, Any]) -> dict[str, Any]:
    """What the page's script works with: numbers, marks, params and labels, no texts of data."""
    return {
        "objectives": [{"name": o.name, "weight": o.weight, "scale": o.scale} for o in report.objectives],
        "members": [_datum(row) for row in rows],
        "statistics": shown_statistics(report.latency_statistic),
        "recommended": None if report.recommended is None else report.recommended.candidate,
        "incumbent": None if report.incumbent is None else report.incumbent.candidate,
        **more,
    }


def _datum(row: Row) -> dict[str, Any]:
    m = row.member
    low, high = m.ranked.quality_low, m.ranked.quality_high
    return {
        "id": m.candidate,
        "label": row.label,
        "params": {plain(name): "none" if value is None else plain(value)[:60] for name, value in m.shown.items()},
        "quality": m.quality,
        "cost": m.cost_usd,
        "latency": m.latency_s,
        "interval": None if low is None or high is None else [low, high],
        "scaled": row.scaled,
        "front": row.front,
        "incumbent": m.incumbent,
        "estimate": m.estimate is not None,
        "best": row.best,
        "breaks": row.breaks,
        "notes": row.notes,
        "off": m.on_holdout_front is False,
        "ahead": [{"id": one, "label": name} for one, name in row.ahead],
        "words": words_of(row),
    }


def words_of(row: Row) -> dict[str, str]:
    """The numbers of a row as they are written everywhere; empty where there is nothing to say."""
    m, held, against, probe = row.member, row.member.held, row.member.against_incumbent, row.member.probe
    return {
        "quality": number(m.quality),
        "interval": between(m.ranked.quality_low, m.ranked.quality_high),
        "holdout": "" if held is None else number(held.quality),
        "holdout_interval": "" if held is None else between(held.quality_low, held.quality_high),
        "against": "" if against is None else points(against.difference),
        "against_interval": "" if against is None else interval_words(against.corrected),
        "cost": per_thousand(m.cost_usd),
        "latency": seconds(m.latency_s),
        **{name: seconds(m.ranked.latency_s(name)) for name in shown_statistics(m.latency_statistic)},
        "probe": "" if probe is None else probe_words(probe),
    }


def probe_words(probe: Probe) -> str:
    """The latency measured in isolation, with intervals."""
    p50, p95 = (
        f"{seconds(value)} ({seconds(low)} to {'no upper bound' if high is None else seconds(high)})"
        for value, low, high in (
            (probe.p50_s, probe.p50_low_s, probe.p50_high_s), (probe.p95_s, probe.p95_low_s, probe.p95_high_s),
        )
    )  # fmt: skip
    return f"p50 {p50}, p95 {p95}"


def spoken(row: Row) -> str:
    """The numbers of a row in a sentence."""
    words, member = words_of(row), row.member
    latency = f"{member.latency_statistic} {words['latency']}"
    numbers = f"quality {words['quality']} ({words['interval']}), {words['cost']} per 1,000 runs, {latency}"
    found = ((row.best, row.recommended), ("incumbent", member.incumbent), ("estimate", member.estimate is not None))
    marks = [name for name, on in found if on]
    return ", ".join([numbers, *marks])


def shares_of(objectives: Sequence[Objective]) -> tuple[int, ...]:
    """The weights in percent of their sum, rounded."""
    total = sum(objective.weight for objective in objectives) or 1.0
    return tuple(round(100 * objective.weight / total) for objective in objectives)
