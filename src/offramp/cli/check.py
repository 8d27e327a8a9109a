"""`offramp check`: the gate for CI. Does the promoted config still hold on the holdout?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from offramp.cli.options import AS_JSON, LABEL, PATH, PROMOTIONS, SPACE, TEXT, stored, wire

GATE = 3


@click.command()
@click.argument("feature")
@LABEL
@PROMOTIONS
@SPACE
@click.option("--cache/--no-cache", default=False, show_default=True, help="Reuse answers that --storage has.")
@stored
@click.option("--margin", type=float, default=0.05, show_default=True, help="Loss of mean score that is accepted.")
@click.option("--max-cost-usd", type=float, help="Ceiling of one run  [default: the space file's constraint]")
@click.option("--max-p95-s", type=float, help="Ceiling of p95 latency  [default: the space file's constraint]")
@click.option("--budget-usd", type=float, help="Cap of the check  [default: three times what the evidence says]")
@click.option("--concurrency", type=click.IntRange(1, 1024), default=4, show_default=True,
              help="Requests in flight at the same time.")  # fmt: skip
@click.option("--api-base", type=TEXT, metavar="URL", help="Server of your own  [default: the space file's]")
@click.option("--api-key-env", metavar="NAME", help="Environment variable with its key.")
@click.option("--junit", type=PATH, metavar="FILE", help="Write JUnit XML too.")
@AS_JSON
@click.pass_context
def check(
    ctx: click.Context, /, feature: str, cache: bool, storage: str | None, results: Path, junit: Path | None,
    as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Score FEATURE on its holdout again. Exit code 3, with the examples that broke, when it does not hold."""
    from offramp.promote.check import check as run
    from offramp.promote.judgement import told
    from offramp.promote.junit import refuse_unwritable, write_junit
    from offramp.study.api import default_storage
    from offramp.study.wording import money

    url = (storage or default_storage(results)) if cache else None
    if junit is not None:
        refuse_unwritable(junit)
    report = run(feature, storage=url, **wire(), **options)
    if junit is not None:
        write_junit(junit, report)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2, default=str))
    else:
        known = f", {report.cached_calls} answers reused" if report.cached_calls else ""
        click.echo("\n".join([*told(report), f"  {report.calls} calls, {money(report.spent_usd)} spent{known}"]))
    ctx.exit(0 if report.holds else GATE)
