"""`offramp verify`: a study's whole front on the holdout, and its latency measured in isolation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offramp.cli.options import AS_JSON, SPACE, study_options, wire
from offramp.records import picked

if TYPE_CHECKING:
    from offramp.search.holdout.verify import Plan, Verified


@click.command()
@click.argument("study", default="latest")
@click.option("--budget-usd", type=float, help="Budget of this command  [default: 1.5 times its expected cost]")
@click.option("--budget-calls", type=int, help="Cap on its requests.")
@click.option("--minutes", type=float, help="Cap on wall clock time.")
@click.option("--probe", type=click.IntRange(min=0, max=10_000), default=20, show_default=True,
              help="Timed runs of each candidate; 0 for none. p95 gets an upper bound from 72 runs on.")  # fmt: skip
@click.option("--probe-concurrency", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Timed runs at the same time.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 1024), help="Requests in flight on the holdout.")
@click.option("--cascade", metavar="RULE", help="Also the members of a rule that `offramp cascades` prints.")
@click.option("--weights", metavar="W", help="With --cascade, as for `offramp cascades`.")
@SPACE
@study_options
@click.option("--dry-run", is_flag=True, help="Show who would be verified and from which budget; spend nothing.")
@AS_JSON
def verify(
    study: str, budget_usd: float | None, budget_calls: int | None, minutes: float | None, probe: int,
    probe_concurrency: int, concurrency: int | None, cascade: str | None, weights: str | None, space: Path | None,
    storage: str | None, results: Path, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Evaluate the front of STUDY, the recommended candidate and the incumbent on the holdout, and time them.

    Nothing that the search found changes. What has been evaluated on the holdout is not run again. The latency probe is
    new each time: warm models, a fixed concurrency, nothing from the ledger, candidates in turns.
    """
    from offramp.cli.live import RunsDone
    from offramp.search import api
    from offramp.study.policies import parse_weights

    asked: dict[str, Any] = {
        "usd": budget_usd, "calls": budget_calls, "minutes": minutes, "probe": probe,
        "probe_concurrency": probe_concurrency, "concurrency": concurrency, "storage": storage, "results": results,
        "space_file": space, "cascade": cascade, "weights": parse_weights(weights),
    }  # fmt: skip
    if dry_run:
        plan = api.plan_verify(study, **asked)
        click.echo(json.dumps(plan_json(plan), indent=2) if as_json else plan_text(plan))
        return

    def started(plan: Plan) -> None:
        if not as_json:
            click.echo(plan_text(plan), err=True)

    with RunsDone(None if as_json else sys.stderr) as progress:
        verified = api.verify(study, started=started, progress=progress.show, **wire(), **asked)
    if as_json:
        click.echo(json.dumps(to_json(verified), indent=2, allow_nan=False))
    else:
        print_verified(verified)


def plan_text(plan: Plan) -> str:
    """Who, how many runs, and the budget."""
    from offramp.study.wording import counted, money

    budget = [money(plan.cap_usd)] if plan.cap_usd is not None else []
    budget += [counted(plan.cap_calls, "request")] if plan.cap_calls is not None else []
    expected = "" if plan.expected_usd is None else f", expected {money(plan.expected_usd)}"
    whom = f"{counted(len(plan.members), 'candidate')}, {counted(plan.runs, 'run')}"
    return f"{whom}; budget {' and '.join(budget) or 'without a cap'}{expected}."


def plan_json(plan: Plan) -> dict[str, Any]:
    """JSON values."""
    return {
        "candidates": [member.candidate for member in plan.members],
        **picked(plan, "runs", "expected_usd", "cap_usd", "cap_calls"),
    }


def print_verified(done: Verified) -> None:
    """The report as it is now, and what the verification took: that first where it did not get to its end."""
    from offramp.cli.study_tables import print_report

    if done.stopped is not None:
        click.echo(_took(done))
    print_report(done.report)
    if done.stopped is None:
        click.echo(_took(done))


def _took(done: Verified) -> str:
    """How a verification ended, and what it took."""
    from offramp.study.wording import STOPPED, counted, money

    ended = "complete" if done.stopped is None else f"not complete: {STOPPED.get(done.stopped, done.stopped)}"
    candidates, calls = counted(len(done.plan.members), "candidate"), counted(done.calls, "call")
    return (
        f"Verification: {ended}. {candidates}, {calls}, {counted(done.cached_calls, 'cached answer')}, "
        f"{done.failed_calls} failed, {money(done.spent_usd)} spent, {done.elapsed_s:.0f} s."
    )


def to_json(done: Verified) -> dict[str, Any]:
    """JSON values: the report, and what the verification took."""
    took = {
        **plan_json(done.plan),
        **picked(done, "stopped", "calls", "cached_calls", "failed_calls"),
        "spent_usd": round(done.spent_usd, 9),
        "elapsed_s": round(done.elapsed_s, 3),
    }
    return {"verification": took, **done.report.to_json()}
