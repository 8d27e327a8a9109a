"""`offramp cascades`: cascades of two and three models, and routers, scored from what is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from offramp.cli.options import FILE, SPACE, study_options
from offramp.errors import UsageError, problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from offramp.records import Scalar
    from offramp.study.domain.cascade_report import CascadeReport, ChosenRule, KindResult

KINDS = {
    "chosen": "chosen (any kind)",
    "single": "best single",
    "cost": "cascade: A's cost",
    "confidence": "cascade: confidence",
    "agreement": "cascade: agreement",
    "stages_cost": "3 stages: cost",
    "stages_confidence": "3 stages: confid.",
    "predicted": "cascade: gain of B",
    "pair": "router: two models",
    "router": "router: all models",
}
_NAME, _WIDTHS = 19, (8, 7, 15, 8, 8, 8, 6)


@click.command()
@click.argument("source", metavar="STUDY|TABLE", default="latest")
@click.option("--weights", metavar="W", help="Weights of the utility, such as quality=.6,cost=.3,latency=.1")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the folds.")
@click.option("--save", type=FILE, metavar="FILE", help="Write the rule for `offramp.load_cascade`.")
@click.option("--kind", type=click.Choice([kind for kind in KINDS if kind not in ("chosen", "single")]),
              help="Of the rule that --save writes.")  # fmt: skip
@SPACE
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cascades(
    source: str, weights: str | None, seed: int, save: Path | None, kind: str | None, space: Path | None,
    storage: str | None, results: Path, as_json: bool,
) -> None:  # fmt: skip
    """Score cascades of two and three models, and routers, over the candidates of STUDY, from recorded results. No call
    is made.

    A cascade runs a cheap candidate and runs another only where a signal says so; a router chooses before the call. In
    place of a study, a Parquet or CSV TABLE of recorded outcomes may be named, as for `offramp replay`. What is shown
    was measured on rows that chose nothing, beside the best single candidate.
    """
    from offramp.search.cascades import cascades as score
    from offramp.study.policies import parse_weights

    if kind is not None and save is None:
        raise UsageError(problem("--kind", "nothing is written without --save", got=kind, do="Add --save FILE."))
    found = score(
        source, weights=parse_weights(weights), seed=seed, storage=storage, results=results, space_file=space,
        save=save, kind=kind,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        print_cascades(found)
        if save is not None:
            click.echo(f"Wrote {save}. Promote its members, then: offramp.load_cascade({str(save)!r}, FEATURES)")


def print_cascades(found: CascadeReport) -> None:
    """The kinds on rows that chose nothing, the verdict, and the rule that all rows choose."""
    from rich.text import Text

    from offramp.cli.console import PlainConsole
    from offramp.study.wording import number, plain

    console = PlainConsole()
    weights = ", ".join(f"{name} {weight:g}" for name, weight in found.weights.items())
    console.print(
        Text(f"{plain(found.source)}: {found.candidates} candidates, {found.rows} rows; no call was made", style="bold")
    )
    console.print(
        f"{found.rules:,} rules scored; utility by {weights}. Rows are alike by: {_features(found)}.", soft_wrap=True
    )
    console.print()
    repeats = "once" if found.repeats == 1 else f"{found.repeats} times"
    console.print(Text(f"Each row under what other rows chose (10 folds, {repeats})", style="bold"))
    _print_table(console, found.crossed)
    if found.holdout is not None:
        title = (
            f"\nOn {found.holdout_rows} holdout rows, chosen on the search rows ({found.holdout_candidates} candidates)"
        )
        console.print(Text(title, style="bold"))
        _print_table(console, found.holdout)
    console.print(Text("p*: exact, paired by row, two-sided, Holm-corrected over the kinds", style="dim"))
    console.print()
    for line in _verdict(found):
        console.print(line, soft_wrap=True)
    console.print(
        f"In hindsight, chosen by the search rows that it is measured on, the best single candidate has "
        f"{number(found.hindsight)}: more than any choice can be expected to keep.", soft_wrap=True,
    )  # fmt: skip
    for kind, why in found.missing.items():
        console.print(Text(f"Not scored: {KINDS[kind]} ({why}).", style="dim"), soft_wrap=True)
    console.print()
    title = (
        "All search rows choose" if found.rule.kind != "single" else "All search rows choose no cascade and no router"
    )
    console.print(Text(title, style="bold"))
    for line in rule_lines(found.rule):
        console.print(f"  {line}", soft_wrap=True)
    for line in _next_steps(found):
        console.print(line, soft_wrap=True)


def _next_steps(found: CascadeReport) -> Iterator[str]:
    """How to promote a rule; nothing where there are no programs, as of a table."""
    from offramp.study.domain.cascade_rule import RUNNABLE
    from offramp.study.wording import plain

    rules = {kind: rule.id for kind, rule in found.best.items() if kind in RUNNABLE}
    if not rules or found.source.endswith((".parquet", ".csv")):
        return
    yield ""
    yield f"To promote one: offramp promote {plain(found.source)} --cascade KIND. The kinds, each with its rule:"
    yield f"  {', '.join(f'{kind} {rule}' for kind, rule in rules.items())}"
    yield f"If it has not run on the holdout yet: offramp verify {plain(found.source)} --cascade KIND"


def _features(found: CascadeReport) -> str:
    from offramp.study.wording import plain

    return ", ".join(map(plain, found.features)) or "nothing, for their inputs are not known"


def _print_table(console: object, results: Sequence[KindResult]) -> None:
    from rich.text import Text

    from offramp.cli.console import PlainConsole

    assert isinstance(console, PlainConsole)
    heads = ("utility", "gain", "95% interval", "quality", "$/1k", "latency", "p*")
    console.print(Text(" " * _NAME + "".join(f"{h:>{w}}" for h, w in zip(heads, _WIDTHS, strict=True)), style="dim"))
    for one in results:
        cells = "".join(f"{cell:>{w}}" for cell, w in zip(_cells(one), _WIDTHS, strict=True))
        style = "bold" if one.kind == "chosen" else ""
        console.print(Text(f"{KINDS[one.kind]:{_NAME}}{cells}", style=style), soft_wrap=True)


def _cells(one: KindResult) -> tuple[str, ...]:
    from offramp.study.wording import number, per_thousand, seconds, signed

    ahead = one.difference is not None
    return (
        number(one.utility),
        signed(one.difference or 0.0) if ahead else "",
        f"{signed(one.low or 0.0, 2)} to {signed(one.high or 0.0, 2)}" if ahead else "",
        number(one.quality),
        per_thousand(one.cost_usd),
        seconds(one.latency_s),
        "" if one.p_corrected is None else f"{one.p_corrected:.2g}" if one.p_corrected >= 0.001 else "<.001",
    )


def _verdict(found: CascadeReport) -> Iterator[str]:
    from offramp.study.wording import number, signed

    chosen = found.chosen
    gain, low, p = chosen.difference or 0.0, chosen.low or 0.0, chosen.p_value
    where = "the holdout" if found.holdout is not None else "rows that chose nothing"
    if gain > 0:
        sure = "significant" if low > 0 and (p or 1.0) <= 0.05 else "not significant: it may be luck"
        yield f"Ahead of the best single candidate by {number(gain)} of utility on {where} ({sure}, p = {p:.2g})."
    else:
        yield f"Not ahead of the best single candidate on {where} ({signed(gain)} of utility): keep one model."
    better = [one for one in (found.holdout or found.crossed) if one.kind not in ("chosen", "single")]
    if better:
        best = max(better, key=lambda one: one.utility)
    if better and (best.difference or 0.0) > 0:
        yield f"The best kind, known only by looking: {KINDS[best.kind]}, {signed(best.difference or 0.0)}."


def params_text(params: Mapping[str, Scalar]) -> str:
    """An assignment in one line, without what does not apply."""
    shown = {name: f"{v:.6g}" if isinstance(v, float) else v for name, v in params.items() if v is not None}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def rule_lines(rule: ChosenRule) -> Iterator[str]:
    """A rule in sentences."""
    from offramp.study.wording import plain

    names = [plain(params_text(params)) for params in rule.params]
    if rule.kind == "single":
        yield f"run {names[0]}"
        return
    if rule.kind in ("pair", "router"):
        yield "for each row the one that did best on the most similar recorded rows of:"
        yield from (f"  {name}" for name in names)
        return
    yield f"run A: {names[0]}"
    if rule.kind == "agreement":
        yield f"and at the same time: {names[2]}"
        yield "where their answers differ,"
    elif rule.kind == "predicted":
        yield "where B gained on similar recorded rows for which A's run cost about as much,"
    else:
        yield f"where {_sign(rule.of, rule.threshold)},"
    yield f"run B and take its answer: {names[1]}"
    if rule.second_of is not None:
        yield f"where {_sign(rule.second_of, rule.second_threshold)},"
        yield f"run C and take its answer: {names[2]}"


def _sign(of: str | None, threshold: float | None) -> str:
    """When the next member runs: after a run that cost more than $0.01."""
    from offramp.study.wording import money, seconds

    bound = threshold or 0.0
    if of == "confidence":
        return f"its confidence is below {bound:.4g}"
    return (
        f"that run cost more than {money(bound)}" if of == "cost_usd" else f"that run took more than {seconds(bound)}"
    )
