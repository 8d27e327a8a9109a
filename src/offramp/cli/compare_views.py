"""A comparison as text, JSON and CSV. Every number comes from its record; nothing is computed here."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from offramp.study.wording import number, plain, points, short_params

if TYPE_CHECKING:
    from offramp.records import Result
    from offramp.study.compare import Comparison, ExamplePair, RegressionCheck
    from offramp.study.tally import Tally

_LONGEST = 160


def print_comparison(found: Comparison, *, limit: int) -> None:
    """The whole, its slices, and the worst examples."""
    console = Console(highlight=False, markup=False, emoji=False)
    for line in _head(found):
        console.print(line, soft_wrap=True)
    if found.slices:
        console.print(Text("\nslices, the worst first", style="bold"))
        console.print(Text(_columns("slice", ("n", "won", "lost", "points", "95% interval", "p*")), style="dim"))
        for part in found.slices:
            style = "red" if part.tally.worse else "green" if part.tally.better else ""
            console.print(Text(_columns(f"{plain(part.column)}={plain(part.value)}", _cells(part.tally)), style=style))
        console.print(Text("p*: exact, two-sided, by Holm over these slices", style="dim"))
    for line in _examples(found, limit):
        console.print(line, soft_wrap=True)


def _head(found: Comparison) -> Iterator[Text]:
    whole = found.whole
    yield Text(f"{found.study}: {found.split} split, {whole.n} examples that both have a score for", style="bold")
    for name, side, quality in (("A", found.a, whole.quality_a), ("B", found.b, whole.quality_b)):
        yield Text(f"  {name} {side.candidate}  quality {number(quality)}  {short_params(side.params)}")
    yield Text(f"A wins {whole.wins}, loses {whole.losses}, ties {whole.ties}.")
    yield Text(
        f"Difference {points(whole.difference)} points (95% interval {points(whole.interval.low)} to "
        f"{points(whole.interval.high)}): {_verdict(whole)}, p = {whole.p_value:.2g}, "
        f"{whole.p_corrected:.2g} after looking at {found.looked_at}."
    )
    close = whole.not_inferior
    holds = "not worse than B by more than" if close.holds else "not shown to be within"
    yield Text(
        f"A is {holds} {close.margin * 100:g} points{'' if close.holds else ' of B'} (at least {points(close.lower)})."
    )
    yield Text(f"At most {whole.worse_at_most:.1%} of examples get worse, with 95% confidence.")
    if found.regressions is not None:
        yield _budget(found.regressions)
    if found.unpaired:
        yield Text(f"{found.unpaired} examples have a score of one of them only and are in no count.", style="yellow")
    if found.missing is not None:
        yield Text(f"Texts are not shown: {plain(found.missing)}", style="yellow")


def _verdict(whole: Tally) -> str:
    return "A is better" if whole.better else "A is worse" if whole.worse else "no difference is shown"


def _budget(check: RegressionCheck) -> Text:
    word = "kept" if check.holds else "not kept"
    return Text(
        f"Regression budget {check.max:.1%} at {check.confidence:.0%}: {word} (at most {check.share_at_most:.1%}).",
        style="" if check.holds else "red",
    )


_WIDTHS = (6, 5, 6, 8, 18, 9)


def _columns(first: str, cells: tuple[str, ...]) -> str:
    """One line of 80 columns at most; a longer name ends in dots."""
    name = first if cell_len(first) <= 27 else set_cell_size(first, 26) + "…"
    return set_cell_size(name, 28) + "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def _cells(part: Tally) -> tuple[str, ...]:
    return (
        str(part.n), str(part.wins), str(part.losses), points(part.difference),
        f"{points(part.interval.low)} to {points(part.interval.high)}", f"{part.p_corrected:.2g}",
    )  # fmt: skip


def _examples(found: Comparison, limit: int) -> Iterator[Text]:
    if limit and found.pairs:
        yield Text("\nexamples, the worst first", style="bold")
    for pair in found.pairs[:limit]:
        style = {"loss": "red", "win": "green", "tie": ""}[pair.outcome]
        where = "".join(f", {plain(column)}={plain(value)}" for column, value in pair.slices.items())
        yield Text(f"{plain(pair.example)}: {pair.outcome} {points(pair.gain)} points{where}", style=style)
        for name, value in (pair.inputs or {}).items():
            yield Text(f"    {name}: {_short(value)}")
        if pair.gold is not None and pair.gold:
            yield Text(f"    gold: {_short(_fields(pair.gold))}")
        for name, result in (("A", pair.a), ("B", pair.b)):
            yield Text(f"    {name} {number(result.score)}: {_short(_answer(result))}")
    if len(found.pairs) > limit > 0:
        yield Text(f"{len(found.pairs) - limit} more: --limit {len(found.pairs)}, or --csv.", style="dim")


def _answer(result: Result) -> str:
    if result.outputs is None:
        return result.reason or "(not stored)"
    return _fields(result.outputs)


def _fields(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _short(value: object) -> str:
    text = plain(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def to_json(found: Comparison) -> dict[str, Any]:
    """JSON values; all examples are in it."""
    check = found.regressions
    return {
        "study": found.study,
        "split": str(found.split),
        "a": asdict(found.a),
        "b": asdict(found.b),
        **tally_json(found.whole),
        "looked_at": found.looked_at,
        "unpaired": found.unpaired,
        "regressions": None if check is None else {**asdict(check), "holds": check.holds},
        "missing": found.missing,
        "slices": [{"column": s.column, "value": s.value, **tally_json(s.tally)} for s in found.slices],
        "examples": [_pair_json(pair) for pair in found.pairs],
    }  # fmt: skip


def tally_json(one: Tally) -> dict[str, Any]:
    """A tally with what it comes to."""
    return {**asdict(one), "better": one.better, "worse": one.worse}


def _pair_json(pair: ExamplePair) -> dict[str, Any]:
    return {
        "example": pair.example,
        "outcome": pair.outcome,
        "gain": pair.gain,
        "slices": pair.slices,
        "inputs": pair.inputs,
        "gold": pair.gold,
        "a": _result_json(pair.a),
        "b": _result_json(pair.b),
    }


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "score": result.score, "state": str(result.state), "outputs": result.outputs, "reason": result.reason,
        "latency_s": result.latency_s,
    }  # fmt: skip


def write_csv(stream: TextIO, found: Comparison) -> None:
    """One row per example: scores, both answers and the gold, field by field."""
    rows = [_flat(pair) for pair in found.pairs]
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _flat(pair: ExamplePair) -> dict[str, Any]:
    row: dict[str, Any] = {
        "example": pair.example, "outcome": pair.outcome, "gain": pair.gain,
        "a_score": pair.a.score, "b_score": pair.b.score,
    }  # fmt: skip
    row |= {f"slice.{name}": value for name, value in pair.slices.items()}
    row |= {f"input.{name}": value for name, value in (pair.inputs or {}).items()}
    row |= {f"gold.{name}": value for name, value in (pair.gold or {}).items()}
    for side, result in (("a", pair.a), ("b", pair.b)):
        row |= {f"{side}.{name}": value for name, value in (result.outputs or {}).items()}
    return {name: safe_cell(value) for name, value in row.items()}


def safe_cell(value: Any) -> Any:
    """Text that a spreadsheet takes for a formula is quoted."""
    text = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if text else value
