"""A verification as text and JSON. Every number comes from its record; nothing is computed here."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from offramp.study.wording import STOPPED, money

if TYPE_CHECKING:
    from offramp.search.verify import Plan, Verified


class Watching:
    """Says on stderr what is about to be spent, and how far it is."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._line = quiet, sys.stderr.isatty() and not quiet

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._line:
            click.echo("", err=True)

    def planned(self, plan: Plan) -> None:
        """Before the first call."""
        if not self._quiet:
            click.echo(plan_text(plan), err=True)

    def told(self, phase: str, done: int, of: int) -> None:
        """After each run."""
        if self._line:
            click.echo(f"\r{phase}: {done}/{of} runs ", nl=False, err=True)


def plan_text(plan: Plan) -> str:
    """Who, how many runs, and the budget."""
    budget = [money(plan.cap_usd)] if plan.cap_usd is not None else []
    budget += [f"{plan.cap_calls} requests"] if plan.cap_calls is not None else []
    expected = "" if plan.expected_usd is None else f", expected {money(plan.expected_usd)}"
    return (
        f"{len(plan.members)} candidates, {plan.runs} runs; budget {' and '.join(budget) or 'without a cap'}{expected}."
    )


def plan_json(plan: Plan) -> dict[str, Any]:
    """JSON values."""
    return {
        "candidates": [member.candidate for member in plan.members],
        "runs": plan.runs,
        "expected_usd": plan.expected_usd,
        "cap_usd": plan.cap_usd,
        "cap_calls": plan.cap_calls,
    }


def print_verified(done: Verified) -> None:
    """The report as it stands, and what the verification took."""
    from offramp.cli.tables import print_report

    print_report(done.report)
    ended = "complete" if done.stopped is None else STOPPED.get(done.stopped, done.stopped)
    click.echo(
        f"Verification: {ended}. {len(done.plan.members)} candidates, {done.calls} calls, {done.cached_calls} answers "
        f"reused, {done.failed_calls} failed, {money(done.spent_usd)} spent, {done.elapsed_s:.0f} s."
    )


def to_json(done: Verified) -> dict[str, Any]:
    """JSON values: the report, and what the verification took."""
    took = {
        **plan_json(done.plan),
        "stopped": done.stopped,
        "calls": done.calls,
        "cached_calls": done.cached_calls,
        "failed_calls": done.failed_calls,
        "spent_usd": round(done.spent_usd, 9),
        "elapsed_s": round(done.elapsed_s, 3),
    }
    return {"verification": took, **done.report.to_json()}
