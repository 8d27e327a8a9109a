"""The proposal: a migration as a Markdown page for a person to read and approve.

Answers of models and rows of data are untrusted text: they are in code fences that they cannot close.

Invariant: nothing is computed here; every number is one of the record's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from offramp.lifecycle.migration.comparison import Turn, turns
from offramp.lifecycle.migration.record import Baseline, Basis, Contender, Kind, Migration, Reference
from offramp.models.retirement.dates import Basis as DateBasis
from offramp.models.retirement.dates import Standing
from offramp.records import Aggregate, Candidate
from offramp.study.domain.paired_comparison import MARGIN, PairedComparison
from offramp.study.wording import answer_notes, money, number, per_thousand, plain, seconds, short_params

WINS, LOSSES = 3, 6
"""Numbers of examples shown; losses matter more."""
_LONGEST = 400


def page(found: Migration, *, promote_command: str) -> str:
    """The whole page."""
    parts = [_head(found), _table(found), _drop_ins(found), _users(found), _confidence(found)]
    parts += [_config(found), _left_out(found), _next(found, promote_command)]
    return "\n\n".join(part for part in parts if part) + "\n"


def conclusion(found: Migration) -> str:
    """What is proposed and how certain that is, in one or two sentences."""
    chosen, model = found.chosen, found.chosen.candidate.model
    same = "without what it does not accept" if chosen.rejected else "unchanged"
    what = f"Today's config on {model}, {same}" if chosen.kind is Kind.DROP_IN else f"A new config on {model}"
    if found.reference is Reference.ANSWERS:
        return f"{what}: {_agrees(chosen)}"
    return f"{what}: {_compared(chosen.comparison)}"


def _agrees(chosen: Contender) -> str:
    seen = chosen.holdout
    return (
        f"its answers agree with today's to {_interval(seen)} on {seen.n} examples. Where they differ, it is not "
        "known which one is right."
    )


def _compared(comparison: PairedComparison | None) -> str:
    if comparison is None:
        return "there is nothing to compare it with."
    by = f"{_points(comparison)} points ({_around(comparison)})"
    if comparison.better:
        return f"better than what runs today, by {by} on {comparison.n} examples of the holdout."
    if comparison.worse:
        return f"WORSE than what runs today, by {by} on {comparison.n} examples. Do not promote it without a reason."
    if comparison.not_inferior.holds:
        return f"at least as good as what runs today: {by} on {comparison.n} examples."
    return f"not shown to be as good as what runs today: {by}; {comparison.n} examples are too few to tell."


def _head(found: Migration) -> str:
    lines = [
        f"# {found.feature}: from {plain(found.before.model)} to {plain(found.chosen.candidate.model)}",
        "",
        f"{_why(found)} Written on {found.today}, for label `{found.label}` (version {found.version}).",
        "",
        f"**{conclusion(found)}**",
    ]
    return "\n".join(lines)


def _why(found: Migration) -> str:
    model, date = plain(found.before.model), found.notice.retirement
    if found.notice.standing is Standing.VANISHED:
        return f"{model} is no longer in the table of models."
    if date is None:
        return f"Nobody has announced a date for {model}."
    verb = "retired" if found.notice.standing is Standing.RETIRED else "retires"
    if date.basis is DateBasis.ESTIMATE:
        verb = "may retire (an estimate) from"
    on = "" if date.basis is DateBasis.ESTIMATE else "on "
    source = f" ([source]({date.source}))" if date.source else ""
    note = f" {plain(date.note).rstrip('.')}." if date.note else ""
    return f"{model} {verb} {on}{date.date}{source}.{note}"


# -------------------------------------------------------------------------------------------------- numbers


def _table(found: Migration) -> str:
    head = "| | quality (95%) | against today | wins / losses / ties | $ per 1k runs | p50 | p95 |"
    lines = ["## Holdout", "", head, "|---|---|---|---|---|---|---|", _baseline_row(found)]
    shown = {item.candidate.id: item for item in (*found.drop_ins, found.chosen)}
    for item in shown.values():
        lines.append(_row(_named(item, found), item.holdout, found.baseline.holdout, item.comparison))
    sent = [
        f"{plain(item.candidate.model)} does not accept these parameters, and was not sent them: "
        f"{plain('; '.join(item.rejected))}." for item in shown.values() if item.rejected
    ]  # fmt: skip
    notes = answer_notes(found.baseline.holdout, _asked(found.before), where="today")
    for item in shown.values():
        notes += answer_notes(item.holdout, _asked(item.candidate), where=plain(item.candidate.model))
    lines += ["", *(f"- {note}." for note in notes)] if notes else []
    return "\n".join([*lines, "", *sent, _basis(found.baseline), _measured_by(found)])


def _asked(candidate: Candidate) -> dict[str, Any]:
    return {"model": candidate.model, **candidate.request_params}


def _baseline_row(found: Migration) -> str:
    return _row(f"today: {plain(found.before.model)}", found.baseline.holdout, None, None)


def _named(item: Contender, found: Migration) -> str:
    what = "as it is on" if item.kind is Kind.DROP_IN else "new config on"
    text = f"{what} {plain(item.candidate.model)}"
    return f"**{text}** (proposed)" if item.candidate.id == found.chosen.candidate.id else text


def _row(name: str, seen: Aggregate, before: Aggregate | None, comparison: PairedComparison | None) -> str:
    cells = [name, _interval(seen), _difference(comparison), _counts(comparison)]
    old = before or seen
    cells.append(_with_ratio(per_thousand(seen.cost_usd), seen.cost_usd, old.cost_usd))
    cells.append(_with_ratio(seconds(seen.latency_p50_s), seen.latency_p50_s, old.latency_p50_s))
    cells.append(_with_ratio(seconds(seen.latency_p95_s), seen.latency_p95_s, old.latency_p95_s))
    return f"| {' | '.join(cells)} |"


def _interval(seen: Aggregate) -> str:
    low, high = seen.quality_low, seen.quality_high
    around = "" if low is None or high is None else f" ({number(low)} to {number(high)})"
    return f"{number(seen.quality)}{around}"


def _difference(comparison: PairedComparison | None) -> str:
    if comparison is None:
        return ""
    return f"{_points(comparison)} ({_around(comparison)})"


def _points(comparison: PairedComparison) -> str:
    return f"{(comparison.difference or 0.0) * 100:+.1f}"


def _around(comparison: PairedComparison) -> str:
    return f"{comparison.interval.low * 100:+.1f} to {comparison.interval.high * 100:+.1f}"


def _counts(comparison: PairedComparison | None) -> str:
    return "" if comparison is None else f"{comparison.wins} / {comparison.losses} / {comparison.ties}"


def _with_ratio(text: str, value: float | None, before: float | None) -> str:
    if value is None or not before or value == before:
        return text
    return f"{text} (x{value / before:.2f})"


def _basis(baseline: Baseline) -> str:
    return {
        Basis.RECORDED: "Today's numbers are those recorded in its study: its model was not called again.",
        Basis.MEASURED: "Today's config ran again for this comparison.",
        Basis.PROMOTION: "Today's numbers are those stored with the promotion: its model no longer answers.",
    }[baseline.basis]


def _measured_by(found: Migration) -> str:
    by = "the labels of the data"
    if found.reference is Reference.ANSWERS:
        by = "the recorded answers of what runs today, as there are no labels: 1 means full agreement, not correctness"
    return f"Metric: {plain(found.metric)}, compared with {by}. Latency is as run, not measured in isolation."


# -------------------------------------------------------------------------------------------------- drop-ins


def _drop_ins(found: Migration) -> str:
    lines = ["## Is a drop-in enough?", ""]
    if not found.drop_ins:
        return "\n".join([*lines, "No model could run today's config unchanged; see below."])
    lines += [f"- {plain(item.candidate.model)}: {_enough(item, found)}" for item in found.drop_ins]
    return "\n".join(lines)


def _enough(item: Contender, found: Migration) -> str:
    comparison = item.comparison
    if found.reference is Reference.ANSWERS:
        return f"its answers agree with today's to {_interval(item.holdout)}."
    if comparison is None:
        return "there is nothing to compare it with."
    points = f"{_points(comparison)} points"
    if comparison.better:
        return f"yes, and better ({points})."
    if comparison.not_inferior.holds:
        return f"yes: worse by less than {MARGIN * 100:g} points with 95% confidence ({points})."
    if comparison.worse:
        return f"no: it is worse ({points}, {comparison.losses} examples lost, {comparison.wins} won)."
    return f"not clear: {points} on {comparison.n} examples may be chance."


# ----------------------------------------------------------------------------------------------------- users


def _users(found: Migration) -> str:
    wins, losses = turns(found.chosen.results, found.baseline.results)
    lines = ["## What changes for users", ""]
    total = found.chosen.comparison.n if found.chosen.comparison is not None else 0
    if not total:
        return "\n".join([*lines, "There is nothing to compare."])
    share = 100 * len(losses) / total
    if found.reference is Reference.ANSWERS:
        lines.append(
            f"Of {total} examples, {len(losses)} get a different answer ({share:.0f}%). Read them: which is right?"
        )
        return "\n".join([*lines, *(_turn(turn, found) for turn in losses[: WINS + LOSSES])])
    lines.append(f"Of {total} examples, {len(wins)} get better and {len(losses)} get worse ({share:.0f}%).")
    for title, shown, of in (("Worse", losses[:LOSSES], losses), ("Better", wins[:WINS], wins)):
        if shown:
            lines += ["", f"### {title} ({len(shown)} of {len(of)})", *(_turn(turn, found) for turn in shown)]
    return "\n".join(lines)


def _turn(turn: Turn, found: Migration) -> str:
    example = found.examples.get(turn.example)
    told = {
        "example": turn.example,
        "score": f"{number(turn.before.score)} -> {number(turn.after.score)}",
        **({} if example is None else {name: example.inputs[name] for name in example.inputs}),
        "expected": None if example is None else example.gold or None,
        "today": _answer(turn.before.outputs, turn.before.reason),
        "proposed": _answer(turn.after.outputs, turn.after.reason),
    }
    return "\n" + fenced("\n".join(f"{name}: {_short(value)}" for name, value in told.items() if value is not None))


def _answer(outputs: Mapping[str, Any] | None, reason: str | None) -> Any:
    return outputs if outputs is not None else reason


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    text = plain(" ".join(text.split()))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def fenced(text: str) -> str:
    """A code block that the text cannot close, whatever it holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


# -------------------------------------------------------------------------------------------------- the rest


def _confidence(found: Migration) -> str:
    lines = ["## How certain this is", ""]
    comparison = found.chosen.comparison
    if comparison is not None:
        test = f"p = {comparison.p_value:.2g} (exact sign-flip test, two-sided)"
        lines.append(f"- {comparison.n} examples of the holdout, paired by example; {test}.")
    searched = f"{found.trials or 'no'} candidates of the search and {len(found.drop_ins)} drop-ins"
    lines.append(
        f"- Chosen on the search split among {searched}; {found.compared} of them were evaluated on the holdout."
    )
    if found.stopped not in (None, "trials", "space_exhausted"):
        lines.append(f"- The search ended early: {plain(found.stopped)}.")
    spent = found.spent
    lines.append(
        f"- The migration took {spent.calls:,} calls ({spent.cached_calls:,} answers reused), {money(spent.usd)} and "
        f"{spent.elapsed_s / 60:.1f} minutes."
    )
    return "\n".join(lines)


def _config(found: Migration) -> str:
    before, after = found.before, found.chosen.candidate
    rows = [f"| {name} | {old} | {new} |" for name, old, new in _changes(before, after)]
    lines = ["## What changes in the config", "", "| | today | proposed |", "|---|---|---|", *rows]
    for predictor in sorted({*before.instructions, *after.instructions}):
        old, new = before.instructions.get(predictor), after.instructions.get(predictor)
        if old != new and new is not None:
            lines += ["", f"Instruction ({plain(predictor)}), new:", "", fenced(new)]
    return "\n".join(lines)


def _changes(before: Candidate, after: Candidate) -> Iterator[tuple[str, str, str]]:
    facts = [_facts(before), _facts(after)]
    for name in dict.fromkeys([*facts[0], *facts[1]]):
        old, new = (_cell(each.get(name)) for each in facts)
        if old != new:
            yield name, old, new


def _facts(candidate: Candidate) -> dict[str, Any]:
    demos = f"{candidate.demo_count} {candidate.demo_kind}" if candidate.demo_count else "none"
    return {
        "model": candidate.model,
        "form": candidate.module,
        "format": candidate.adapter,
        "constrained": candidate.constrained,
        "demos": demos,
        "instruction": ", ".join(str(v) for n, v in candidate.params.items() if n.startswith("instruction")),
        **candidate.request_params,
    }


def _cell(value: Any) -> str:
    text = "-" if value is None else plain(value)
    return text.replace("|", "\\|")


def _left_out(found: Migration) -> str:
    if not found.left_out:
        return ""
    lines = [f"- {plain(item.name)}: {plain(' '.join(item.why.split()))}" for item in found.left_out]
    return "\n".join(["## Left out", "", *lines])


def _next(found: Migration, promote_command: str) -> str:
    commands = [promote_command, f"offramp check {found.feature}", f"offramp rollback {found.feature}    # if needed"]
    told = short_params(found.chosen.candidate.params)
    return "\n".join(["## Next", "", f"Candidate {found.chosen.candidate.id}: {told}", "", _console(commands)])


def _console(commands: Sequence[str]) -> str:
    return "\n".join(["```console", *(f"$ {command}" for command in commands), "```"])
