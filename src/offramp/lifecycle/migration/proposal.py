"""The proposal: a migration as a Markdown page for a person to read and approve, and as JSON values.

Answers of models and rows of data are untrusted text: they are in code fences that they cannot close.

Invariant: nothing is computed here; every number is one of the record's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from offramp.errors import in_a_run
from offramp.files import write_file
from offramp.lifecycle.migration.record import Basis, Contender, Kind, Migration, Reference, Spent
from offramp.models.retirement.dates import Basis as DateBasis
from offramp.models.retirement.dates import Standing
from offramp.records import SAME_SCORE, Aggregate, Candidate, DemoKind, Result, picked
from offramp.study.domain.paired_comparison import MARGIN, PairedComparison
from offramp.study.wording import (
    answer_counts,
    answer_notes,
    examples_named,
    interval_words,
    money,
    number,
    per_thousand,
    plain,
    seconds,
    short_params,
)

FOLDER = Path("proposals")
WINS, LOSSES = 3, 6
"""Examples that are shown; losses matter more."""
_LONGEST = 400
_BASIS = {
    Basis.RECORDED: "Today's numbers are those recorded in its study: its model was not called again.",
    Basis.MEASURED: "Today's config ran again for this comparison.",
    Basis.PROMOTION: "Today's numbers are those stored with the promotion: its model no longer answers.",
}


def write_proposal(found: Migration, out: Path | None, *, promote_command: str) -> Path:
    """Writes the page as a whole or not at all; `proposals/<feature>-<date>.md` unless a path is given.

    Raises:
        JobError: it cannot be written, and runs of the migration were paid for. StorageError: none was.
    """
    path = out or FOLDER / f"{found.feature}-{found.today}.md"
    do = "Name another place with --out; what was measured is kept in the storage."
    with in_a_run(found.spent.has_asked):
        write_file(path, page(found, promote_command=promote_command), do=do)
    return path


def page(found: Migration, *, promote_command: str) -> str:
    """The whole page."""
    parts = [_head(found), _table(found), _drop_ins(found), _users(found), _confidence(found)]
    parts += [_config(found), _left_out(found), _next(found, promote_command)]
    return "\n\n".join(part for part in parts if part) + "\n"


def conclusion(found: Migration) -> str:
    """What is proposed and how sure that is, in one or two sentences."""
    chosen, model = found.chosen, found.chosen.candidate.model
    changes = ["without what it does not accept"] if chosen.rejected else []
    changes += [f"with {chosen.raised}"] if chosen.raised else []
    same = " and ".join(changes) or "unchanged"
    what = f"Today's config on {model}, {same}" if chosen.kind is Kind.DROP_IN else f"A new config on {model}"
    if not found.complete(chosen):
        size, seen = len(found.examples), chosen.holdout
        least = (seen.quality or 0.0) * seen.n / max(size, seen.n)
        return (
            f"Nothing to propose: the holdout is incomplete. {what} has the highest utility on the search split, but "
            f"only {size - found.missing(chosen)} of {size} examples of the holdout have a score from both sides. "
            f"Its quality is {number(seen.quality)} on {seen.n}, {number(least)} if the others are lost."
        )
    if found.reference is Reference.ANSWERS:
        seen = chosen.holdout
        return (
            f"{what}: its answers agree with today's to {_quality(seen)} on {seen.n} examples. Where they differ, "
            "nobody has judged yet which one is right."
        )
    better = "".join(
        f" Shown to be better: today's config on {item.candidate.model}, by {_points(item.comparison)} points "
        f"({_interval(item.comparison)})."
        for item in found.shown_better
        if item.comparison is not None
    )
    return f"{what}: {_outcome(chosen.comparison)}{better}"


def _outcome(against: PairedComparison | None) -> str:
    if against is None:
        return "there is nothing to compare it with."
    by = f"{_points(against)} points ({_interval(against)})"
    if against.better:
        return f"better than what runs today, by {by} on {against.n} examples of the holdout."
    if against.worse:
        return f"WORSE than what runs today, by {by} on {against.n} examples. Do not promote it without a reason."
    if against.not_inferior.holds:
        return f"not worse than what runs today by more than {MARGIN * 100:g} points: {by} on {against.n} examples."
    return f"not shown to be as good as what runs today: {by}; {against.n} examples are too few to tell."


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
    verb = "retired on" if found.notice.standing is Standing.RETIRED else "retires on"
    if date.basis is DateBasis.ESTIMATE:
        verb = "may retire (an estimate) from"
    source = f" ([source]({date.source}))" if date.source else ""
    note = f" {plain(date.note).rstrip('.')}." if date.note else ""
    return f"{model} {verb} {date.date}{source}.{note}"


# -------------------------------------------------------------------------------------------------- numbers


def _table(found: Migration) -> str:
    head = "| | quality (95%) | against today | wins / losses / ties | $ per 1k runs | p50 | p95 |"
    today = found.baseline.holdout
    rows = [_row(f"today: {plain(found.before.model)}", today, today, None)]
    shown = {item.candidate.id: item for item in (*found.drop_ins, found.chosen)}
    for item in shown.values():
        what = "today's config on" if item.kind is Kind.DROP_IN else "new config on"
        name = f"{what} {_on(item)}"
        proposed = "proposed" if found.complete(found.chosen) else "not proven"
        name = f"**{name}** ({proposed})" if item.candidate.id == found.chosen.candidate.id else name
        rows.append(_row(name, item.holdout, today, item.comparison))
    rejected = {item.candidate.model: "; ".join(item.rejected) for item in shown.values() if item.rejected}
    not_sent = [
        f"{plain(model)} does not accept these parameters, and was not sent them: {plain(params)}."
        for model, params in rejected.items()
    ]
    notes = _unanswered(found) + answer_notes(today, _asked(found.before), where="today")
    for item in shown.values():
        notes += answer_notes(item.holdout, _asked(item.candidate), where=_on(item))
    by = "the labels of the data"
    if found.reference is Reference.ANSWERS:
        by = "the recorded answers of what runs today, as there are no labels: 1 means full agreement, not correctness"
    metric = f"Metric: {plain(found.metric)}, compared with {by}. Latency is as run, not measured in isolation."
    lines = ["## Holdout", "", head, "|---|---|---|---|---|---|---|", *rows]
    lines += ["", *(f"- {note}." for note in notes)] if notes else []
    return "\n".join([*lines, "", *not_sent, _BASIS[found.baseline.basis], metric, *_regraded(found)])


def _unanswered(found: Migration) -> list[str]:
    names = found.baseline.unanswered
    if not names:
        return []
    what = f"{len(names)} of {len(found.examples) + len(names)} examples of the holdout have no recorded answer"
    return [f"{what} and are left out{examples_named(names)}"]


def _regraded(found: Migration) -> list[str]:
    return [] if found.regraded is None else [f"{plain(found.regraded[0].upper() + found.regraded[1:])}."]


def _on(item: Contender) -> str:
    """The model, with the cap that was raised for it."""
    return plain(item.candidate.model) + (f" with {item.raised}" if item.raised else "")


def _asked(candidate: Candidate) -> dict[str, Any]:
    return {"model": candidate.model, **candidate.request_params}


def _row(name: str, seen: Aggregate, today: Aggregate, against: PairedComparison | None) -> str:
    cells = [name, _quality(seen), "", ""]
    if against is not None:
        cells = [*cells[:2], f"{_points(against)} ({_interval(against)})"]
        cells.append(f"{against.wins} / {against.losses} / {against.ties}")
    for text, value, before in (
        (per_thousand(seen.cost_usd), seen.cost_usd, today.cost_usd),
        (seconds(seen.latency_p50_s), seen.latency_p50_s, today.latency_p50_s),
        (seconds(seen.latency_p95_s), seen.latency_p95_s, today.latency_p95_s),
    ):
        same = value is None or not before or value == before
        cells.append(text if same else f"{text} (x{(value or 0.0) / (before or 1.0):.2f})")
    return f"| {' | '.join(cells)} |"


def _quality(seen: Aggregate) -> str:
    low, high = seen.quality_low, seen.quality_high
    around = "" if low is None or high is None else f" ({number(low)} to {number(high)})"
    return f"{number(seen.quality)}{around}"


def _points(against: PairedComparison) -> str:
    return f"{(against.difference or 0.0) * 100:+.1f}"


def _interval(against: PairedComparison) -> str:
    return interval_words(against.corrected)


# -------------------------------------------------------------------------------------------------- drop-ins


def _drop_ins(found: Migration) -> str:
    lines = ["## Is a drop-in enough?", ""]
    if not found.drop_ins:
        return "\n".join([*lines, "No model could run today's config; see below."])
    lines += [f"- {_on(item)}: {_enough(item, found.reference)}" for item in found.drop_ins]
    if any(item.raised for item in found.drop_ins):
        why = "Reasoning counts towards the cap on output, which was meant for answers: with today's cap it cut them."
        lines += ["", f"{why} The higher cap is paid only as far as it is used."]
    return "\n".join(lines)


def _enough(item: Contender, reference: Reference) -> str:
    against = item.comparison
    if reference is Reference.ANSWERS:
        return f"its answers agree with today's to {_quality(item.holdout)}."
    if against is None:
        return "there is nothing to compare it with."
    points = f"{_points(against)} points"
    if against.better:
        return f"yes, and better ({points})."
    if against.not_inferior.holds:
        return f"yes: worse by less than {MARGIN * 100:g} points with 95% confidence ({points})."
    if against.worse:
        return f"no: it is worse ({points}, {against.losses} examples lost, {against.wins} won)."
    return f"not clear: {points} on {against.n} examples may be chance."


# ----------------------------------------------------------------------------------------------------- users


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One example whose score changed: its result today and with the proposal."""

    example: str
    before: Result
    after: Result

    @property
    def change(self) -> float:
        """After minus before."""
        return (self.after.score or 0.0) - (self.before.score or 0.0)


def turns(new: Mapping[str, Result], old: Mapping[str, Result]) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """Wins and losses among the examples that both have a score for, the largest change first."""
    both = (Turn(example=name, before=old[name], after=new[name]) for name in sorted(new) if name in old)
    known = [turn for turn in both if turn.before.score is not None and turn.after.score is not None]
    wins = sorted((t for t in known if t.change > SAME_SCORE), key=lambda t: (-t.change, t.example))
    losses = sorted((t for t in known if t.change < -SAME_SCORE), key=lambda t: (t.change, t.example))
    return tuple(wins), tuple(losses)


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
    example, before, after = found.examples.get(turn.example), turn.before, turn.after
    facts = {
        "example": turn.example,
        "score": f"{number(before.score)} -> {number(after.score)}",
        **({} if example is None else example.inputs),
        "expected": None if example is None else example.gold or None,
        "today": before.outputs if before.outputs is not None else before.reason,
        "proposed": after.outputs if after.outputs is not None else after.reason,
    }
    return "\n" + fenced("\n".join(f"{name}: {_short(value)}" for name, value in facts.items() if value is not None))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    text = plain(" ".join(text.split()))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def fenced(text: str) -> str:
    """A code block that the text cannot close, whatever it contains."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


# -------------------------------------------------------------------------------------------------- the rest


def _confidence(found: Migration) -> str:
    lines = ["## How certain this is", ""]
    if (against := found.chosen.comparison) is not None:
        test = f"p = {against.p_value:.2g} (exact sign-flip test, two-sided)"
        lines.append(f"- {against.n} examples of the holdout, paired by example; {test}.")
    searched = f"{found.trials or 'no'} candidates of the search and {len(found.drop_ins)} drop-ins"
    lines.append(
        f"- Chosen on the search split among {searched}; {found.compared} of them were evaluated on the holdout."
    )
    if found.stopped not in (None, "trials", "space_exhausted"):
        lines.append(f"- The search ended early: {plain(found.stopped)}.")
    lines.append(f"- {_took(found.spent, found.in_all)}")
    return "\n".join(lines)


def _took(spent: Spent, in_all: Spent) -> str:
    took = f"{spent.calls:,} calls ({spent.cached_calls:,} cached answers), {money(spent.usd)} and "
    took += f"{spent.elapsed_s / 60:.1f} minutes"
    if in_all.calls <= spent.calls:
        return f"The migration took {took}."
    return f"The migration took {in_all.calls:,} calls and {money(in_all.usd)} over all its runs; this one took {took}."


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
        values = (each.get(name) for each in facts)
        old, new = ("-" if value is None else plain(value).replace("|", "\\|") for value in values)
        if old != new:
            yield name, old, new


def _facts(candidate: Candidate) -> dict[str, Any]:
    demos = "own" if candidate.demo_kind is DemoKind.OWN else "none"
    if candidate.demo_count:
        demos = f"{candidate.demo_count} {candidate.demo_kind}"
    return {
        "model": candidate.model,
        "module": candidate.module,
        "adapter": candidate.adapter,
        "constrained": candidate.constrained,
        "demos": demos,
        "instruction": ", ".join(str(v) for n, v in candidate.params.items() if n.startswith("instruction")),
        **candidate.request_params,
    }


def _left_out(found: Migration) -> str:
    lines = [f"- {plain(item.name)}: {plain(' '.join(item.why.split()))}" for item in found.left_out]
    return "\n".join(["## Left out", "", *lines]) if lines else ""


def _next(found: Migration, promote_command: str) -> str:
    if not found.complete(found.chosen):
        do = (
            "Run the same command again, with a higher cap if one was reached: what was measured is not paid for again."
        )
        return f"## Next\n\n{do}"
    commands = [promote_command, f"offramp check {found.feature}", f"offramp rollback {found.feature}    # if needed"]
    params = short_params(found.chosen.candidate.params)
    console = ["```console", *(f"$ {command}" for command in commands), "```"]
    return "\n".join(["## Next", "", f"Candidate {found.chosen.candidate.id}: {params}", "", *console])


# ----------------------------------------------------------------------------------------------------- JSON


def migration_json(found: Migration) -> dict[str, Any]:
    """The migration as JSON values; results by example are in the storage."""
    return {
        **picked(found, "feature", "label", "version"),
        "from": found.before.model,
        "verdict": conclusion(found),
        "complete": found.complete(found.chosen),
        "shown_better": [item.candidate.id for item in found.shown_better],
        "today": {"basis": str(found.baseline.basis), "holdout": _aggregate_json(found.baseline.holdout)}
        | {"unanswered": list(found.baseline.unanswered)},
        "proposed": _contender_json(found.chosen),
        "drop_ins": [_contender_json(item) for item in found.drop_ins],
        "not_tried": [asdict(item) for item in found.left_out],
        "trials": found.trials,
        "stop_reason": found.stopped,
        "reference": str(found.reference),
        "regraded": found.regraded,
        "spent": asdict(found.spent),
        "spent_in_all": picked(found.in_all, "calls", "usd"),
    }


def _aggregate_json(seen: Aggregate) -> dict[str, Any]:
    return {
        **picked(seen, "n", "n_fault", "quality"),
        "low": seen.quality_low,
        "high": seen.quality_high,
        "cost_usd": seen.cost_usd,
        "p50_s": seen.latency_p50_s,
        "p95_s": seen.latency_p95_s,
        **answer_counts(seen),
    }


def _contender_json(item: Contender) -> dict[str, Any]:
    return {
        "kind": str(item.kind),
        "study": item.study,
        "candidate": item.candidate.id,
        "model": item.candidate.model,
        "params": dict(item.candidate.params),
        "utility": item.utility,
        "search": _aggregate_json(item.search),
        "holdout": _aggregate_json(item.holdout),
        "not_sent": list(item.rejected),
        "raised": item.raised,
        "against_today": None if item.comparison is None else item.comparison.to_json(),
    }
