"""The verbs of the lifecycle as functions, for the command line and for programs alike.

Only `migrate` runs models; the others read files.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.lifecycle.promoted import models_in_use
from offramp.lifecycle.scan import ScanReport
from offramp.lifecycle.scan import scan as scan_files
from offramp.lifecycle.watch import WatchReport
from offramp.lifecycle.watch import watch as watch_models
from offramp.models.retirement.dates import WITHIN_DAYS, load_calendar, utc_today

if TYPE_CHECKING:
    from offramp.lifecycle.migration.record import Migration


def watch(
    *, promotions: str | Path | None = None, lifecycle: str | Path | None = None, within_days: int = WITHIN_DAYS,
    today: datetime.date | None = None,
) -> WatchReport:  # fmt: skip
    """Which promoted features run on models that retire soon, and what could replace them.

    Args:
        promotions: folder; `OFFRAMP_PROMOTIONS` or `promotions` by default.
        lifecycle: file of one's own notices; `lifecycle.yaml` by default, where it is there.
        within_days: the window.
        today: what days are counted from; the UTC date by default.

    Raises:
        UsageError: a file of notices, or a promotion, that cannot be read.
    """
    models = models_in_use(_path(promotions))
    return watch_models(models, load_calendar(_path(lifecycle)), today=today or utc_today(), within_days=within_days)


def scan(
    path: str | Path, *, lifecycle: str | Path | None = None, within_days: int = WITHIN_DAYS,
    today: datetime.date | None = None,
) -> ScanReport:  # fmt: skip
    """The models that source and configuration below a folder name, each with its date; arguments as for `watch`."""
    calendar = load_calendar(_path(lifecycle))
    return scan_files(Path(path), calendar, today=today or utc_today(), within_days=within_days)


def migrate(feature: str, *, promotions: str | Path | None = None, storage: str | None = None,
            results: str | Path = "results", lifecycle: str | Path | None = None, space: str | Path | None = None,
            usd: float | None = None, calls: int | None = None, minutes: float | None = None,
            **options: Any) -> Migration:  # fmt: skip
    """From a retirement notice to a proposal: `offramp.lifecycle.migration.write.write_proposal` writes it.

    Args:
        usd, calls, minutes: caps for all runs together.
        options: as for `offramp.lifecycle.migration.migrate.migrate`: to, label, trials, seed, reference, today,
            transport, timing.

    Raises:
        UsageError: nothing is promoted, or there is no model to migrate to.
        JobError: no candidate could be measured.
    """
    from offramp.lifecycle.migration.migrate import Places
    from offramp.lifecycle.migration.migrate import migrate as run
    from offramp.lifecycle.migration.runs import Caps

    places = Places(
        promotions=_path(promotions), storage=storage, results=Path(results), lifecycle=_path(lifecycle),
        space=_path(space),
    )  # fmt: skip
    return run(feature, places=places, caps=Caps(usd=usd, calls=calls, minutes=minutes), **options)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
