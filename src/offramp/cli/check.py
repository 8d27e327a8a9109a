"""`offramp check`: the gate for CI. Does the promoted config still hold on the holdout?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from offramp.cli.options import AS_JSON, LABEL, PATH, PROMOTIONS, SPACE, TEXT, study_options, wire

if TYPE_CHECKING:
    from offramp.records import Result

GATE = 3


@click.command()
@click.argument("feature")
@LABEL
@PROMOTIONS
@SPACE
@click.option("--cache/--no-cache", default=False, show_default=True, help="Reuse answers that are in --storage.")
@study_options
@click.option("--margin", type=float, default=0.05, show_default=True, help="Loss of mean score that is accepted.")
@click.option("--max-cost-usd", type=float, help="Most that a run may cost  [default: the space file's constraint]")
@click.option("--max-p95-s", type=float, help="Longest p95 latency  [default: the space file's constraint]")
@click.option("--budget-usd", type=float, help="Cap on money for the check  [default: 3 times the evidence's cost]")
@click.option("--concurrency", type=click.IntRange(1, 1024), default=4, show_default=True,
              help="Requests in flight at the same time.")  # fmt: skip
@click.option("--api-base", type=TEXT, metavar="URL", help="Your own model server  [default: the space file's]")
@click.option("--api-key-env", metavar="NAME", help="Environment variable with its key.")
@click.option("--junit", type=PATH, metavar="FILE", help="Also write JUnit XML.")
@AS_JSON
@click.pass_context
def check(
    ctx: click.Context, /, feature: str, cache: bool, storage: str | None, results: Path, junit: Path | None,
    as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Evaluate FEATURE on its holdout again. If it does not hold, list the examples that got worse; exit code 3."""
    from offramp.cli.live import RunsDone
    from offramp.promote.check_report import refuse_unwritable, report_lines, write_junit
    from offramp.promote.recheck import check as run
    from offramp.search.api import refuse_impossible
    from offramp.study.lookup import default_storage
    from offramp.study.wording import counted, money

    if options["budget_usd"] == 0:  # other impossible limits are refused where they are used
        refuse_impossible(usd=0.0)
    known = storage or default_storage(results)
    url = known if cache else None
    if junit is not None:
        refuse_unwritable(junit)
    with RunsDone(None if as_json else sys.stderr) as view:
        done, of = 0, 0

        def started(examples: int) -> None:
            nonlocal of
            of = examples
            view.show("check", 0, of)

        def observer(_: Result) -> None:
            nonlocal done
            done += 1
            view.show("check", done, of)

        report = run(
            feature, storage=url, study_storage=known, started=started, observer=observer, **wire(), **options
        )  # fmt: skip
    if junit is not None:
        write_junit(junit, report)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2, default=str))
    else:
        cached = f", {counted(report.cached_calls, 'cached answer')}" if report.cached_calls else ""
        took = f"  {counted(report.calls, 'call')}{cached}, {money(report.spent_usd)} spent"
        click.echo("\n".join([*report_lines(report), took]))
    ctx.exit(0 if report.holds else GATE)
