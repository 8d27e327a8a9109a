"""`offramp optimize`: the main job."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offramp.cli.options import AS_JSON, PATH, TEXT, TRUST, same_place, study_options, wire

if TYPE_CHECKING:
    from offramp.errors import OfframpError
    from offramp.search.engine import JobResult
    from offramp.search.estimate import Estimate


@click.command()
@click.argument("space", type=PATH)
@click.option("--trials", type=int, help="Different candidates to evaluate, including the incumbent.")
@click.option("--budget-usd", type=float, help="Cap on money, everything included.")
@click.option("--budget-calls", type=int, help="Cap on requests, everything included.")
@click.option("--minutes", type=float, help="Cap on wall clock time.")
@click.option("--seed", type=int, help="Seed of every random draw.")
@click.option("--concurrency", type=int, help="Requests in flight at the same time.")
@click.option("--from", "from_study", type=TEXT, metavar="STUDY",
              help="Start from this study: front, results, history.")  # fmt: skip
@click.option("--from-storage", type=TEXT, metavar="URL", help="Where that study is  [default: as --storage]")
@study_options
@TRUST
@click.option("--dry-run", is_flag=True, help="Show what to expect; write and spend nothing.")
@AS_JSON
def optimize(
    space: Path, budget_usd: float | None, budget_calls: int | None, storage: str | None, results: Path, dry_run: bool,
    as_json: bool, trust: bool, **rest: Any,
) -> None:  # fmt: skip
    """Search the space file SPACE for the best trade of quality, cost and latency.

    Running the same command again continues the study and pays for nothing that it already has. Options override the
    file.
    """
    if not as_json and not dry_run:
        click.echo(f"offramp: preparing {space}", err=True)
    from offramp.job.declared import check_declared
    from offramp.job.trust import load_for

    declared = check_declared(load_for(space, trust=trust))  # before the imports below, which take seconds
    from offramp.cli.live import LiveView
    from offramp.search import api
    from offramp.search.estimate import job_summary

    limits = {**rest, "usd": budget_usd, "calls": budget_calls}
    if dry_run:
        job, expected = api.dry_run(declared, storage=storage, results=results, **limits)
        if as_json:
            click.echo(json.dumps({"dry_run": expected.to_json(), "space": dict(job_summary(job))}, indent=2))
        else:
            print_estimate(job_summary(job), expected)
        return
    if as_json:
        result = api.optimize(declared, storage=storage, results=results, **wire(), **limits)
        click.echo(json.dumps(api.result_json(result), indent=2, allow_nan=False))
    else:
        with LiveView(sys.stderr) as view:
            result = api.optimize(declared, storage=storage, results=results, observer=view.show, **wire(), **limits)
        print_result(result, results)
    if (error := failure_of(result)) is not None:
        raise error


def failure_of(result: JobResult) -> OfframpError | None:
    """What made a run fail: its error, or that it evaluated no candidate; None for one that has something to show."""
    from offramp.errors import JobError
    from offramp.study.wording import STOPPED

    if result.error is not None or result.report.members:
        return result.error
    why = STOPPED.get(result.report.stop_reason or "", result.report.stop_reason or "")
    return JobError(f"{result.report.study}: no candidate was evaluated in full: {why}")


def print_result(result: JobResult, results: Path) -> None:
    """What a run found and what it took."""
    from offramp.cli.console import PlainConsole
    from offramp.cli.study_tables import print_report
    from offramp.study.wording import STOPPED, counted, money, plain

    console, report = PlainConsole(), result.report
    print_report(report, console=console)
    console.print()
    why = STOPPED.get(report.stop_reason or "", report.stop_reason or "")
    took = [counted(report.trials, "candidate"), counted(result.calls, "call")]
    took += [counted(result.cached_calls, "cached answer"), f"{result.failed_calls} failed"]
    console.print(f"Ended: {why}. {', '.join(took)}, {money(result.spent_usd)} spent, {result.elapsed_s:.0f} s.")
    for name, value in (
        ("Report", results / f"{report.study}.json"),
        ("Again", f"offramp pareto {report.study}{same_place()}"),
    ):
        console.print(f"{name}: {plain(value)}", soft_wrap=True)


def print_estimate(summary: Sequence[tuple[str, str]], expected: Estimate) -> None:
    """What a job would take."""
    from rich.table import Table
    from rich.text import Text

    from offramp.cli.console import PlainConsole
    from offramp.study.wording import counted, money, plain

    console = PlainConsole()
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in summary:
        table.add_row(Text(name, style="dim"), plain(value))
    console.print(table)
    calls = counted(expected.calls, "call")
    if expected.judge_calls:
        calls += f" and {expected.judge_calls:,} by the judge"
    if expected.proposer_calls:
        calls += f", {expected.proposer_calls:,} for proposals"
    console.print(
        f"\nExpected: {counted(expected.candidates, 'candidate')}, {calls}, {money(expected.cost_usd)}, "
        f"{expected.minutes:.1f} minutes. Based on {expected.basis}."
    )
    if expected.plan:
        console.print("What the caps are used for, in runs; what comes first is given up last:")
        for words, runs in expected.plan:
            console.print(f"  {runs:>7,}  {words}")
    if expected.front_calls:
        further = f"{counted(expected.front_calls, 'call')} on the holdout for each further member of the front"
        console.print(f"Then {further}, as far as the caps allow.")
    if expected.started_from is not None:
        console.print(f"Starts from {plain(expected.started_from)}.")
    if expected.caps:
        console.print(f"It would be stopped early by {plain(' and '.join(expected.caps))}.")
    console.print("Nothing was written or spent.")
