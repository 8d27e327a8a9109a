"""Promotions, changes and histories for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from offramp.promote.changes import Changes, change_lines, value_lines
from offramp.promote.reading import values_of
from offramp.study.wording import plain

if TYPE_CHECKING:
    from offramp.promote.api import Promoted, PromotionRefused
    from offramp.promote.history import Move
    from offramp.promote.promotion import SplitEvidence

_FIRST = ("model.name", "fallbacks", "request_params", "instructions", "demos.kind", "demos.count", "candidate")


def print_changes(found: Changes) -> None:
    """What differs, config first; of a first version, of which all is new, what people choose."""
    click.echo(f"{found.before or 'nothing'} -> {found.after}")
    if not found.config:
        click.echo("  config: the same")
    everything = (*found.config, *found.numbers)
    if found.before is None:
        lines = [line for change in everything if change.key.startswith(_FIRST) for line in value_lines(change)]
    else:
        lines = [line for change in everything for line in change_lines(change)]
    for line in lines:
        click.echo(f"  {_clean(line)}")


def print_promoted(done: Promoted) -> None:
    """What a promote or a rollback did."""
    print_changes(done.changes)
    promotion = done.promotion
    for reason in done.refused:
        click.echo(f"  {'forced' if done.move else 'the gate would refuse'}: {_clean(reason)}")
    if done.move is None:
        click.echo(f"Would write {done.path}. Nothing was written.")
        return
    click.echo(f"{promotion.feature}: {done.move.label} is {promotion.version} ({_clean(promotion.model.name)})")
    click.echo(f"  {numbers(promotion.evidence.holdout)}")
    click.echo(f"  {done.path}")
    for note in done.notes:
        click.echo(f"  note: {_clean(note)}")


def numbers(found: SplitEvidence | None) -> str:
    """The numbers of the holdout in a line."""
    if found is None or found.quality is None:
        return "holdout: not scored"
    text = f"holdout: quality {found.quality:.3f} ({found.quality_low:.3f} to {found.quality_high:.3f}), n={found.n}"
    cost = "?" if found.cost_usd is None else f"${found.cost_usd * 1000:.4g}"
    p95 = "?" if found.latency_p95_s is None else f"{found.latency_p95_s:.2f} s"
    return f"{text}, {cost} per 1,000 runs, p95 {p95}"


def print_history(found: Sequence[Move]) -> None:
    """One line a move, the newest last."""
    for move in found:
        came = f" (was {move.from_version})" if move.from_version else ""
        why = f": {move.why}" if move.why else ""
        forced = f" [forced against: {'; '.join(move.forced)}]" if move.forced else ""
        line = f"{move.at}  {move.by}  {move.action}  {move.label} -> {move.version}{came}{why}{forced}"
        click.echo(_clean(line))
    if not found:
        click.echo("No label was ever moved.")


def promoted_json(done: Promoted) -> dict[str, Any]:
    """As JSON values."""
    return {
        "feature": done.promotion.feature,
        "version": done.promotion.version,
        "label": None if done.move is None else done.move.label,
        "path": str(done.path),
        "refused": list(done.refused),
        "notes": list(done.notes),
        "move": None if done.move is None else values_of(done.move),
        "changes": done.changes.to_json(),
        "promotion": values_of(done.promotion),
    }


def refused_json(refused: PromotionRefused) -> dict[str, Any]:
    """As JSON values."""
    return {
        "feature": refused.promotion.feature,
        "version": None,
        "label": None,
        "refused": list(refused.reasons),
        "changes": refused.changes.to_json(),
    }


def _clean(text: str) -> str:
    return plain(text)
