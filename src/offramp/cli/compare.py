"""`offramp compare`: two candidates example by example, as text, JSON or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from offramp.cli.console import PlainConsole
from offramp.cli.options import SPACE, study_options
from offramp.errors import UsageError, problem
from offramp.printable import safe_cell
from offramp.records import picked
from offramp.study.domain.sent_values import as_sent
from offramp.study.wording import answer_notes, interval_words, number, percent, plain, points, short_params

if TYPE_CHECKING:
    from offramp.job.steps import RunSteps
    from offramp.records import Result
    from offramp.study.domain.paired_comparison import PairedComparison
    from offramp.study.queries.example_pairs import CandidateComparison, ExamplePair

    Steps = Mapping[tuple[str, str], RunSteps]

_LONGEST = 160  # characters of a text that is shown
_WIDTHS = (6, 5, 6, 8, 18, 9)


@click.command()
@click.argument("study")
@click.argument("a", default="recommended")
@click.argument("b", default="incumbent")
@click.option("--split", type=click.Choice(["holdout", "search"]), help="The holdout by default, if both ran on it.")
@click.option("--by", multiple=True, metavar="COLUMN", help="Slice the examples by a column of the data. Repeatable.")
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Examples to show.")
@click.option("--margin", type=click.FloatRange(min=0, min_open=True), default=0.02, show_default=True,
              help="Loss of mean score that you would accept.")  # fmt: skip
@click.option("--steps", is_flag=True, help="Show the steps of both runs for the examples whose answers differ.")
@SPACE
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all examples.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one row per example.")
def compare(
    study: str, a: str, b: str, split: str | None, by: tuple[str, ...], limit: int, margin: float, steps: bool,
    space: Path | None, storage: str | None, results: Path, as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """Compare candidate A with B in STUDY: wins, losses, ties, how sure the difference is, and the examples.

    A and B are `recommended`, `knee`, `incumbent`, `trial N`, or the beginning of a candidate's id. A wins where it
    scores higher than B. No call is made.
    """
    if as_json and as_csv:
        raise UsageError(problem("offramp compare", "--json and --csv at once", do="Choose one."))
    from offramp.records import Split
    from offramp.study import lookup

    found = lookup.compare(
        study, a, b, storage=storage, results=results, split=None if split is None else Split(split), by=by,
        margin=margin, space_file=space,
    )  # fmt: skip
    taken = _steps(found, limit, storage, results, space) if steps and not as_csv else {}
    if as_json:
        click.echo(json.dumps(to_json(found, taken), indent=2, allow_nan=False))
    elif as_csv:
        write_csv(sys.stdout, found)
    else:
        print_comparison(found, limit=limit, steps=taken)


def _steps(found: CandidateComparison, limit: int, storage: str | None, results: Path, space: Path | None) -> Steps:
    """The steps of both sides on the examples that are shown and whose answers differ. No call is made."""
    from offramp.job.loaded import load_study
    from offramp.job.steps import recorded_steps
    from offramp.store.candidates import CandidateStore
    from offramp.study.lookup import open_looking

    names = [found.a.candidate, found.b.candidate]
    shown = {pair.example for pair in found.pairs[:limit] if pair.a.outputs != pair.b.outputs}
    with open_looking(storage, results) as store:
        opened = load_study(store, found.study, space)
        rows = CandidateStore(store).all(found.study, only=names)
        examples = [e for e in opened.job.task.splits.of(found.split) if e.id in shown]
        return recorded_steps(store, opened, [row.candidate for row in rows], examples)


def print_comparison(found: CandidateComparison, *, limit: int, steps: Steps | None = None) -> None:
    """All examples together, the slices, and the worst examples."""
    console = PlainConsole()
    for line in _summary(found):
        console.print(line, soft_wrap=True)
    if found.slices:
        console.print(Text("\nslices, the worst first", style="bold"))
        console.print(Text(_columns("slice", ("n", "won", "lost", "points", "95% interval", "p*")), style="dim"))
        for part in found.slices:
            one = part.comparison
            interval = interval_words(one.corrected)
            counts = (str(one.n), str(one.wins), str(one.losses))
            cells = (*counts, points(one.difference), interval, f"{one.p_corrected:.2g}")
            style = "red" if one.worse else "green" if one.better else ""
            console.print(Text(_columns(f"{plain(part.column)}={plain(part.value)}", cells), style=style))
        console.print(
            Text("interval and p*: corrected over these slices by Holm; p* is exact and two-sided", style="dim")
        )
    if limit and found.pairs:
        console.print(Text("\nexamples, the worst first", style="bold"))
    for pair in found.pairs[:limit]:
        for line in _example(pair):
            console.print(line, soft_wrap=True)
        for name, side in (("A", found.a), ("B", found.b)):
            for line in _step_lines(name, (steps or {}).get((side.candidate, pair.example))):
                console.print(line, soft_wrap=True)
    if len(found.pairs) > limit > 0:
        more = f"{len(found.pairs) - limit} more: --limit {len(found.pairs)}, or --csv."
        console.print(Text(more, style="dim"), soft_wrap=True)


def _summary(found: CandidateComparison) -> Iterator[Text]:
    whole = found.whole
    yield Text(f"{found.study}: {found.split} split, {whole.n} examples that both have a score for", style="bold")
    for name, side, quality in (("A", found.a, whole.quality_a), ("B", found.b, whole.quality_b)):
        yield Text(
            f"  {name} {side.candidate}  quality {number(quality)}  {short_params(as_sent(side.params, side.sent))}"
        )
    for note in side_notes(found):
        yield Text(f"  {note}", style="yellow")
    yield Text(f"A wins {whole.wins}, loses {whole.losses}, ties {whole.ties}.")
    outcome = "A is better" if whole.better else "A is worse" if whole.worse else "not significant"
    after = f", both corrected for {found.looked_at} candidates (p = {whole.p_value:.2g} alone)"
    yield Text(
        f"Difference {points(whole.difference)} points (95% interval {interval_words(whole.corrected)}): {outcome}, "
        f"p = {whole.p_corrected:.2g}{after if found.looked_at > 1 else ''}."
    )
    close = whole.not_inferior
    may = "is not worse than B by more than" if close.holds else "may be worse than B by more than"
    yield Text(f"A {may} {close.margin * 100:g} points (lower bound {points(close.lower)}).")
    yield Text(f"At most {percent(whole.worse_at_most, 1)} of examples get worse, with 95% confidence.")
    if (check := found.regressions) is not None:
        yield Text(
            f"Regression limit {percent(check.max, 1)} at {percent(check.confidence)} confidence: "
            f"{'kept' if check.holds else 'exceeded'} (at most {percent(check.share_at_most, 1)}).",
            style="" if check.holds else "red",
        )
    if found.unpaired:
        yield Text(f"{found.unpaired} examples have a score from only one of them and are not counted.", style="yellow")
    if found.missing is not None:
        yield Text(f"Texts are not shown: {plain(found.missing)}", style="yellow")


def side_notes(found: CandidateComparison) -> list[str]:
    """What the provider says about the answers of both sides on the examples that are compared."""
    from offramp.store.aggregates import aggregate_of

    a, b = ([getattr(pair, side) for pair in found.pairs] for side in ("a", "b"))
    return [
        *answer_notes(aggregate_of(a), found.a.params, where="A"),
        *answer_notes(aggregate_of(b), found.b.params, where="B"),
    ]


def _columns(first: str, cells: tuple[str, ...]) -> str:
    """One line of 80 columns at most; a longer name ends in dots."""
    name = first if cell_len(first) <= 27 else set_cell_size(first, 26) + "…"
    return set_cell_size(name, 28) + "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def _example(pair: ExamplePair) -> Iterator[Text]:
    style = {"loss": "red", "win": "green", "tie": ""}[pair.outcome]
    where = "".join(f", {plain(column)}={plain(value)}" for column, value in pair.slices.items())
    yield Text(f"{plain(pair.example)}: {pair.outcome} {points(pair.gain)} points{where}", style=style)
    for name, value in (pair.inputs or {}).items():
        yield Text(f"    {name}: {_short(value)}")
    if pair.gold:
        yield Text(f"    gold: {_fields(pair.gold)}")
    for name, result in (("A", pair.a), ("B", pair.b)):
        stored = result.outputs is not None
        answer = _fields(result.outputs or {}) if stored else _short(result.reason or "(not stored)")
        yield Text(f"    {name} {number(result.score)}: {answer}")


def _step_lines(name: str, run: RunSteps | None) -> Iterator[Text]:
    """One line for each step, and what it was asked and gave."""
    if run is None:
        return
    yield Text(f"    {name} took {len(run.steps)} steps", style="dim")
    for place, step in enumerate(run.steps, start=1):
        who = f"{step.kind} {plain(step.name or step.model or '?')}"
        who += "" if step.round is None else f", round {step.round}"
        used = "" if step.prompt_tokens is None else f", {step.prompt_tokens} + {step.output_tokens} tokens"
        yield Text(f"      {place}. {who}{used}, {step.seconds:.2f} s")
        yield Text(f"         asked: {_short(step.asked)}")
        yield Text(f"         gave:  {_short(step.gave)}")
    if run.incomplete is not None:
        yield Text(f"      not all steps are known: {plain(run.incomplete)}", style="yellow")


def _fields(values: Mapping[str, Any]) -> str:
    return _short(", ".join(f"{name}={value}" for name, value in values.items()))


def _short(value: object) -> str:
    text = plain(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def to_json(found: CandidateComparison, steps: Steps | None = None) -> dict[str, Any]:
    """JSON values, with all examples; with the steps of those that have some."""
    check = found.regressions
    return {
        "study": found.study,
        "split": str(found.split),
        "a": asdict(found.a),
        "b": asdict(found.b),
        **_comparison_json(found.whole),
        "looked_at": found.looked_at,
        "unpaired": found.unpaired,
        "regressions": None if check is None else {**asdict(check), "holds": check.holds},
        "missing": found.missing,
        "notes": side_notes(found),
        "slices": [{"column": s.column, "value": s.value, **_comparison_json(s.comparison)} for s in found.slices],
        "examples": [_pair_json(pair) | _steps_json(pair, found, steps or {}) for pair in found.pairs],
    }  # fmt: skip


def _comparison_json(one: PairedComparison) -> dict[str, Any]:
    return {**one.to_json(), "better": one.better, "worse": one.worse}


def _pair_json(pair: ExamplePair) -> dict[str, Any]:
    told = picked(pair, "example", "outcome", "gain", "slices", "inputs", "gold")
    return {**told, "a": _result_json(pair.a), "b": _result_json(pair.b)}


def _steps_json(pair: ExamplePair, found: CandidateComparison, steps: Steps) -> dict[str, Any]:
    """Nothing where the steps were not asked for."""
    sides = {"a": found.a.candidate, "b": found.b.candidate}
    known = {side: steps.get((candidate, pair.example)) for side, candidate in sides.items()}
    found_steps = {side: asdict(run) for side, run in known.items() if run is not None}
    return {"steps": found_steps} if found_steps else {}


def _result_json(result: Result) -> dict[str, Any]:
    return picked(result, "score", "state", "outputs", "reason", "latency_s")


def write_csv(stream: TextIO, found: CandidateComparison) -> None:
    """One row per example: scores, both answers and the gold, field by field."""
    rows = [pair.flat() for pair in found.pairs]
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(safe_cell, columns))
    writer.writerows([safe_cell(row.get(name, "")) for name in columns] for row in rows)
