"""The functions on promoted versions: promote, check, roll back, export, watch, migrate."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.verbs.calling import verb
from offramp.verbs.progress import displayed

if TYPE_CHECKING:
    from offramp.calls.transports import Transport
    from offramp.job.clock import Timing
    from offramp.lifecycle.migration.record import Migration
    from offramp.promote.check_report import CheckReport
    from offramp.promote.exports.exporting import File
    from offramp.promote.running import PerModel
    from offramp.records import Result


@verb
def export(
    feature: str, to: str, *, label: str = "production", out: str | Path | None = None, register: str | None = None,
    space: str | Path | None = None, promotions: str | Path | None = None,
) -> File:  # fmt: skip
    """A promotion in the form of another tool; `text` is what to give to it. It sends what was measured, or is refused.

    Args:
        to: litellm, openai, promptfoo, dspy, mlflow, langfuse or json.
        out: a file to write it to.
        register: mlflow: register the prompt at this tracking URI.
        space: promptfoo: the space file, if it has moved.

    Raises:
        UsageError: an unknown form, or one that cannot say what was measured.
    """
    from offramp.errors import UsageError, problem
    from offramp.promote.exports import exporting

    if register is not None and to != "mlflow":
        raise UsageError(problem("register", "works only with to='mlflow'", do="Leave it out."))
    moved = None if space is None else Path(space)
    source = exporting.source_of(feature, label=label, promotions=promotions, space=moved)
    file = exporting.export(source, to)
    if out is not None:
        exporting.write(Path(out), file)
    if register is not None:
        from offramp.promote.exports import mlflow_prompt

        mlflow_prompt.register(source, register)
    return file


@verb
def check(
    feature: str, *, label: str = "production", margin: float = 0.05, max_cost_usd: float | None = None,
    max_p95_s: float | None = None, budget_usd: float | None = None, concurrency: int = 4,
    api_base: PerModel = None, api_key_env: PerModel = None, promotions: str | Path | None = None,
    space: str | Path | None = None, storage: str | None = None, study_storage: str | None = None,
    progress: bool | None = None, started: Callable[[int], None] | None = None,
    observer: Callable[[Result], None] | None = None, transport: Transport | None = None, timing: Timing | None = None,
) -> CheckReport:  # fmt: skip
    """Evaluates a promoted feature on its holdout again; `holds` says whether it still does.

    Args:
        margin: loss of mean score that would be accepted.
        max_cost_usd, max_p95_s: limits of one run; those of the space file's constraints by default.
        budget_usd: cap of the check; three times what the evidence says by default.
        concurrency: requests in flight at the same time.
        api_base, api_key_env: as for `load`; where the space file says by default.
        promotions: the folder; `OFFRAMP_PROMOTIONS` or `promotions` by default.
        space: the space file that it came from; where the promotion says by default.
        storage: whose answers may be used again, cached (SQLAlchemy URL); None requests every answer again.
        study_storage: of the study that was promoted, for where the judge was replaced; `results/` for None.
        progress: None shows it in a notebook and on a terminal, False never, True also elsewhere.
        started: called with the number of examples before the first call. observer: called with each result.
        transport: what sends requests; LiteLLM and llama.cpp by route for None. timing: replaced in tests.

    Raises:
        UsageError: the data or metric is not what the evidence is of, or a model cannot be called.
        JobError: it could not be evaluated (too many failures, the cap, an interruption).
    """
    from offramp.promote import recheck

    with displayed(progress) as view:
        done, of = 0, 0

        def begun(examples: int) -> None:
            nonlocal of
            of = examples
            view.runs("check", 0, of)
            if started is not None:
                started(examples)

        def observed(result: Result) -> None:
            nonlocal done
            done += 1
            view.runs("check", done, of)
            if observer is not None:
                observer(result)

        return recheck.check(
            feature, label=label, promotions=promotions, space=space, storage=storage, margin=margin,
            max_cost_usd=max_cost_usd, max_p95_s=max_p95_s, budget_usd=budget_usd, concurrency=concurrency,
            api_base=api_base, api_key_env=api_key_env, observer=observed, transport=transport, timing=timing,
            study_storage=study_storage, started=begun,
        )  # fmt: skip


@verb
def migrate(
    feature: str, *, to: Sequence[str] = (), label: str = "production", reference: str = "labels",
    trials: int | None = None, usd: float | None = None, calls: int | None = None, minutes: float | None = None,
    seed: int | None = None, out: str | Path | None = None, today: datetime.date | None = None,
    promotions: str | Path | None = None, space: str | Path | None = None, lifecycle: str | Path | None = None,
    feeds: Sequence[str | Path] = (), storage: str | None = None, results: str | Path = "results",
    progress: bool | None = None, transport: Transport | None = None, timing: Timing | None = None,
) -> Migration:  # fmt: skip
    """From a retirement notice to a proposal: today's config on the models that could replace its own, and a search.

    Args:
        to: models to try; up to 3 successors by default.
        reference: judge by the data's `labels`, or by the recorded `answers` of today's config.
        trials: different candidates to search; the space file's number for None.
        usd, calls: caps for all runs together, earlier calls included. minutes: of this call. seed: of the search.
        out: a file to write the proposal to; it is not written for None.
        today: the UTC date for None.
        promotions, space, lifecycle, feeds: as for `promote`.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.
        progress: None shows it in a notebook and on a terminal, False never, True also elsewhere.
        transport: what sends requests; LiteLLM and llama.cpp by route for None. timing: replaced in tests.

    Raises:
        UsageError: nothing is promoted, or there is no model to migrate to.
        JobError: no candidate could be measured.
    """
    from offramp.cli.migrate import suggested_promotion
    from offramp.lifecycle.migration.migrating import Places, run_migration
    from offramp.lifecycle.migration.proposal import write_proposal
    from offramp.lifecycle.migration.record import Reference
    from offramp.lifecycle.migration.runs import Caps

    given = {"promotions": promotions, "lifecycle": lifecycle, "space": space}
    paths = {name: Path(value) for name, value in given.items() if value is not None}
    places = Places(storage=storage, results=Path(results), feeds=tuple(map(Path, feeds)), **paths)
    with displayed(progress) as view:
        found = run_migration(
            feature, to=to, label=label, places=places, caps=Caps(usd=usd, calls=calls, minutes=minutes),
            trials=trials, seed=seed, reference=Reference(reference), today=today, observer=view.show,
            transport=transport, timing=timing,
        )  # fmt: skip
    if out is not None:
        write_proposal(found, Path(out), promote_command=suggested_promotion(found, places))
    return found
