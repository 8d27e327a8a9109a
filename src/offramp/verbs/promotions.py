"""The functions on promoted versions: promote, check, roll back, export, watch, migrate."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.verbs.calling import verb
from offramp.verbs.progress import displayed

if TYPE_CHECKING:
    from offramp.calls.transports import Transport
    from offramp.job.clock import Timing
    from offramp.lifecycle.migration.record import Migration
    from offramp.lifecycle.scan import ScanReport
    from offramp.lifecycle.watch_report import WatchReport
    from offramp.promote.changes import Changes
    from offramp.promote.check_report import CheckReport
    from offramp.promote.exports.exporting import File
    from offramp.promote.history import Move
    from offramp.promote.promoting import Promoted
    from offramp.promote.running import PerModel
    from offramp.records import Result


@verb
def promote(
    study: str = "latest", *, pick: str = "recommended", label: str = "production", feature: str | None = None,
    fallbacks: Sequence[str] = (), cascade: str | None = None, weights: Mapping[str, float] | None = None,
    within_days: int = 90, why: str | None = None, by: str | None = None, force: bool = False, dry_run: bool = False,
    promotions: str | Path | None = None, space: str | Path | None = None, lifecycle: str | Path | None = None,
    feeds: Sequence[str | Path] = (), storage: str | None = None, results: str | Path = "results",
) -> Promoted:  # fmt: skip
    """Writes a candidate of a study, or a cascade, to the promotions folder and points a label at it. Makes no call.

    Args:
        study: its name, the beginning of it, or `latest`.
        pick: recommended, knee, incumbent, `trial N`, or the beginning of a candidate's id.
        label: that apps load by. feature: what the app calls it; the space's name by default.
        fallbacks: models to ask when the first gives no answer.
        cascade: in place of a candidate, a rule that `cascades` prints: `chosen`, a kind, or the beginning of its id.
        weights: of the utility that the rule is chosen by; the study's own for None.
        within_days: a model that retires within this many days is refused.
        why: the reason, for the history; needed with `force`. by: who; `OFFRAMP_BY` or the user by default.
        force: promote even if the gate refuses. dry_run: return what would change, and write nothing.
        promotions: the folder; `OFFRAMP_PROMOTIONS` or `promotions` by default.
        space: where the study's space file is now, if it has moved.
        lifecycle: your own retirement notices; `lifecycle.yaml` by default, if it exists. feeds: files of retirements.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.

    Raises:
        PromotionRefused: the gate refuses, and `force` is not given; `reasons` has every reason.
        UsageError: there is no such study or candidate, its data is not what it ran on, or a notice cannot be read.
    """
    from offramp.promote import promoting

    return promoting.promote(
        study, pick=pick, label=label, feature=feature, promotions=promotions, storage=storage, results=results,
        space=space, fallbacks=fallbacks, within_days=within_days, lifecycle=lifecycle, by=by, why=why, force=force,
        dry_run=dry_run, feeds=feeds, cascade=cascade, weights=weights,
    )  # fmt: skip


@verb
def rollback(
    feature: str, *, to: str | None = None, label: str = "production", why: str | None = None, by: str | None = None,
    promotions: str | Path | None = None, lifecycle: str | Path | None = None,
) -> Promoted:  # fmt: skip
    """Points a label back at the version before it, or at `to`. A retired model is a note, and does not prevent it.

    Args:
        to: a version, or the beginning of one; the previous one for None.
        why, by, promotions, lifecycle: as for `promote`.

    Raises:
        PromotionError: there is none before, or its file is not whole.
    """
    from offramp.promote import promoting

    return promoting.rollback(
        feature, to=to, label=label, promotions=promotions, by=by, why=why, lifecycle=lifecycle
    )  # fmt: skip


@verb
def history(feature: str, *, promotions: str | Path | None = None) -> tuple[Move, ...]:
    """Every move of a label of a feature, in order.

    Raises:
        PromotionError: nothing was promoted under that name.
    """
    from offramp.promote import promoting

    return promoting.history(feature, promotions=promotions)


@verb
def diff(feature: str, before: str, after: str, *, promotions: str | Path | None = None) -> Changes:
    """What differs between two versions of a feature.

    Args:
        before, after: each a label, a version, or the beginning of one.

    Raises:
        PromotionError: there is no such version.
    """
    from offramp.promote import promoting

    return promoting.diff(feature, before, after, promotions=promotions)


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
def watch(
    *, within_days: int = 90, lifecycle: str | Path | None = None, feeds: Sequence[str | Path] = (),
    today: datetime.date | None = None, ics: str | Path | None = None, promotions: str | Path | None = None,
    storage: str | None = None, results: str | Path = "results",
) -> WatchReport:  # fmt: skip
    """Which promoted features depend on models that retire soon, and what could replace them.

    Args:
        within_days: the window.
        lifecycle: your own retirement notices; `lifecycle.yaml` by default, if it exists. feeds: files of retirements.
        today: what days are counted from; the UTC date by default.
        ics: a file to write the dates to as a calendar.
        promotions: folder; `OFFRAMP_PROMOTIONS` or `promotions` by default.
        storage: URL of the studies, for what headers of replies said; `<results>/offramp.db` by default, if it exists.

    Raises:
        UsageError: a file of notices, a promotion, or the storage that was named cannot be read.
    """
    from offramp.lifecycle import watch_report
    from offramp.lifecycle.ics import write_calendar

    found = watch_report.watch(
        promotions=promotions, lifecycle=lifecycle, today=today, within_days=within_days, storage=storage,
        results=results, feeds=feeds,
    )  # fmt: skip
    if ics is not None:
        write_calendar(found, Path(ics))
    return found


@verb
def scan(
    path: str | Path, *, within_days: int = 90, lifecycle: str | Path | None = None,
    feeds: Sequence[str | Path] = (), today: datetime.date | None = None,
) -> ScanReport:  # fmt: skip
    """The models that source and configuration below a folder name, each with its date.

    Args:
        within_days, lifecycle, feeds, today: as for `watch`.

    Raises:
        UsageError: there is no such file or folder, or a file of notices cannot be read.
    """
    from offramp.lifecycle import scan as scanning

    return scanning.scan(path, lifecycle=lifecycle, feeds=feeds, within_days=within_days, today=today)


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
        usd, calls, minutes: caps for all runs together. seed: of the search.
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
