"""From a notice to a proposal: today's config on the models that could replace its own, unchanged and searched.

Importing this package loads nothing that a migration needs; `migrate` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offramp.lifecycle.migration.record import Migration


def migrate(feature: str, *, promotions: str | Path | None = None, storage: str | None = None,
            results: str | Path = "results", lifecycle: str | Path | None = None, space: str | Path | None = None,
            feeds: Sequence[str | Path] = (), usd: float | None = None, calls: int | None = None,
            minutes: float | None = None, **options: Any) -> Migration:  # fmt: skip
    """From a retirement notice to a proposal: `offramp.lifecycle.migration.proposal.write_proposal` writes it.

    Args:
        feeds: files of retirements, as for `watch`.
        usd, calls, minutes: caps for all runs together.
        options: to, label, trials, seed, reference, today, transport and timing, as
            `offramp.lifecycle.migration.migrating.run_migration` takes them.

    Raises:
        UsageError: nothing is promoted, or there is no model to migrate to.
        JobError: no candidate could be measured.
    """
    from offramp.lifecycle.migration.migrating import Places, run_migration
    from offramp.lifecycle.migration.runs import Caps

    given = {"promotions": promotions, "lifecycle": lifecycle, "space": space}
    paths = {name: Path(value) for name, value in given.items() if value is not None}
    places = Places(storage=storage, results=Path(results), feeds=tuple(map(Path, feeds)), **paths)
    return run_migration(feature, places=places, caps=Caps(usd=usd, calls=calls, minutes=minutes), **options)
