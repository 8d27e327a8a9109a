"""The functions on spaces and studies: search, look, verify, compare, report."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from offramp.errors import OfframpError
from offramp.verbs.calling import verb
from offramp.verbs.progress import Nothing, displayed

if TYPE_CHECKING:
    from offramp.calls.transports import Transport
    from offramp.job.clock import Timing
    from offramp.job.declared import Declared
    from offramp.search.api import Estimate, JobResult, Observer, Plan, Verified
    from offramp.search.progress import Progress
    from offramp.search.replay import Replay
    from offramp.space.load import LoadedSpace
    from offramp.space.model import SpaceFile
    from offramp.study.domain.cascade_report import CascadeReport

    Space = str | Path | LoadedSpace | SpaceFile | Declared


@verb
def optimize(
    space: Space, *, trials: int | None = None, usd: float | None = None, calls: int | None = None,
    minutes: float | None = None, seed: int | None = None, concurrency: int | None = None,
    from_study: str | None = None, from_storage: str | None = None, storage: str | None = None,
    results: str | Path = "results", trust: bool = False, progress: bool | None = None,
    observer: Observer | None = None, transport: Transport | None = None, timing: Timing | None = None,
) -> JobResult:  # fmt: skip
    """Searches a space, or continues its study, and writes `<results>/<study>.json`.

    Args:
        space: path of the space file, or the space itself (`offramp.space.model.SpaceFile`).
        trials: different candidates to evaluate, the incumbent included; as the file says for None, as are the next.
        usd, calls, minutes: caps on money, requests and time, everything included.
        seed: of every random draw. concurrency: requests in flight at the same time.
        from_study: a study to start from: its front goes first, its cells are not paid for again.
        from_storage: where that study is; `storage` by default.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default. results: folder for what the run writes.
        trust: whether the file may reach beyond its project: files and code outside of it, keys to other addresses.
        progress: None shows it in a notebook and on a terminal, False never, True also elsewhere.
        observer: called with a snapshot after every example.
        transport: what sends requests; LiteLLM and llama.cpp by route for None. timing: replaced in tests.

    Returns:
        The study as it stands and what this run did; a notebook shows the front, the verdict and a plot.

    Raises:
        UsageError: it cannot be run as written; nothing was written or spent.
        OfframpError: what ended the job early, other than a cap, with the `JobResult` of what was kept
            as `result`; running it again continues there. `Interrupted` after Ctrl-C.
    """
    from offramp.cli.optimize import failure_of
    from offramp.search import api

    with displayed(progress) as view:

        def observed(seen: Progress) -> None:
            view.show(seen)
            if observer is not None:
                observer(seen)

        unseen = observer is None and isinstance(view, Nothing)
        found = api.optimize(
            space, storage=storage, results=results, observer=None if unseen else observed, from_study=from_study,
            from_storage=from_storage, transport=transport, timing=timing, trust=trust, trials=trials, usd=usd,
            calls=calls, minutes=minutes, seed=seed, concurrency=concurrency,
        )  # fmt: skip
    if (error := failure_of(found)) is not None:
        error.result = found
        raise error
    return found


@verb
def dry_run(
    space: Space, *, trials: int | None = None, usd: float | None = None, calls: int | None = None,
    minutes: float | None = None, seed: int | None = None, concurrency: int | None = None,
    from_study: str | None = None, from_storage: str | None = None, storage: str | None = None,
    results: str | Path = "results", trust: bool = False,
) -> Estimate:  # fmt: skip
    """What `optimize` would take: candidates, calls, money, minutes. Writes nothing, spends nothing, needs no key.

    Args:
        space, trials, usd, calls, minutes, seed, concurrency, from_study, from_storage, storage, results, trust: as for
            `optimize`.

    Raises:
        UsageError: it cannot be run as written.
    """
    from offramp.search import api

    return api.dry_run(
        space, storage=storage, results=results, from_study=from_study, from_storage=from_storage, trust=trust,
        trials=trials, usd=usd, calls=calls, minutes=minutes, seed=seed, concurrency=concurrency,
    )[1]  # fmt: skip


@verb
def verify(
    study: str = "latest", *, usd: float | None = None, calls: int | None = None, minutes: float | None = None,
    probe: int | None = None, probe_concurrency: int | None = None, concurrency: int | None = None,
    cascade: str | None = None, weights: Mapping[str, float] | None = None, space_file: str | Path | None = None,
    storage: str | None = None, results: str | Path = "results", progress: bool | None = None,
    transport: Transport | None = None, timing: Timing | None = None,
) -> Verified:  # fmt: skip
    """Scores a study's whole front on the holdout and times it in isolation, from a budget of its own.

    Args:
        study: its name, the beginning of it, or `latest`.
        usd, calls, minutes: caps of this run; the money by default 1.5 times what is expected.
        probe: timed runs of each candidate; 20 for None, 0 for none. probe_concurrency: at the same time; 1 for None.
        concurrency: requests in flight on the holdout.
        cascade: a rule that `cascades` prints, whose members are verified as well. weights: that it is chosen by.
        space_file: where the study's space file is now, if it was moved.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.
        progress: None shows it in a notebook and on a terminal, False never, True also elsewhere.
        transport: what sends requests; LiteLLM and llama.cpp by route for None. timing: replaced in tests.

    Raises:
        UsageError: no such study, its data or models are missing or have changed; nothing was spent.
        JobError: it cannot go on; what was measured is kept.
    """
    from offramp.search import api

    with displayed(progress) as view:
        return api.verify(
            study, storage=storage, results=results, space_file=space_file, progress=view.runs, transport=transport,
            timing=timing, cascade=cascade, weights=weights, usd=usd, calls=calls, minutes=minutes, probe=probe,
            probe_concurrency=probe_concurrency, concurrency=concurrency,
        )  # fmt: skip


@verb
def plan_verify(
    study: str = "latest", *, usd: float | None = None, calls: int | None = None, minutes: float | None = None,
    probe: int | None = None, probe_concurrency: int | None = None, concurrency: int | None = None,
    cascade: str | None = None, weights: Mapping[str, float] | None = None, space_file: str | Path | None = None,
    storage: str | None = None, results: str | Path = "results",
) -> Plan:  # fmt: skip
    """What `verify` would do and spend. Writes nothing, spends nothing, needs no key.

    Args:
        study, usd, calls, minutes, probe, probe_concurrency, concurrency, cascade, weights, space_file, storage,
            results: as for `verify`.

    Raises:
        UsageError: no such study, or its data is missing or has changed.
    """
    from offramp.search import api

    return api.plan_verify(
        study, storage=storage, results=results, space_file=space_file, cascade=cascade, weights=weights, usd=usd,
        calls=calls, minutes=minutes, probe=probe, probe_concurrency=probe_concurrency, concurrency=concurrency,
    )  # fmt: skip


def review(
    study: str | None = None, *, port: int = 0, host: str = "127.0.0.1", token: str | None = None, open: bool = False,
    wait: bool = False, promotions: str | Path | None = None, storage: str | None = None,
    results: str | Path = "results",
) -> str:  # fmt: skip
    """Serves a live page of the studies and returns the address to open, with its token.

    Args:
        study: the one to show first; the list for None.
        port: 0 for any that is free. host: to listen on. token: 16 characters or more; a new one for None.
        open: whether to open the page in the browser.
        wait: whether to serve until Ctrl-C; otherwise until Python ends.
        promotions: folder; `promotions` by default. storage: SQLAlchemy URL; `<results>/offramp.db` by default.

    Raises:
        StorageError: no such study. UsageError: the extra `web` is missing, or the address cannot be used.
    """
    from offramp.review.live_page import Options, serve

    options = Options(
        study=study, host=host, port=port, token=token, open=open, storage=storage, results=Path(results),
        promotions=None if promotions is None else Path(promotions),
    )  # fmt: skip
    address: list[str] = []
    raised: list[OfframpError] = []
    known = threading.Event()

    def announce(at: str) -> None:
        if wait:
            print(f"Open {at}", flush=True)
        address.append(at)
        known.set()

    def run() -> None:
        try:
            serve(options, announce=announce)
        except OfframpError as error:
            raised.append(error)
        finally:
            known.set()

    if wait:
        serve(options, announce=announce)
    else:
        threading.Thread(target=run, name="offramp-review", daemon=True).start()
        known.wait()
    for error in raised:
        raise error
    return address[0]


@verb
def replay(
    table: str | Path, *, cells: int | None = None, share: float | None = None, seed: int = 0,
    weights: Mapping[str, float] | None = None, verify: bool = False,
) -> Replay:  # fmt: skip
    """The front of a recorded table, found by reading some of its cells, without any call.

    Args:
        table: a Parquet or CSV file; docs/replay.md lists its columns.
        cells: how many may be read. share: the same, as a share of all. Neither: all of them.
        seed: of the race.
        weights: by `quality`, `cost`, `latency`; None for those of a space file that states none.
        verify: whether to add the members' means over the holdout rows.

    Raises:
        UsageError: a table or an option that cannot be used.
    """
    from offramp.search import replay as replaying

    return replaying.replay(table, cells=cells, share=share, seed=seed, weights=weights, verify=verify)


@verb
def cascades(
    source: str | Path = "latest", *, weights: Mapping[str, float] | None = None, seed: int = 0,
    save: str | Path | None = None, kind: str | None = None, space_file: str | Path | None = None,
    storage: str | None = None, results: str | Path = "results",
) -> CascadeReport:  # fmt: skip
    """Cascades of two and three models, and routers, over the candidates of a study or of a recorded table: no call.

    Args:
        source: a study's name, `latest`, or the path of a Parquet or CSV table as `replay` takes it.
        weights: by `quality`, `cost`, `latency`; the study's own for None.
        seed: of the folds.
        save: a file to write the rule to, for `load_cascade`; only of a study.
        kind: of the rule that is written; the one that is chosen by default.
        space_file: where the study's space file is now, if it was moved.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.

    Raises:
        UsageError: too few candidates or rows, or an option that cannot be used. DatasetError: not a table.
    """
    from offramp.search import cascades as scoring

    return scoring.cascades(
        source, weights=weights, seed=seed, storage=storage, results=results, space_file=space_file, save=save,
        kind=kind,
    )  # fmt: skip
