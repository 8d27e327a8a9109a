"""Records as tables, plots and CSV for people. Every number comes from a record; nothing is computed here.

Invariant: names and texts of others are shown as they are; no markup in them is obeyed, no control character printed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from offramp.cli.compare_views import safe_cell
from offramp.study.wording import (
    STOPPED,
    money,
    number,
    per_thousand,
    plain,
    points,
    seconds,
    shared_params,
    short_params,
    span,
)

if TYPE_CHECKING:
    from offramp.search.engine import JobResult
    from offramp.search.estimate import Estimate
    from offramp.study.members import Against
    from offramp.study.report import Choice, Member, StudyReport


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def front_table(members: Sequence[Member], *, title: str, marks: Mapping[str, str] | None = None) -> Group:
    """Members as three lines each: numbers, their 95 % intervals, and the assignment, so that 80 columns are enough.

    `marks` puts a word beside a candidate. The holdout column is there when any member was scored on it; where latency
    was measured apart, that is what the second line shows of it.
    """
    holdout = any(member.holdout is not None for member in members)
    shared = shared_params(members)
    names = ("quality", *(("holdout",) if holdout else ()), "$/1k runs", "p50", "p95", "n", "utility")
    lines: list[Text | Padding] = [Text(title, style="bold"), Text(_columns("candidate", names), style="dim")]
    for member in members:
        mark = (marks or {}).get(member.candidate, "")
        scored = (number(member.holdout.quality) if member.holdout else "",) if holdout else ()
        cells = (
            number(member.quality),
            *scored,
            per_thousand(member.cost_usd),
            seconds(member.latency_s),
            seconds(member.latency_p95_s),
            _count(member),
            number(member.utility),
        )
        style = "green" if "recommended" in mark else "yellow" if mark else ""
        lines.append(Text(_columns(member.candidate, cells), style=style))
        lines.append(Text(_columns("", _second(member, holdout)).rstrip(), style="dim"))
        told = Text(f"{f'{mark}: ' if mark else ''}{short_params(member.params, shared)}", style=style or "dim")
        lines.append(Padding(told, (0, 0, 0, 2)))
    return Group(*lines)


def _second(member: Member, holdout: bool) -> tuple[str, ...]:
    """The intervals of quality, and latency as the probe has it."""
    held, probe = member.holdout, member.probe
    scored = (span(held.quality_low, held.quality_high) if held else "",) if holdout else ()
    apart = ("", "") if probe is None else (seconds(probe.p50_s), seconds(probe.p95_s))
    return (span(member.quality_low, member.quality_high), *scored, "", *apart, "", "")


def _columns(first: str, cells: Sequence[str]) -> str:
    """The line of one member; the cost is the fifth column from the end, and the widest."""
    at = len(cells) - 5
    return f"{first:<13}" + "".join(f"{cell:>{10 if i == at else 9}}" for i, cell in enumerate(cells))


def _count(member: Member) -> str:
    return str(member.n) if not member.n_failed else f"{member.n} -{member.n_failed}"


def print_result(result: JobResult, results: Path) -> None:
    """What a run found and what it took."""
    console, report = _console(), result.report
    print_report(report, console=console)
    console.print()
    why = STOPPED.get(report.stop_reason or "", report.stop_reason or "")
    console.print(
        f"Ended: {why}. {report.trials} candidates, {result.calls} calls, {result.cached_calls} answers reused, "
        f"{result.failed_calls} failed, {money(result.spent_usd)} spent, {result.elapsed_s:.0f} s."
    )
    for name, value in (("Report", results / f"{report.study}.json"), ("Again", f"offramp pareto {report.study}")):
        console.print(f"{name}: {plain(value)}", soft_wrap=True)


def print_report(report: StudyReport, *, everything: bool = False, console: Console | None = None) -> None:
    """Front, incumbent, recommendation and plot."""
    console = console or _console()
    raced = f" ({report.stopped} stopped early)" if report.stopped else ""
    broken = sum(not member.feasible for member in report.members)
    limits = f", {broken} break a limit" if broken else ""
    stands = f": {report.status}, {report.trials} candidates{raced}, {len(report.front)} on the front{limits}"
    console.print(Text.assemble((report.study, "bold"), stands), soft_wrap=True)
    if not report.members:
        console.print("No candidate has a full evaluation yet.")
        return
    members = list(report.members if everything else report.front)
    if report.incumbent is not None and report.incumbent not in members:
        members.append(report.incumbent)
    title = "all candidates (search split)" if everything else "Pareto front (search split)"
    console.print(front_table(members, title=title, marks=_marks(report)))
    console.print(Text(_legend(members), style="dim"), soft_wrap=True)
    console.print(_verdict(report))
    for line in proposal_lines(report):
        console.print(line)
    if report.picked is not None:
        console.print(_picked(report.picked), soft_wrap=True)
    if len(report.members) > 1:
        console.print(plot(report))


def proposal_lines(report: StudyReport) -> list[str]:
    """The texts beside those of the space file that members on the front use, and what became of the proposals."""
    joined = [variant for variant in report.proposals if variant.joined]
    used = {str(value) for member in report.front for name, value in member.params.items() if "instruction" in name}
    lines = [f"{plain(v.name)} ({v.kind}): {_shortened(plain(v.text))}" for v in joined if v.name in used]
    proposed = [variant for variant in report.proposals if variant.round]
    if proposed:
        n = sum(variant.joined for variant in proposed)
        lines.append(f"Proposals: {n} joined, {len(proposed) - n} dropped; `--json` has their texts and reasons.")
    return lines


def _shortened(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _marks(report: StudyReport) -> dict[str, str]:
    words: dict[str, list[str]] = {}
    for member, word in ((report.recommended, "recommended"), (report.incumbent, "incumbent")):
        if member is not None:
            words.setdefault(member.candidate, []).append(word)
    for member in report.front:
        if member.holdout is not None and member.holdout.on_front is False:
            words.setdefault(member.candidate, []).append("off the front on the holdout")
    for member in report.members:
        if not member.feasible:
            words.setdefault(member.candidate, []).append("breaks a limit")
    if report.picked is not None and report.picked.member is not None:
        words.setdefault(report.picked.member.candidate, []).append("picked")
    return {candidate: ", ".join(found) for candidate, found in words.items()}


def _legend(members: Sequence[Member]) -> str:
    apart = any(member.probe is not None for member in members)
    return "Second line: 95 % intervals" + ("; p50 and p95 as measured apart, on warm models." if apart else ".")


def _picked(choice: Choice) -> str:
    name = "nothing" if choice.member is None else choice.member.candidate
    return f"Picked by {plain(choice.policy)}: {name}. {choice.why}"


def _verdict(report: StudyReport) -> str:
    best, today = report.recommended, report.incumbent
    if best is None:
        return "No recommendation: no candidate has every objective."
    text = f"Recommended: {best.candidate} ({short_params(best.params)})"
    if not best.feasible:
        text += f"\nIt breaks a limit of the space file: {'; '.join(best.breaks)}."
    if best.holdout is None or best.holdout.quality is None:
        text += f"\nNot scored on the holdout yet: `offramp verify {report.study}`."
    else:
        text += f"\nHoldout: quality {best.holdout.quality:.3f} on {best.holdout.n} examples the search never saw"
        if today is not None and today.holdout is not None and today.holdout.quality is not None and today != best:
            text += f"; the incumbent has {today.holdout.quality:.3f}{_gain(best.holdout.against)}"
        text += "."
    return text


def _gain(found: Against | None) -> str:
    if found is None:
        return ""
    sure = "better" if found.better else "worse" if found.worse else "no difference shown"
    return f" ({points(found.difference)} points, {points(found.low)} to {points(found.high)}: {sure})"


def plot(report: StudyReport, *, width: int = 76, height: int = 16) -> Text:
    """Quality over cost (or latency, where cost is no objective) as characters, for the terminal."""
    import plotext

    names = [objective.name for objective in report.objectives]
    axis = "cost" if "cost" in names else "latency"
    front = {member.candidate for member in report.front}
    groups: dict[str, list[Member]] = {"others": [], "front": [], "incumbent": [], "recommended": []}
    for member in report.members:
        groups[_group(member, report, front)].append(member)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, height)
    for name, marker in (("others", "·"), ("front", "●"), ("incumbent", "I"), ("recommended", "R")):
        points = [(_x(m, axis), m.quality) for m in groups[name] if _x(m, axis) is not None and m.quality is not None]
        if points:
            plotext.scatter([x for x, _ in points], [y for _, y in points], marker=marker, label=name)
    plotext.xlabel("$ per 1,000 runs" if axis == "cost" else "latency in s")
    plotext.ylabel("quality")
    return Text.from_ansi(plotext.build())


def _group(member: Member, report: StudyReport, front: set[str]) -> str:
    if report.recommended is not None and member.candidate == report.recommended.candidate:
        return "recommended"
    if member.incumbent:
        return "incumbent"
    return "front" if member.candidate in front else "others"


def _x(member: Member, axis: str) -> float | None:
    if axis == "latency":
        return member.latency_s
    return None if member.cost_usd is None else member.cost_usd * 1000


_HELD = [("holdout", n) for n in ("quality", "quality_low", "quality_high", "cost_usd", "latency_s", "n", "on_front")]
_SEEN = ("difference", "low", "high", "wins", "losses", "ties", "p_value", "p_corrected")
_AGAINST = [("incumbent", n) for n in (*_SEEN, "better", "worse", "worse_at_most")]
_PROBED = [("probe", n) for n in ("p50_s", "p50_low_s", "p50_high_s", "p95_s", "p95_low_s", "p95_high_s", "n")]
_WHERE = {"holdout": "holdout", "incumbent": "against", "probe": "probe"}
"""Columns of records within a member: the first part of the column's name, and where the record is."""


def write_csv(stream: TextIO, report: StudyReport, *, everything: bool) -> None:
    """One row per member; params in columns of their own, `param.<name>`."""
    members = report.members if everything else report.front
    names = sorted({name for member in members for name in member.params})
    fixed = [
        "candidate",
        "quality",
        "cost_usd",
        "latency_s",
        "latency_p95_s",
        "n",
        "n_fault",
        "n_failed",
        "utility",
        "feasible",
        "incumbent",
        "quality_low",
        "quality_high",
        "regressed_at_most",
    ]
    writer = csv.writer(stream, lineterminator="\n")
    parts = [*_HELD, *_AGAINST, *_PROBED]
    writer.writerow([*fixed, *(f"{a}_{b}" for a, b in parts), "recommended", *(f"param.{name}" for name in names)])
    for member in members:
        row = asdict(member)
        best = report.recommended is not None and report.recommended.candidate == member.candidate
        row["against"] = (row["holdout"] or {}).get("against")
        deep = [(row[_WHERE[part]] or {}).get(name) for part, name in parts]
        params = [safe_cell(member.params.get(name)) for name in names]
        writer.writerow([*(row[name] for name in fixed), *deep, best, *params])


def print_estimate(summary: Sequence[tuple[str, str]], expected: Estimate) -> None:
    """What a job would take."""
    console = _console()
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in summary:
        table.add_row(Text(name, style="dim"), plain(value))
    console.print(table)
    judge = f" and {expected.judge_calls:,} of the judge" if expected.judge_calls else ""
    if expected.proposer_calls:
        judge += f", {expected.proposer_calls:,} for proposals"
    console.print(
        f"\nExpected: {expected.candidates} candidates, {expected.calls:,} calls{judge}, {money(expected.cost_usd)}, "
        f"{expected.minutes:.1f} minutes. Based on {expected.basis}."
    )
    if expected.front_calls:
        further = f"{expected.front_calls:,} calls on the holdout for each further member of the front"
        console.print(f"Then {further}, as far as the caps leave room.")
    if expected.started_from is not None:
        console.print(f"Starts from {plain(expected.started_from)}.")
    if expected.caps:
        console.print(f"It would be stopped before its end by {plain(' and '.join(expected.caps))}.")
    console.print("Nothing was written or spent.")


def print_studies(rows: Sequence[Mapping[str, Any]]) -> None:
    """Studies as a table."""
    table = Table(pad_edge=False, box=None)
    for name in ("study", "ended", "trials", "quality", "spent", "updated (UTC)"):
        table.add_column(
            name, justify="right" if name in ("trials", "quality", "spent") else "left", no_wrap=name == "study"
        )
    for row in rows:
        table.add_row(
            plain(row["study"]),
            row["stop_reason"] or row["status"],
            str(row["trials"] or ""),
            number(row["quality"]) if row["quality"] is not None else "",
            money(row["spent_usd"]) if row["spent_usd"] is not None else "",
            str(row["updated_at"])[:16].replace("T", " "),
        )
    _console().print(table if rows else "No studies yet.")
