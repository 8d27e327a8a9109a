"""A study's candidates as tables, plots and CSV. Every number comes from a record; nothing is computed here.

Invariant: names and texts of others are shown as they are; markup in them is not obeyed, control characters are not
printed.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from offramp.cli.console import PlainConsole
from offramp.cli.options import same_place
from offramp.printable import safe_cell
from offramp.study.domain.members import readable
from offramp.study.proof import MOST_NAMED, Proven, against_words
from offramp.study.shown import columns_of, rows_of
from offramp.study.study_report import member_notes
from offramp.study.wording import (
    LIKELY,
    counted,
    interval_words,
    likely_words,
    limit_words,
    number,
    parked_words,
    per_thousand,
    plain,
    plotted,
    points,
    seconds,
    shared_params,
    short_params,
    shown_statistics,
    span,
    unreadable_words,
)

if TYPE_CHECKING:
    from offramp.study.domain.likely import LikelyMember
    from offramp.study.domain.members import Member
    from offramp.study.study_report import StudyReport


MOST_LIKELY = 8
"""Estimates in the terminal; JSON and the pages have all of them."""


def front_table(members: Sequence[Member], *, title: str, marks: Mapping[str, str] | None = None) -> Group:
    """Members in three lines each: numbers, their 95% intervals, and the assignment, so that 80 columns are enough.

    `marks` puts a word beside a candidate. The holdout column is there when any member was evaluated on it; the second
    line shows p50 and p95 as measured in isolation, where they were. Where the study's latency is another statistic,
    that one has a column of its own.
    """
    holdout = any(member.holdout is not None for member in members)
    shared = shared_params(members)
    statistics = shown_statistics(members[0].latency_statistic if members else "p50")
    names = ("quality", *(("holdout",) if holdout else ()), "$/1k runs", *statistics, "n", "utility")
    widths = [_width(name, statistics) for name in names]
    lines: list[Text | Padding] = [Text(title, style="bold"), Text(_columns("candidate", names, widths), style="dim")]
    for member in members:
        mark = (marks or {}).get(member.candidate, "")
        seen, ranked, held, probe = member.search, member.ranked, member.held, member.probe
        cells = (
            number(member.quality),
            *((number(held.quality) if held else "",) if holdout else ()),
            per_thousand(member.cost_usd),
            *(seconds(ranked.latency_s(name)) for name in statistics),
            f"{seen.n} -{seen.n_failed}" if seen.n_failed else str(seen.n),
            number(member.utility),
        )
        isolated = {} if probe is None else {"p50": seconds(probe.p50_s), "p95": seconds(probe.p95_s)}
        second = (
            span(ranked.quality_low, ranked.quality_high),
            *((span(held.quality_low, held.quality_high) if held else "",) if holdout else ()),
            "",
            *(isolated.get(name, "") for name in statistics),
            "",
            "",
        )
        style = "green" if "recommended" in mark or "highest" in mark else "yellow" if mark else ""
        params = Text(f"{f'{mark}: ' if mark else ''}{short_params(member.shown, shared)}", style=style or "dim")
        lines.append(Text(_columns(member.candidate, cells, widths), style=style))
        lines.append(Text(_columns("", second, widths).rstrip(), style="dim"))
        lines.append(Padding(params, (0, 0, 0, 2)))
        lines += [Padding(Text(note, style="yellow"), (0, 0, 0, 2)) for note in member_notes(member)]
    return Group(*lines)


def _width(name: str, statistics: Sequence[str]) -> int:
    """Of a column: the cost is the widest, and three of latency are narrow, so that all fit into 80."""
    return 10 if name == "$/1k runs" else 7 if name in statistics and len(statistics) > 2 else 9


def _columns(first: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    """The line of one member."""
    return f"{first:<13}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def likely_table(likely: Sequence[LikelyMember]) -> Group:
    """What is expected of candidates that were not run on all examples, as `front_table` shows members.

    `chance` is the probability that one is on the front or close to it.
    """
    shared = shared_params(likely)
    lines: list[Text | Padding] = [
        Text(f"{LIKELY} (estimates with 95% intervals)", style="bold"),
        Text(_likely_columns("candidate", ("quality", "$/1k runs", "latency", "n", "chance", "utility")), style="dim"),
    ]
    for one in likely[:MOST_LIKELY]:
        words = likely_words(one)
        cells = (f"~{words.quality}", words.cost, words.latency, words.n, words.trust, number(one.utility))
        second = (words.quality_interval, words.cost_interval, words.latency_interval)
        lines.append(Text(_likely_columns(one.candidate, cells)))
        lines.append(Text(_likely_columns("", second).rstrip(), style="dim"))
        lines.append(Padding(Text(short_params(one.shown, shared), style="dim"), (0, 0, 0, 2)))
    if len(likely) > MOST_LIKELY:
        lines.append(Text(f"{len(likely) - MOST_LIKELY} more: `--json` and the report have them.", style="dim"))
    lines.append(
        Text("They are on no front yet: run the same job again with a higher cap to complete them.", style="dim")
    )
    return Group(*lines)


def _likely_columns(first: str, cells: Sequence[str]) -> str:
    return f"{first:<13}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(cells, (8, 18, 16, 8, 7, 8), strict=False)
    )


def print_report(report: StudyReport, *, everything: bool = False, console: PlainConsole | None = None) -> None:
    """Front, incumbent, recommendation and plot."""
    console = console or PlainConsole()
    raced = f" ({report.stopped} not run in full)" if report.stopped else ""
    broken = sum(not member.feasible for member in report.members)
    limits = f", {broken} break{'s' if broken == 1 else ''} a limit" if broken else ""
    state = f": {report.status}, {counted(report.trials, 'candidate')}{raced}, {len(report.front)} on the front{limits}"
    console.print(Text.assemble((report.study, "bold"), state), soft_wrap=True)
    for parked in report.parked_models:
        console.print(Text(parked_words(parked), style="yellow"), soft_wrap=True)
    if not report.members:
        console.print("No candidate has a full evaluation yet.")
        if report.estimates:
            console.print(likely_table(report.estimates))
        return
    members = list(report.members if everything else report.front)
    if report.incumbent is not None and report.incumbent not in members:
        members.append(report.incumbent)
    title = "all candidates (search split)" if everything else "Pareto front (search split)"
    console.print(front_table(members, title=title, marks=_marks(report)))
    probed = any(member.probe is not None for member in members)
    legend = f"Second line: 95% intervals{'; p50 and p95 measured in isolation, on warm models' if probed else ''}."
    console.print(Text(legend, style="dim"), soft_wrap=True)
    if report.estimates:
        console.print(likely_table(report.estimates))
    for warning in report.warnings:
        console.print(Text(warning, style="yellow"), soft_wrap=True)
    console.print(_recommendation(report))
    for line in proposal_lines(report):
        console.print(line)
    if (choice := report.picked) is not None:
        name = "nothing" if choice.member is None else choice.member.candidate
        console.print(f"Picked by {plain(choice.policy)}: {name}. {choice.why}", soft_wrap=True)
    if len(report.members) > 1:
        console.print(plot(report))


def proposal_lines(report: StudyReport) -> list[str]:
    """The texts of proposed instructions that members of the front use, and what became of the proposals."""
    used = {str(value) for member in report.front for name, value in member.params.items() if "instruction" in name}
    lines = []
    for variant in report.proposals:
        if variant.joined and variant.name in used:
            text = plain(variant.text)
            lines.append(f"{plain(variant.name)} ({variant.kind}): {text if len(text) <= 200 else f'{text[:200]}...'}")
    proposed = [variant for variant in report.proposals if variant.round]
    if proposed:
        n = sum(variant.joined for variant in proposed)
        lines.append(f"Proposals: {n} joined, {len(proposed) - n} dropped; `--json` has their texts and reasons.")
        dropped = Counter(variant.reason for variant in proposed if variant.reason is not None)
        lines += [f"  {count} dropped: {plain(reason)}" for reason, count in dropped.most_common()]
    return lines


def _marks(report: StudyReport) -> dict[str, str]:
    words: dict[str, list[str]] = {}
    for member, word in ((report.recommended, _best_word(report)), (report.incumbent, "incumbent")):
        if member is not None:
            words.setdefault(member.candidate, []).append(word)
    for member in report.front:
        if member.on_holdout_front is False:
            words.setdefault(member.candidate, []).append("off the front on the holdout")
    for member in report.members:
        if not member.feasible:
            words.setdefault(member.candidate, []).append("breaks a limit")
        if member.estimate is not None:
            words.setdefault(member.candidate, []).append("estimate")
    if report.picked is not None and report.picked.member is not None:
        words.setdefault(report.picked.member.candidate, []).append("picked")
    return {candidate: ", ".join(found) for candidate, found in words.items()}


def _best_word(report: StudyReport) -> str:
    """What the candidate of the highest utility is called: recommended only if its holdout is not incomplete."""
    best = report.recommended
    unproven = best is not None and report.proof(best).proven is Proven.INCOMPLETE
    return "highest utility" if unproven else "recommended"


def _recommendation(report: StudyReport) -> str:
    best, today = report.recommended, report.incumbent
    if best is None:
        unread = report.members and not any(readable(member.search) for member in report.members)
        why = "no candidate gave a readable answer" if unread else "no candidate has every objective"
        return f"No recommendation: {why}."
    proof = report.proof(best)
    label = f"{best.candidate} ({short_params(best.shown)})"
    text = f"{report.headline()}{f' It is {label}.' if proof.proven is Proven.KEEP else ''}"
    if not best.feasible:
        text += f"\nIt breaks a limit of the space file: {'; '.join(map(limit_words, best.breaks))}."
    if proof.proven is Proven.INCOMPLETE:
        text += f"\n{label} has the highest utility on the search split."
    if not proof.complete and proof.gap:
        text += f"\nHoldout incomplete: {proof.gap} To complete it: `offramp verify {report.study}{same_place()}`."
    elif best.holdout is None or best.holdout.quality is None:
        text += f"\nTo evaluate it on the holdout: `offramp verify {report.study}{same_place()}`."
    else:
        found, held = best.against_incumbent, best.holdout
        n, quality = (held.n, held.quality) if found is None else (found.n, found.quality_a)
        sides = [side.holdout.n for side in (best, today) if side is not None and side.holdout is not None]
        both = found is not None and n < max(sides)
        text += f"\nHoldout: quality {number(quality)} on {counted(n, 'example')} the search never saw"
        text += " and both have a score for" if both else ""
        if best.holdout.n_runs is not None:
            text += f", run {best.holdout.n_runs} times in all"
        if best.holdout.n_fault:
            text += f", {unreadable_words(best.holdout.n_fault, best.holdout.n)}"
        if today is not None and today.holdout is not None and today.holdout.quality is not None and today != best:
            text += f"; the incumbent has {number(today.holdout.quality if found is None else found.quality_b)}"
        if found is not None:
            sure = "better" if found.better else "worse" if found.worse else "not significant"
            after = f", corrected for {found.looked_at} candidates" if found.looked_at > 1 else ""
            text += f" ({points(found.difference)} points, {interval_words(found.corrected)}{after}: {sure})"
        text += f". {proof.gap or ''}".rstrip()
    for other in proof.better[:MOST_NAMED]:
        words = f"{other.candidate} ({short_params(other.shown)})"
        text += f"\nShown to be better on the holdout: {words}, {against_words(other)}."
    return text


def plot(report: StudyReport, *, width: int = 76, height: int = 16) -> Text:
    """Quality over cost (or latency, where cost is not an objective) as characters, for the terminal."""
    import plotext

    names = [objective.name for objective in report.objectives]
    axis = "cost" if "cost" in names else "latency"
    front = {member.candidate for member in report.front}
    names_of = ("others", "expected, not complete", "front", "incumbent", "recommended")
    groups: dict[str, list[tuple[float, float]]] = {name: [] for name in names_of}
    factor = 1000 if axis == "cost" else 1
    for one in (one for one in report.estimates if axis in one.values):
        groups["expected, not complete"].append((one.values[axis].mean * factor, one.values["quality"].mean))
    for member in report.members:
        x = member.latency_s if axis == "latency" else None if member.cost_usd is None else member.cost_usd * 1000
        if x is None or member.quality is None:
            continue
        if report.recommended is not None and member.candidate == report.recommended.candidate:
            group = "recommended"
        else:
            group = "incumbent" if member.incumbent else "front" if member.candidate in front else "others"
        groups[group].append((plotted(x), plotted(member.quality)))
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, height)
    legend = []
    for name, marker in zip(names_of, "·○●IR", strict=True):
        if groups[name]:
            plotext.scatter([x for x, _ in groups[name]], [y for _, y in groups[name]], marker=marker)
            legend.append(f"{marker} {_best_word(report) if name == 'recommended' else name}")
    shown = [point for points_ in groups.values() for point in points_]
    if shown and not any(x for x, _ in shown):
        plotext.xlim(0, 1)
    if shown and not any(y for _, y in shown):
        plotext.ylim(0, 1)
    plotext.xlabel("$ per 1,000 runs" if axis == "cost" else f"latency in s, {report.latency_statistic}")
    plotext.ylabel("quality")
    return Text.from_ansi(f"{plotext.build().rstrip()}\n{'   '.join(legend):^{width}}".rstrip())


def write_csv(stream: TextIO, report: StudyReport, *, everything: bool) -> None:
    """One row per member; params in columns of their own, `param.<name>`."""
    heads = columns_of(report, everything=everything)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(safe_cell, heads))
    for row in rows_of(report, everything=everything):
        writer.writerow([safe_cell(row.get(head)) for head in heads])
