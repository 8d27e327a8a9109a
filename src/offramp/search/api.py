"""The verbs of the search as functions, for the command line and for programs alike."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from offramp.calls.transports import Transport
from offramp.errors import JobError, StorageError, UsageError, problem
from offramp.files import make_folder, replace_file
from offramp.job.check_here import check_runnable
from offramp.job.checks import check_prices
from offramp.job.clock import Timing
from offramp.job.declared import Declared
from offramp.job.job_warnings import job_warnings
from offramp.job.loaded import LoadedStudy, before_the_edit, load_study
from offramp.job.reserving import check_reservable
from offramp.job.resolve import resolve_job
from offramp.job.resolved import ResolvedJob
from offramp.search.engine import Job, JobResult, Options
from offramp.search.estimate import Estimate, estimate
from offramp.search.holdout.verify import Plan, Verification, Verified, VerifyOptions
from offramp.search.holdout.verify import Progress as VerifyProgress
from offramp.search.progress import Progress
from offramp.search.warm.source import full_source_name
from offramp.search.warm.start import plan_start, start_from
from offramp.space.check import MOST_TRIALS, MOST_USD
from offramp.space.load import LoadedSpace, as_loaded
from offramp.space.model import SpaceFile
from offramp.store.engine import Store, open_store
from offramp.store.ledger import typical_calls
from offramp.study.lookup import default_storage, full_name, open_looking
from offramp.study.queries.recorded_rules import find_rule
from offramp.tracking import track

__all__ = [
    "Estimate",
    "JobResult",
    "Plan",
    "Progress",
    "Verified",
    "dry_run",
    "optimize",
    "plan_verify",
    "refuse_impossible",
    "result_json",
    "verify",
]

_log = logging.getLogger("offramp")
Observer = Callable[[Progress], None]
Space = str | Path | LoadedSpace | SpaceFile | Declared
"""A space: the path of its file, a file that was read, or checked, or one made by a program (its paths start here)."""
MOST_AT_ONCE = 1024
"""Requests in flight at the same time: as many as a space file may state."""
MOST_COUNTED = 2**53
"""Calls, trials and seeds that every storage and every JSON reader keeps as they are."""


def refuse_impossible(
    *, trials: int | None = None, usd: float | None = None, calls: int | None = None, minutes: float | None = None,
    seed: int | None = None, concurrency: int | None = None,
) -> None:  # fmt: skip
    """Refuses options that no run can have. Raises UsageError with the option's name."""
    given = {"trials": trials, "budget-usd": usd, "budget-calls": calls, "minutes": minutes, "concurrency": concurrency}
    for name, value in given.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            expected = "a number above 0" if math.isfinite(value) else "a finite number above 0"
            raise UsageError(problem("", f"--{name}", got=value, expected=expected))
    if usd is not None and usd > MOST_USD:
        raise UsageError(problem("", "--budget-usd", got=usd, expected=f"at most {MOST_USD:,.0f} USD"))
    for name, count in (("trials", trials), ("budget-calls", calls), ("seed", seed)):
        if count is not None and count > MOST_COUNTED:
            raise UsageError(problem("", f"--{name}", got=count, expected=f"at most {MOST_COUNTED}"))
    if concurrency is not None and concurrency > MOST_AT_ONCE:
        raise UsageError(problem("", "--concurrency", got=concurrency, expected=f"at most {MOST_AT_ONCE}"))
    if seed is not None and seed < 0:
        raise UsageError(problem("", "--seed", got=seed, expected="a whole number of 0 or more"))


UNCAPPED_TRIALS = 20
"""Candidates to run where neither candidates nor money, calls or time are limited."""


def options_of(
    job: ResolvedJob,
    *,
    trials: int | None = None,
    usd: float | None = None,
    calls: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    concurrency: int | None = None,
) -> Options:
    """What a run may use: what is given here goes before the space file."""
    search, budget = job.space.search, job.space.budget
    refuse_impossible(trials=trials, usd=usd, calls=calls, minutes=minutes, seed=seed, concurrency=concurrency)
    check_prices(job, usd=usd)
    check_reservable(job, usd=budget.usd if usd is None else usd)
    usd = budget.usd if usd is None else usd
    calls = budget.calls if calls is None else calls
    minutes = budget.minutes if minutes is None else minutes
    uncapped = (usd, calls, minutes) == (None, None, None)
    usual = UNCAPPED_TRIALS if uncapped else MOST_TRIALS
    return Options(
        trials=next(n for n in (trials, search.trials, usual) if n is not None),
        seed=search.seed if seed is None else seed,
        concurrency=search.concurrency if concurrency is None else concurrency,
        usd=usd,
        calls=calls,
        minutes=minutes,
    )


def optimize(space: Space, *, storage: str | None = None, results: str | Path = "results",
             observer: Observer | None = None, from_study: str | None = None, from_storage: str | None = None,
             transport: Transport | None = None, timing: Timing | None = None, trust: bool = False,
             **limits: Any) -> JobResult:  # fmt: skip
    """Searches a space, or continues its study, and writes `<results>/<study>.json`.

    Args:
        space: path of the space file, or the space itself.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.
        results: folder for what the run writes.
        observer: called with a snapshot after every example.
        from_study: a study to start from: its front goes first, its cells are not paid for again. The job is another
            study than without it, so the same name again continues.
        from_storage: where that study is; `storage` by default.
        transport: what sends requests; LiteLLM and llama.cpp by route for None. timing: replaced in tests.
        trust: whether the file may reach beyond its project: files and code outside of it, keys to other addresses.
        limits: trials, usd, calls, minutes, seed, concurrency; they go before those of the file.

    Returns:
        The study as it stands and what this run did; `error` says what ended it before its time, if anything did.

    Raises:
        UsageError: it cannot be run as written; nothing was written or spent.
    """
    job = resolve_job(_given(space, trust), to_run=True)
    options = options_of(job, **limits)
    folder = Path(results)
    url = storage or default_storage(folder)
    for warning in job_warnings(job):
        _log.warning("warning: %s", warning)
    with open_store(url, create=True) as store:
        _writable(folder)
        if from_study is not None:
            job = _started(job, options, store, from_study, from_storage)
        elif (edited := before_the_edit(job, options.seed, store)) is not None:
            _log.warning("note: %s", edited)
        result = asyncio.run(Job(job, options, store, observer=observer, transport=transport, timing=timing).run())
    write_report(folder, result)
    track(job.space.tracking, result.report, url)
    return result


def _given(space: Space, trust: bool) -> LoadedSpace | Declared:
    return space if isinstance(space, Declared) else as_loaded(space, trust=trust)


def _started(job: ResolvedJob, options: Options, store: Store, study: str, storage: str | None) -> ResolvedJob:
    if storage is None:
        return start_from(job, options, store, store, study)
    with open_store(storage, write_probe=False) as source:
        return start_from(job, options, store, source, study)


def verify(study: str, *, storage: str | None = None, results: str | Path = "results",
           space_file: str | Path | None = None, started: Callable[[Plan], None] | None = None,
           progress: VerifyProgress | None = None, transport: Transport | None = None, timing: Timing | None = None,
           cascade: str | None = None, weights: Mapping[str, float] | None = None,
           **asked: Any) -> Verified:  # fmt: skip
    """Scores a study's whole front on the holdout and times it in isolation, from a budget of its own.

    Args:
        study: its name, the beginning of it, or `latest`.
        space_file: where its space file is now, if it was moved.
        started: called with what will be done and spent, before the first call.
        progress: called after every run.
        transport: what sends requests; LiteLLM and llama.cpp by route for None. timing: replaced in tests.
        cascade: a rule that `cascades` prints, whose members are verified as well. weights: that it is chosen by.
        asked: usd, calls, minutes, probe, probe_concurrency, concurrency.

    Raises:
        UsageError: no such study, its data or models are missing or have changed; nothing was spent.
    """
    url = storage or default_storage(Path(results))
    with open_store(url) as store:
        opened = load_study(store, full_name(store, study), space_file)
        check_runnable(opened.job)
        also = _members_of(store, opened.row.name, cascade, weights, space_file)
        verification = Verification(
            opened,
            _verify_options(opened, {**asked, "also": also}),
            store,
            progress=progress,
            transport=transport,
            timing=timing,
        )
        if started is not None:
            started(verification.plan)
        verified = asyncio.run(verification.run())
    track(opened.job.space.tracking, verified.report, url)
    return verified


def plan_verify(study: str, *, storage: str | None = None, results: str | Path = "results",
                space_file: str | Path | None = None, cascade: str | None = None,
                weights: Mapping[str, float] | None = None, **asked: Any) -> Plan:  # fmt: skip
    """What `verify` would do and spend. Writes nothing, spends nothing, needs no key."""
    with open_looking(storage, results) as store:
        opened = load_study(store, full_name(store, study), space_file)
        also = _members_of(store, opened.row.name, cascade, weights, space_file)
        return Verification(opened, _verify_options(opened, {**asked, "also": also}), store).plan


def _members_of(
    store: Store, study: str, cascade: str | None, weights: Mapping[str, float] | None, space: str | Path | None
) -> tuple[str, ...]:
    """Who a rule is about; none without one."""
    return () if cascade is None else find_rule(store, study, cascade, weights=weights, space=space).candidates


def _verify_options(opened: LoadedStudy, asked: Mapping[str, Any]) -> VerifyOptions:
    given = {name: value for name, value in asked.items() if value is not None}
    for name, least in (("probe", 0), ("probe_concurrency", 1)):
        if not least <= given.get(name, least) <= MOST_COUNTED:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(problem("", option, got=given[name], expected=f"a whole number of {least} or more"))
    refuse_impossible(**{name: given[name] for name in ("usd", "calls", "minutes", "concurrency") if name in given})
    check_prices(opened.job, usd=given.get("usd"))
    return VerifyOptions(**{"concurrency": opened.job.space.search.concurrency, **given})


def _writable(folder: Path) -> None:
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
    except OSError as error:
        raise StorageError(problem(str(folder), f"the results folder cannot be written: {error.strerror}")) from error


def result_json(result: JobResult) -> dict[str, Any]:
    """One run of a job as JSON values: what `optimize --json` prints."""
    report = result.report.to_json()
    first = {
        "study": report.pop("study"),
        "stop_reason": report.pop("stop_reason"),
        "trials": report.pop("trials"),
        "calls": result.calls,
        "cached_calls": result.cached_calls,
        "failed_calls": result.failed_calls,
        "spent_usd": round(result.spent_usd, 9),
        "spent_by_purpose_usd": {name: round(usd, 9) for name, usd in result.spent_by_purpose_usd.items()},
        "elapsed_s": round(result.elapsed_s, 3),
        "error": None if result.error is None else str(result.error),
    }
    return {**first, **report}


def write_report(folder: Path, result: JobResult) -> Path:
    """Writes `<study>.json` as a whole or not at all. Raises JobError where it cannot: the run is over and paid for."""
    path = folder / f"{result.report.study}.json"
    text = json.dumps(result_json(result), indent=2, allow_nan=False) + "\n"
    try:
        make_folder(folder)
        replace_file(path, text.encode())
    except OSError as error:
        do = "The study itself is kept in the storage: see `offramp pareto`."
        raise JobError(problem(str(path), f"cannot be written: {error.strerror}", do=do)) from error
    return path


def dry_run(
    space: Space, *, storage: str | None = None, results: str | Path = "results", from_study: str | None = None,
    from_storage: str | None = None, trust: bool = False, **limits: Any,
) -> tuple[ResolvedJob, Estimate]:  # fmt: skip
    """What `optimize` would take. Writes nothing, spends nothing, needs no key."""
    job = resolve_job(_given(space, trust))
    options = options_of(job, **limits)
    url = storage or default_storage(Path(results))
    warm = None
    if from_study is not None:
        with open_store(from_storage or url, write_probe=False) as source:
            started = replace(job, started_from=full_source_name(source, from_study, job, options.seed))
            warm = plan_start(started, source)
        job = warm.job
    try:
        with open_store(url, write_probe=False) as store:
            if from_study is None and (edited := before_the_edit(job, options.seed, store)) is not None:
                _log.warning("note: %s", edited)
            return job, estimate(job, options, typical_calls(store), warm)
    except StorageError:
        if storage is not None:
            raise
        return job, estimate(job, options, {}, warm)
