"""A replay's front as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from offramp.study.wording import number, per_thousand, plain, seconds

if TYPE_CHECKING:
    from offramp.search.replay import Replay, ReplayMember


def print_replay(found: Replay) -> None:
    """What was read, the front, and the recommended member."""
    console = Console(highlight=False, markup=False, emoji=False)
    share = found.cells_used / found.cells_total
    console.print(
        f"{found.candidates} candidates x {found.examples} examples: {found.cells_used} of {found.cells_total} cells "
        f"read ({share:.1%}), {found.candidates_read} candidates met; {len(found.front)} on the declared front"
    )
    holdout = any(member.holdout is not None for member in found.front)
    heads = ("quality", "+-", *(("holdout",) if holdout else ()), "$/1k runs", "latency", "cells", "trust")
    console.print(Text("".join(f"{head:>10}" for head in heads), style="dim"))
    for member in found.front:
        best = member is found.recommended
        console.print(Text("".join(f"{cell:>10}" for cell in _cells(member, holdout)), style="green" if best else ""))
        words = ", ".join(f"{name}={value}" for name, value in member.params.items())
        console.print(Text(f"  {'recommended: ' if best else ''}{plain(words)}", style="green" if best else "dim"))


def _cells(member: ReplayMember, holdout: bool) -> tuple[str, ...]:
    scored = () if not holdout else (number((member.holdout or {}).get("quality")),)
    return (
        number(member.estimates["quality"]),
        number(member.sd["quality"]),
        *scored,
        per_thousand(member.estimates["cost_usd"]),
        seconds(member.estimates["latency_s"]),
        str(member.cells),
        f"{member.trust:.2f}",
    )
